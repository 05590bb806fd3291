"""The recipe of each publication in the tables, as overrides of our configs.

A source names the origin of a recipe and what is unknown about it. Unknown settings are those of
the config: mostly as in the paper's Table 6, on ImageNet as in SEW ResNet's recipe.
"""

from typing import NamedTuple

from configs.tables import Row


class Recipe(NamedTuple):
    """The recipe of one publication's rows: its source, and its overrides as one string."""

    source: str
    overrides: str = ""


class Size(NamedTuple):
    """A printed number of parameters, the exact one, and why they differ."""

    printed: str
    exact: int
    remark: str = ""


PAPER = Recipe("the paper, Table 6")
BASELINE = Recipe("the paper's own baseline: Huang et al. 2024's LIF, trained as in Table 6")

# CIFAR.
PLAIN_CROPS = "augment.policy=none augment.cutout=none"
ADAM = "optimizer.name=adam optimizer.weight_decay=0 learning_rate=1e-3"
# Code that followed tdBN has a neuron with decay 1/4, threshold 1/2 and a hard reset.
QUARTER_LIF = "neuron.decay=0.25 neuron.threshold=0.5 neuron.reset=hard"
TDBN_PARTS = f"{QUARTER_LIF} model.norm.name=TDBatchNorm model.norm.threshold=0.5"
TDBN = Recipe(
    "Zheng et al. 2021, no public code: neuron as in MS-ResNet's; optimizer unknown. Its norms "
    "have alpha = 1 / sqrt(2) on both inputs of a sum, here all have alpha = 1",
    f"model.name=resnet19 {TDBN_PARTS}",
)
TET_LIF = "neuron.decay=0.5 neuron.spike=triangle neuron.reset=hard"
TET_PARTS = f"{TET_LIF} loss.name=tet loss.weight=0"
TET = Recipe(
    "Deng et al. 2022 and its code, where the stem has 64 channels (12.63M): Adam, crops and "
    "flips; batch size and epochs unknown",
    f"model.name=resnet19 {TET_PARTS} {ADAM} {PLAIN_CROPS}",
)
PLIF_SOURCE = (
    "Fang et al. 2021b and its code, whose cosine repeats every 128 epochs where ours falls once"
)
PLIF_PARTS = f"loss.name=mse {ADAM} batch_size=16"
PLIF = Recipe(
    f"{PLIF_SOURCE}; its network has one convolution fewer (36.72M)",
    f"model.name=plifnet {PLIF_PARTS} {PLAIN_CROPS} epochs=1024",
)
# The script of MPBN, by the authors of Real Spike and Ternary Spike. It cuts holes before it
# normalizes, so they are black.
GUO = "optimizer.weight_decay=1e-4 epochs=400 augment.cutout.fill=black"
TERNARY = Recipe(
    "Guo et al. 2024: neuron of its code, which is for ImageNet; the rest as in the same authors' "
    "MPBN. Its ResNet19 has one linear layer (12.57M)",
    f"model.name=resnet19 {GUO}",
)
REAL_SPIKE = Recipe(
    "Guo et al. 2022c: neuron of its code, which is for ImageNet (IF); the rest as in the same "
    "authors' MPBN",
    GUO,
)

# ImageNet, on top of imagenet:sew.
SEW = Recipe("Fang et al. 2021a and its code")
SDT = Recipe("Yao et al. 2023a and its code")
E_SPIKEFORMER = Recipe("Yao et al. 2025 and its code")
PIT_TRANSFORMER = Recipe("the paper, which names no recipe: as the network's authors train it")
TDBN_IMAGENET = Recipe(
    f"{TDBN.source}; optimizer of SEW ResNet",
    f"model.name=resnet34 neuron=LIF {TDBN_PARTS} num_steps=6",
)
TET_IMAGENET = Recipe(
    "Deng et al. 2022: neuron and loss of its code for CIFAR; optimizer of SEW ResNet",
    f"model.name=resnet34 neuron=LIF {TET_PARTS} num_steps=6",
)
GLIF = Recipe(
    "Yao et al. 2022 and the defaults of its script; batch size unknown",
    "model.name=resnet34 neuron=GLIF optimizer.weight_decay=4e-5 epochs=200",
)
TEBN = Recipe(
    "Duan et al. 2022, whose 68.28 is, as far as we know, of SEW ResNet34; its code is for CIFAR. "
    "Optimizer of SEW ResNet",
    "model.norm.name=TEBN",
)
MS_RESNET = Recipe(
    "Hu et al. 2024 and its code, where a neuron fires above the threshold, not at it",
    f"neuron=LIF {QUARTER_LIF} neuron.detach_reset=true optimizer.weight_decay=1e-5 epochs=125 "
    "augment.smoothing=0.1 num_steps=6",
)
TERNARY_IMAGENET = Recipe(
    "Guo et al. 2024 and its code, whose stem averages where ours takes the maximum",
    "model.name=resnet34 neuron=TrainableTernary optimizer.weight_decay=1e-4 batch_size=320",
)
REAL_SPIKE_IMAGENET = Recipe(
    "Guo et al. 2022c and its code, a part of SEW ResNet's: no amplitude after a projection",
    "neuron=RealSpike model.downsample_neuron.name=IF",
)
# Its learning rate falls after 30 and 60 of 90 epochs.
TORCHVISION = Recipe(
    "He et al. 2016 by torchvision's recipe",
    "model.name=resnet34 optimizer.name=sgd optimizer.weight_decay=1e-4 learning_rate=0.1 "
    "epochs=90 schedule.name=steps schedule.at=(0.3333,0.6667)",
)

# Events.
PLIF_CIFAR10_DVS = Recipe(
    PLIF_SOURCE,
    f"model=plifnet model.widths=(128,128,128,128) model.pool_after=(1,2,3,4) {PLIF_PARTS} "
    "num_steps=20 data.size=128 data.split=spikingjelly epochs=512",
)
PLIF_GESTURE = Recipe(
    f"{PLIF_SOURCE}; epochs as for CIFAR-10",
    "model=plifnet model.widths=(128,128,128,128,128) model.pool_after=(1,2,3,4,5) "
    f"model.hidden=512 {PLIF_PARTS} epochs=1024",
)
CROSS_ENTROPY = "loss.name=cross_entropy"
TDBN_EVENTS = Recipe(TDBN.source, f"model=resnet19 {TDBN_PARTS} {CROSS_ENTROPY}")
TET_EVENTS = Recipe(
    "Deng et al. 2022 and its code, which trains on 700 recordings of a class and on frames of 0 "
    "and 1",
    f"model.head=flatten model.head_dropout=0 {TET_LIF} loss.weight=1e-3 {ADAM} epochs=150 "
    "augment.flip=true augment.roll=5",
)
MPBN = Recipe(
    "Guo et al. 2023b: neuron and weight decay of its code, which is for CIFAR; its ResNet19 has "
    "one linear layer (12.57M)",
    f"model=resnet19 neuron=pit_jax.neurons.mpbn:NormedLIF {CROSS_ENTROPY} "
    "optimizer.weight_decay=1e-4",
)
TERNARY_EVENTS = Recipe("Guo et al. 2024: neuron of its code, which is for ImageNet", CROSS_ENTROPY)
REAL_SPIKE_EVENTS = Recipe(
    "Guo et al. 2022c: neuron of its code, which is for ImageNet (IF)", CROSS_ENTROPY
)
CLIF = Recipe(
    "Huang et al. 2024 and its code",
    "model.head=adaptive7 model.head_dropout=0 model.norm.name=PerStepBatchNorm learning_rate=0.1",
)


def make_row(
    label: str,
    config: str,
    recipe: Recipe,
    overrides: str,
    accuracy: float | None,
    size: Size,
    *,
    sd: float | None = None,
    analysis: str = "",
    **printed: float,
) -> Row:
    """Return the row of a run: a recipe, then the row's own overrides, separated by spaces."""
    return Row(
        label=label,
        config=config,
        overrides=(*recipe.overrides.split(), *overrides.split()),
        printed=_name_accuracy(accuracy) | printed,
        printed_parameters=size.printed,
        parameters=size.exact,
        remark=size.remark,
        source=recipe.source,
        sd=sd,
        analysis=analysis,
    )


def cite(label: str, accuracy: float | None, parameters: str, source: str, reason: str) -> Row:
    """Return a row that is cited and not trained, with the reason."""
    return Row(
        label,
        printed=_name_accuracy(accuracy),
        printed_parameters=parameters,
        source=source,
        cited=reason,
    )


def _name_accuracy(accuracy: float | None) -> dict[str, float]:
    return {} if accuracy is None else {"accuracy": accuracy}
