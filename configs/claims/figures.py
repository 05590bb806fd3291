"""The comparisons of Figures 3 to 7."""

from configs.claims.types import Comparison

FIGURE3 = (
    Comparison(
        "4.2, Figure 3",
        "PIT ends more accurate than binary spikes",
        ("{PIT} 1x4", "LIF 4x1"),
        (("PIT SEW ResNet34 1x4", "IF SEW ResNet34 4x1"),),
    ),
    Comparison(
        "1, Figure 3",
        "PIT is ahead of binary spikes after the first epoch",
        ("{PIT} 1x4", "LIF 4x1"),
        (("PIT SEW ResNet34 1x4", "IF SEW ResNet34 4x1"),),
        measure="first_epoch_accuracy",
    ),
    Comparison(
        "4.2, Figure 3",
        "PIT has a lower training loss at the end than binary spikes",
        ("{PIT} 1x4", "LIF 4x1"),
        (("PIT SEW ResNet34 1x4", "IF SEW ResNet34 4x1"),),
        measure="train_loss",
        more=False,
    ),
    Comparison(
        "4.2, Figure 3",
        "PIT is within one point of the network with activations",
        ("{PIT} 1x4", "ReLU"),
        (("PIT SEW ResNet34 1x4", "ReLU ResNet34"),),
        within=1.0,
    ),
)

FIGURE4 = tuple(
    Comparison(
        "4.2, Figure 4",
        f"the membranes of {better[0]} change more from step to step than those of {worse[0]}",
        (better[1], worse[1]),
        ((better[2], worse[2]),),
        measure="membranes_apart",
    )
    for better, worse in (
        (("I-LIF", "I-LIF 10x4", "(b) I-LIF"), ("LIF", "LIF 10x1", "(a) LIF")),
        (("PIT", "{PIT} 10x4", "(c) PIT"), ("LIF", "LIF 10x1", "(a) LIF")),
        (("PIT", "{PIT} 10x4", "(c) PIT"), ("I-LIF", "I-LIF 10x4", "(b) I-LIF")),
    )
)

FIGURE5 = (
    Comparison(
        "E.5, Figure 5",
        "the loss around the weights rises less with PIT than with LIF",
        ("{PIT} 1x1", "LIF 1x1"),
        (("(b, d) PIT", "(a, c) LIF"),),
        measure="loss_rise",
        more=False,
    ),
)

FIGURE6 = (
    Comparison(
        "E.6, Figure 6",
        "PIT fires less than LIF at 4 x 1",
        ("{PIT} 4x1", "LIF 4x1"),
        (("(b) PIT", "(a) LIF"),),
        measure="spikes",
        more=False,
    ),
    Comparison(
        "E.6, Figure 6",
        "over the steps the firing rate of PIT falls more, or rises less, than the rate of LIF",
        ("{PIT} 4x1", "LIF 4x1"),
        (("(b) PIT", "(a) LIF"),),
        measure="rate_trend",
        more=False,
    ),
)

FIGURE7 = (
    Comparison(
        "E.7, Figure 7",
        "training moves the scales of PIT apart between the layers",
        ("{PIT} 1x4", "{PIT} 1x4 frozen"),
        measure="scale_spread",
    ),
)
