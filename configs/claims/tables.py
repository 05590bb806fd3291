"""The comparisons of Tables 2 to 5, the paper's main text."""

from configs.claims.types import ALL_READINGS, C10, C100, IMAGENET, Comparison

TABLE2 = (
    Comparison(
        "4.1, Table 2",
        "PIT is more accurate than the same network with binary spikes of IF neurons",
        ("{PIT} 1x4", "IF 4x1"),
        (
            (f"PIT SEW ResNet18 1x4{IMAGENET}", f"SEW ResNet18 4x1{IMAGENET}"),
            (f"PIT SEW ResNet34 1x4{IMAGENET}", f"SEW ResNet34 4x1{IMAGENET}"),
        ),
    ),
    Comparison(
        "4.1, Table 2",
        "PIT in 34 layers is more accurate than SEW ResNet with 152 layers",
        rows=((f"PIT SEW ResNet34 1x4{IMAGENET}", f"SEW ResNet152 4x1{IMAGENET}"),),
    ),
    Comparison(
        "4.1, Table 2",
        "PIT is more accurate than methods that change the norm of a LIF network",
        ("{PIT} 1x4", "LIF 4x1"),
        (
            (f"PIT SEW ResNet34 1x4{IMAGENET}", f"tdBN ResNet34 6x1{IMAGENET}"),
            (f"PIT SEW ResNet34 1x4{IMAGENET}", f"TEBN ResNet34 4x1{IMAGENET}"),
            ("PIT ResNet19 1x4", "tdBN ResNet19 4x1"),
        ),
    ),
    Comparison(
        "4.1, Table 2",
        "PIT is more accurate than Real Spike",
        ("{PIT} 1x4", "Real Spike 4x1"),
        (
            (f"PIT ResNet19 1x4{C100}", f"Real Spike ResNet20 5x1{C100}"),
            (f"PIT SEW ResNet34 1x4{IMAGENET}", f"Real Spike ResNet34 4x1{IMAGENET}"),
        ),
    ),
    Comparison(
        "4.1, Table 2",
        "PIT is more accurate than Trainable Ternary Spike",
        ("{PIT} 1x4", "Trainable Ternary 2x2"),
        (
            (f"PIT ResNet19 1x4{C100}", f"Trainable Ternary ResNet19 2x2{C100}"),
            (f"PIT SEW ResNet34 1x4{IMAGENET}", f"Trainable Ternary ResNet34 4x2{IMAGENET}"),
        ),
    ),
    Comparison(
        "4.1, Table 2",
        "PIT is more accurate than losses that spread the membranes",
        rows=(
            ("PIT ResNet19 1x4", "IM-Loss ResNet19 4x1"),
            ("PIT ResNet19 1x4", "RecDis ResNet19 2x1"),
        ),
    ),
    Comparison(
        "Table 2",
        "PIT is more accurate than I-LIF, in a transformer or here in the same ResNet",
        ("{PIT} 1x4", "I-LIF 1x4"),
        (
            (f"PIT E-SpikeFormer-S 1x4{IMAGENET}", f"E-SpikeFormer-S 1x4{IMAGENET}"),
            (f"PIT E-SpikeFormer-M 1x4{IMAGENET}", f"E-SpikeFormer-M 1x4{IMAGENET}"),
        ),
        readings=ALL_READINGS,
    ),
    Comparison(
        "Table 2",
        "PIT is more accurate than LIF in the Spike-driven Transformer",
        rows=(
            (
                f"PIT Spike-driven Transformer 1x4{IMAGENET}",
                f"Spike-driven Transformer 4x1{IMAGENET}",
            ),
        ),
    ),
    Comparison(
        "Table 2",
        "PIT with four levels is more accurate than with two",
        ("{PIT} 1x4", "{PIT} 1x2"),
        (
            ("PIT ResNet18 1x4", "PIT ResNet18 1x2"),
            ("PIT ResNet19 1x4", "PIT ResNet19 1x2"),
            (f"PIT ResNet18 1x4{C100}", f"PIT ResNet18 1x2{C100}"),
            (f"PIT ResNet19 1x4{C100}", f"PIT ResNet19 1x2{C100}"),
        ),
    ),
)

TABLE3 = (
    Comparison(
        "5, Table 3",
        "PIT is more accurate than LIF with the same S-ACE",
        ("{PIT} 1x4", "LIF 4x1"),
        tuple((f"PIT 1x4{data}", f"LIF 4x1{data}") for data in (C10, C100)),
    ),
    Comparison(
        "5, Table 3",
        "PIT is more accurate than QAT with the same S-ACE",
        ("{PIT} 1x4", "QAT 1x4"),
        tuple((f"PIT 1x4{data}", f"QAT{data}") for data in (C10, C100)),
    ),
    Comparison(
        "5, Table 3",
        "PIT has a lower NS-ACE than LIF, because it fires less",
        ("{PIT} 1x4", "LIF 4x1"),
        tuple((f"PIT 1x4{data}", f"LIF 4x1{data}") for data in (C10, C100)),
        measure="ns_ace_g",
        more=False,
    ),
    Comparison(
        "5, Table 3",
        "S-ACE is the same for all neurons at T x D = 4",
        rows=tuple((f"PIT 1x4{data}", f"LIF 4x1{data}") for data in (C10, C100)),
        measure="s_ace_g",
        within=0.01,
    ),
)

TABLE4 = (
    *(
        Comparison(
            "5, Table 4",
            f"PIT with lambda {one} and {other} is equally accurate, to less than one point",
            (f"{{PIT}} 1x4 lambda {one}", f"{{PIT}} 1x4 lambda {other}"),
            tuple((f"lambda {one}{data}", f"lambda {other}{data}") for data in (C10, C100)),
            within=1.0,
        )
        for one, other in (("0.1", "0.01"), ("0.01", "0.001"), ("0.1", "0.001"))
    ),
    Comparison(
        "3.4",
        "the rectified gradient of PIT increases accuracy",
        ("{PIT} 1x4 lambda 0.01", "{PIT} 1x4 lambda 0"),
    ),
)

TABLE5 = (
    Comparison(
        "5, Table 5",
        "training with PIT takes more memory than with binary neurons",
        rows=(
            (f"PIT ResNet18 1x4{C10}", f"LIF ResNet18 4x1{C10}"),
            (f"PIT ResNet19 1x4{C10}", f"LIF ResNet19 4x1{C10}"),
            (f"PIT SEW ResNet18 1x4{IMAGENET}", f"IF SEW ResNet18 4x1{IMAGENET}"),
            (f"PIT SEW ResNet34 1x4{IMAGENET}", f"IF SEW ResNet34 4x1{IMAGENET}"),
        ),
        measure="memory_gb",
    ),
)
