"""The comparisons of Tables 7 to 12, the paper's Appendix E."""

from configs.claims.types import ALL_READINGS, C10, C100, Comparison

TABLE7 = (
    Comparison(
        "E.1, Table 7",
        "a learned PIT, started at 1, is more accurate than LIF at 1 x 1",
        ("PIT ones 1x1 lambda 0", "LIF 1x1"),
        (("(i) learnable PIT", "ResNet18 1x1"),),
    ),
    Comparison(
        "E.1, Table 7",
        "the input-aware start of PIT is more accurate than a start at 1",
        ("{PIT} 1x1 lambda 0", "PIT ones 1x1 lambda 0"),
        (("(ii) input-aware start", "(i) learnable PIT"),),
    ),
    Comparison(
        "E.1, Table 7",
        "the rectified gradient of PIT increases accuracy at 1 x 1",
        ("{PIT} 1x1", "{PIT} 1x1 lambda 0"),
        (("PIT 1x1", "(ii) input-aware start"),),
    ),
    Comparison(
        "E.1, Table 7",
        "PIT is more accurate than LIF at 1 x 1",
        ("{PIT} 1x1", "LIF 1x1"),
        (("PIT 1x1", "ResNet18 1x1"),),
    ),
    Comparison(
        "E.1",
        "the gain at 1 x 1 arises from PIT itself: PIT is more accurate than I-LIF",
        ("{PIT} 1x1", "I-LIF 1x1"),
        readings=ALL_READINGS,
    ),
)

TABLE8 = (
    Comparison(
        "E.1, Table 8",
        "PIT at 1 x 4 is more accurate than I-LIF at 1 x 4",
        ("{PIT} 1x4", "I-LIF 1x4"),
        (("PIT 1x4", "I-LIF 1x4"),),
        readings=ALL_READINGS,
    ),
    Comparison(
        "E.1, Table 8",
        "PIT at 1 x 4 is more accurate than LIF at 4 x 1",
        ("{PIT} 1x4", "LIF 4x1"),
        (("PIT 1x4", "LIF 4x1"),),
    ),
    Comparison(
        "Table 8",
        "I-LIF at 1 x 4 is more accurate than LIF at 4 x 1",
        ("I-LIF 1x4", "LIF 4x1"),
        (("I-LIF 1x4", "LIF 4x1"),),
    ),
    Comparison(
        "E.1, Table 8",
        "PIT with binary spikes, at 4 x 1, is more accurate than LIF at 4 x 1",
        ("{PIT} 4x1", "LIF 4x1"),
        (("PIT 4x1", "LIF 4x1"),),
    ),
    Comparison(
        "E.1, Table 8",
        "PIT is more accurate with levels (1 x 4) than with steps (4 x 1)",
        ("{PIT} 1x4", "{PIT} 4x1"),
        (("PIT 1x4", "PIT 4x1"),),
    ),
    Comparison(
        "3.3, Table 8",
        "learning the scales of PIT increases accuracy",
        ("{PIT} 1x4", "{PIT} 1x4 frozen"),
    ),
)

TABLE9 = tuple(
    Comparison(
        "E.1, Table 9",
        f"PIT at {more} is more accurate than at {fewer}",
        (f"{{PIT}} {more}", f"{{PIT}} {fewer}"),
        tuple((f"PIT {more}{data}", f"PIT {fewer}{data}") for data in (C10, C100)),
    )
    for more, fewer in (("1x4", "4x1"), ("1x4", "2x2"), ("2x2", "4x1"))
)

TABLE10 = (
    *(
        Comparison(
            "E.2, Table 10",
            f"PIT {text} than {other[:-4]}",
            ("{PIT} 1x4", other),
            (("PIT 1x4", other),) if measure != "all_energy_uj" else (),
            measure=measure,
            more=False,
        )
        for measure, text in (
            ("energy_uj", "takes less energy, by the paper's rule,"),
            ("all_energy_uj", "takes less energy, with all operations counted,"),
            ("acs_m", "accumulates less, by the paper's rule,"),
        )
        for other in ("I-LIF 1x4", "LIF 4x1")
    ),
    Comparison(
        "E.2, Table 10",
        "PIT multiplies more than I-LIF, by the paper's rule",
        rows=(("PIT 1x4", "I-LIF 1x4"),),
        measure="macs_m",
    ),
    Comparison(
        "E.2, Figure 6",
        "PIT fires less than I-LIF",
        ("{PIT} 1x4", "I-LIF 1x4"),
        measure="spikes",
        more=False,
    ),
)

TABLE11 = (
    Comparison(
        "4.1, E.3, Table 11",
        "PIT is more accurate than Real Spike on events",
        ("{PIT} 10x1", "Real Spike 10x1"),
        (("PIT VGG11 10x1", "Real Spike VGG16 10x1"),),
    ),
    Comparison(
        "4.1, E.3, Table 11",
        "PIT is more accurate than Trainable Ternary Spike on events",
        ("{PIT} 10x1", "Trainable Ternary 10x2"),
        (("PIT VGG11 10x1", "Trainable Ternary VGG11 10x2"),),
    ),
    Comparison(
        "E.3, Table 11",
        "PIT is more accurate than LIF networks that change norm or loss",
        ("{PIT} 10x1", "LIF 10x1"),
        tuple(
            ("PIT VGG11 10x1", other)
            for other in ("MPBN ResNet19 10x1", "IM-Loss ResNet19 10x1", "TET VGG11 10x1")
        ),
    ),
    Comparison(
        "4.1, Table 11",
        "PIT is more accurate with four levels than with one on events",
        ("{PIT} 10x4", "{PIT} 10x1"),
        (("PIT VGG11 10x4", "PIT VGG11 10x1"),),
    ),
    Comparison(
        "4.2",
        "PIT with four levels is more accurate than I-LIF on events",
        ("{PIT} 10x4", "I-LIF 10x4"),
    ),
)

TABLE12 = (
    Comparison(
        "E.4, Table 12",
        "PIT is more accurate than Real Spike on gestures",
        ("{PIT} 10x1", "Real Spike 10x1"),
        (("PIT VGG11 20x1", "Real Spike VGG11 20x1"),),
    ),
    Comparison(
        "E.4, Table 12",
        "PIT is more accurate than Trainable Ternary Spike on gestures",
        ("{PIT} 10x2", "Trainable Ternary 10x2"),
        (("PIT VGG11 20x2", "Trainable Ternary VGG11 20x2"),),
    ),
    Comparison(
        "Table 12",
        "PIT is more accurate than CLIF on gestures",
        ("{PIT} 10x1", "CLIF 10x1"),
        (("PIT VGG11 20x1", "CLIF VGG11 20x1"),),
    ),
    Comparison(
        "4.1, Table 12",
        "PIT is more accurate with two levels than with one on gestures",
        ("{PIT} 10x2", "{PIT} 10x1"),
        (("PIT VGG11 20x2", "PIT VGG11 20x1"),),
    ),
)
