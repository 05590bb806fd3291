"""Table 2: accuracy of PIT and of earlier methods on CIFAR-10, CIFAR-100 and ImageNet-1k.

T x D are the number of steps and the largest integer of a neuron. PIT's rows are means over three
seeds. The rows of earlier methods, SEW ResNet included, print the numbers of their own
publications, whose recipes differ from PIT's. The sizes printed for CIFAR-100 are those for
CIFAR-10.
"""

from configs.tables.recipes import (
    E_SPIKEFORMER,
    GLIF,
    MS_RESNET,
    PAPER,
    PIT_TRANSFORMER,
    PLIF,
    REAL_SPIKE,
    REAL_SPIKE_IMAGENET,
    SDT,
    SEW,
    TDBN,
    TDBN_IMAGENET,
    TEBN,
    TERNARY,
    TERNARY_IMAGENET,
    TET,
    TET_IMAGENET,
    Size,
    cite,
    make_row,
)

TANDEM = "learns layer by layer in tandem with a network with activations"
CONVERSION = "converts a trained network with activations"
REPRESENTATION = "differentiates the representation of whole spike trains, not steps"
LOSS = "needs a loss on membranes, which pit_jax lacks"
SURROGATE = "needs a surrogate gradient that is adapted in training, which pit_jax lacks"
HYBRID = "converts a trained network with activations, then learns thresholds and leaks"

C10 = "the number for CIFAR-10 is printed"
RESNET18, RESNET18_100 = Size("11.18M", 11_176_906), Size("11.18M", 11_223_076, f"11.22M: {C10}")
RESNET19, RESNET19_100 = Size("12.70M", 12_697_994), Size("12.70M", 12_721_124, f"12.72M: {C10}")
# TrainableTernary has a parameter for each of ResNet19's 18 neuron layers, Real Spike one for each
# channel: 4,736 in ResNet19, 4,032 in ResNet20 with norms, 4,224 in VGG16.
TERNARY19, TERNARY19_100 = Size("12.70M", 12_698_012), Size("12.70M", 12_721_142, f"12.72M: {C10}")
REAL19 = Size("12.70M", 12_702_730)
REAL20 = Size("12.70M", 11_298_148, "11.30M: ResNet19's number is printed")
REAL16 = Size("14.72M", 14_774_436, "14.77M: the number for 10 classes is printed")

CUT = "21.80M: truncated, not rounded"
SEW18, SEW34 = Size("11.69M", 11_689_512), Size("21.79M", 21_797_672, CUT)
MS18, MS34 = (
    Size("11.69M", 11_693_736),
    Size("21.79M", 21_801_896, "21.80M: SEW's number, truncated"),
)
S, M = Size("5.11M", 5_105_608), Size("10.02M", 10_023_112)
TRANSFORMER = Size("16.81M", 16_816_536, "16.82M: truncated, not rounded")

CIFAR10 = (
    cite("TL CIFARNet 8x1", 89.04, "44.48M", "Wu et al. 2023a", TANDEM),
    cite("PTL VGG11 16x1", 91.24, "9.23M", "Wu et al. 2022", TANDEM),
    # One parameter for each of nine PLIF layers in addition to 37,308,672.
    make_row(
        "PLIF PLIFNet 8x1", "cifar10:plif", PLIF, "num_steps=8", 93.5, Size("37.31M", 37_308_681)
    ),
    cite("DSR ResNet18 20x1", 95.40, "11.18M", "Meng et al. 2022", REPRESENTATION),
    cite("RecDis ResNet19 2x1", 93.64, "12.70M", "Guo et al. 2022b", LOSS),
    cite("IM-Loss ResNet19 4x1", 95.40, "12.70M", "Guo et al. 2022a", LOSS),
    cite("Diet-SNN ResNet20 5x1", 91.78, "11.25M", "Rathi and Roy 2021", HYBRID),
    cite("Diet-SNN ResNet20 10x1", 92.54, "11.25M", "Rathi and Roy 2021", HYBRID),
    cite("Dspike ResNet18 2x1", 93.13, "11.18M", "Li et al. 2021", SURROGATE),
    cite("Dspike ResNet18 4x1", 93.66, "11.18M", "Li et al. 2021", SURROGATE),
    make_row("tdBN ResNet19 2x1", "cifar10:lif", TDBN, "num_steps=2", 92.34, RESNET19),
    make_row("tdBN ResNet19 4x1", "cifar10:lif", TDBN, "num_steps=4", 92.92, RESNET19),
    make_row("TET ResNet19 2x1", "cifar10:lif", TET, "num_steps=2", 94.16, RESNET19),
    make_row("TET ResNet19 4x1", "cifar10:lif", TET, "num_steps=4", 94.44, RESNET19),
    make_row(
        "Trainable Ternary ResNet19 1x2",
        "cifar10:trainable_ternary",
        TERNARY,
        "num_steps=1",
        95.58,
        TERNARY19,
    ),
    make_row(
        "Trainable Ternary ResNet19 2x2",
        "cifar10:trainable_ternary",
        TERNARY,
        "num_steps=2",
        95.80,
        TERNARY19,
    ),
    make_row(
        "Real Spike ResNet19 2x1",
        "cifar10:real_spike",
        REAL_SPIKE,
        "model.name=resnet19 num_steps=2",
        94.01,
        REAL19,
    ),
    make_row(
        "Real Spike ResNet19 4x1",
        "cifar10:real_spike",
        REAL_SPIKE,
        "model.name=resnet19 num_steps=4",
        95.60,
        REAL19,
    ),
    make_row(
        "PIT ResNet18 1x2", "cifar10:paper", PAPER, "neuron.levels=2", 95.07, RESNET18, sd=0.17
    ),
    make_row("PIT ResNet18 1x4", "cifar10:paper", PAPER, "", 95.86, RESNET18, sd=0.12),
    make_row(
        "PIT ResNet19 1x2",
        "cifar10:paper",
        PAPER,
        "model.name=resnet19 neuron.levels=2",
        96.31,
        RESNET19,
        sd=0.08,
    ),
    make_row(
        "PIT ResNet19 1x4", "cifar10:paper", PAPER, "model.name=resnet19", 96.72, RESNET19, sd=0.10
    ),
)

CIFAR100 = (
    # The accuracy is not legible in our copy of the paper.
    cite(
        "QCFS ResNet20 64x1, CIFAR-100",
        None,
        "11.25M",
        "Bu et al. 2022, whose code has 0.27M",
        CONVERSION,
    ),
    cite("LTL ResNet20 31x1, CIFAR-100", 76.08, "11.25M", "Yang et al. 2022", TANDEM),
    cite("Diet-SNN ResNet20 5x1, CIFAR-100", 64.07, "11.25M", "Rathi and Roy 2021", HYBRID),
    cite("RecDis ResNet19 4x1, CIFAR-100", 74.10, "12.70M", "Guo et al. 2022b", LOSS),
    cite("IM-Loss VGG16 5x1, CIFAR-100", 70.18, "14.72M", "Guo et al. 2022a", LOSS),
    cite("Dspike ResNet18 2x1, CIFAR-100", 71.68, "11.18M", "Li et al. 2021", SURROGATE),
    cite("Dspike ResNet18 4x1, CIFAR-100", 73.35, "11.18M", "Li et al. 2021", SURROGATE),
    make_row(
        "TET ResNet19 2x1, CIFAR-100", "cifar100:lif", TET, "num_steps=2", 72.87, RESNET19_100
    ),
    make_row(
        "TET ResNet19 4x1, CIFAR-100", "cifar100:lif", TET, "num_steps=4", 74.47, RESNET19_100
    ),
    make_row(
        "Trainable Ternary ResNet19 1x2, CIFAR-100",
        "cifar100:trainable_ternary",
        TERNARY,
        "num_steps=1",
        78.45,
        TERNARY19_100,
    ),
    make_row(
        "Trainable Ternary ResNet19 2x2, CIFAR-100",
        "cifar100:trainable_ternary",
        TERNARY,
        "num_steps=2",
        80.20,
        TERNARY19_100,
    ),
    make_row(
        "Real Spike ResNet20 5x1, CIFAR-100",
        "cifar100:real_spike",
        REAL_SPIKE,
        "model.name=resnet20 model.norm.name=batch_norm num_steps=5",
        66.60,
        REAL20,
    ),
    make_row(
        "Real Spike VGG16 5x1, CIFAR-100",
        "cifar100:real_spike",
        REAL_SPIKE,
        "model.name=vgg16 num_steps=5",
        70.62,
        REAL16,
    ),
    make_row(
        "PIT ResNet18 1x2, CIFAR-100",
        "cifar100:paper",
        PAPER,
        "neuron.levels=2",
        76.88,
        RESNET18_100,
        sd=0.12,
    ),
    make_row(
        "PIT ResNet18 1x4, CIFAR-100", "cifar100:paper", PAPER, "", 78.83, RESNET18_100, sd=0.10
    ),
    make_row(
        "PIT ResNet19 1x2, CIFAR-100",
        "cifar100:paper",
        PAPER,
        "model.name=resnet19 neuron.levels=2",
        80.12,
        RESNET19_100,
        sd=0.10,
    ),
    make_row(
        "PIT ResNet19 1x4, CIFAR-100",
        "cifar100:paper",
        PAPER,
        "model.name=resnet19",
        81.59,
        RESNET19_100,
        sd=0.09,
    ),
)

IMAGENET = (
    make_row("tdBN ResNet34 6x1, ImageNet", "imagenet:sew", TDBN_IMAGENET, "", 63.72, SEW34),
    make_row("TET ResNet34 6x1, ImageNet", "imagenet:sew", TET_IMAGENET, "", 64.79, SEW34),
    make_row(
        "GLIF ResNet34 4x1, ImageNet",
        "imagenet:sew",
        GLIF,
        "",
        67.52,
        Size("21.79M", 21_881_448, "21.88M with neuron parameters; 21.80M without, truncated"),
    ),
    cite("DSR ResNet18 50x1, ImageNet", 67.74, "11.69M", "Meng et al. 2022", REPRESENTATION),
    make_row(
        "TEBN ResNet34 4x1, ImageNet",
        "imagenet:sew",
        TEBN,
        "",
        68.28,
        Size("21.79M", 21_797_813, CUT),
    ),
    make_row(
        "MS-ResNet18 6x1, ImageNet",
        "imagenet:sew",
        MS_RESNET,
        "model.name=ms_resnet18",
        63.10,
        MS18,
    ),
    make_row(
        "MS-ResNet34 6x1, ImageNet",
        "imagenet:sew",
        MS_RESNET,
        "model.name=ms_resnet34",
        69.42,
        MS34,
    ),
    make_row(
        "Trainable Ternary ResNet18 4x2, ImageNet",
        "imagenet:sew",
        TERNARY_IMAGENET,
        "model.stages=(2,2,2,2)",
        67.68,
        Size("11.69M", 11_689_529),
    ),
    make_row(
        "Trainable Ternary ResNet34 4x2, ImageNet",
        "imagenet:sew",
        TERNARY_IMAGENET,
        "",
        70.74,
        Size("21.79M", 21_797_705, CUT),
    ),
    make_row(
        "Real Spike ResNet18 4x1, ImageNet",
        "imagenet:sew",
        REAL_SPIKE_IMAGENET,
        "model.name=sew_resnet18",
        63.68,
        Size("11.69M", 11_693_416),
    ),
    make_row(
        "Real Spike ResNet34 4x1, ImageNet",
        "imagenet:sew",
        REAL_SPIKE_IMAGENET,
        "",
        67.69,
        Size("21.79M", 21_805_288, "21.81M with the amplitudes; 21.80M without, truncated"),
    ),
    make_row(
        "SEW ResNet18 4x1, ImageNet", "imagenet:sew", SEW, "model.name=sew_resnet18", 63.18, SEW18
    ),
    make_row("SEW ResNet34 4x1, ImageNet", "imagenet:sew", SEW, "", 67.04, SEW34),
    make_row(
        "SEW ResNet50 4x1, ImageNet",
        "imagenet:sew",
        SEW,
        "model.name=sew_resnet50",
        67.78,
        Size("25.56M", 25_557_032),
    ),
    make_row(
        "SEW ResNet101 4x1, ImageNet",
        "imagenet:sew",
        SEW,
        "model.name=sew_resnet101",
        68.76,
        Size("44.55M", 44_549_160),
    ),
    make_row(
        "SEW ResNet152 4x1, ImageNet",
        "imagenet:sew",
        SEW,
        "model.name=sew_resnet152",
        69.26,
        Size("60.19M", 60_192_808),
    ),
    make_row("Spike-driven Transformer 4x1, ImageNet", "imagenet:sdt", SDT, "", 72.28, TRANSFORMER),
    make_row(
        "E-SpikeFormer-S 1x4, ImageNet", "imagenet:e_spikeformer", E_SPIKEFORMER, "", 75.30, S
    ),
    make_row(
        "E-SpikeFormer-M 1x4, ImageNet",
        "imagenet:e_spikeformer",
        E_SPIKEFORMER,
        "model.name=e_spikeformer_m",
        78.50,
        M,
    ),
    make_row(
        "PIT SEW ResNet18 1x4, ImageNet",
        "imagenet:paper",
        PAPER,
        "model.name=sew_resnet18",
        69.39,
        SEW18,
        sd=0.24,
    ),
    make_row("PIT SEW ResNet34 1x4, ImageNet", "imagenet:paper", PAPER, "", 72.66, SEW34, sd=0.27),
    make_row(
        "PIT Spike-driven Transformer 1x4, ImageNet",
        "imagenet:sdt_paper",
        PIT_TRANSFORMER,
        "",
        73.45,
        TRANSFORMER,
        sd=0.26,
    ),
    make_row(
        "PIT E-SpikeFormer-S 1x4, ImageNet",
        "imagenet:e_spikeformer_paper",
        PIT_TRANSFORMER,
        "",
        76.00,
        S,
        sd=0.22,
    ),
    make_row(
        "PIT E-SpikeFormer-M 1x4, ImageNet",
        "imagenet:e_spikeformer_paper",
        PIT_TRANSFORMER,
        "model.name=e_spikeformer_m",
        79.41,
        M,
        sd=0.24,
    ),
)

ROWS = CIFAR10 + CIFAR100 + IMAGENET
