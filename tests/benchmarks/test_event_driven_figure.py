"""The figure of benchmarks.event_driven: four panels, and how many times faster layers are."""

import json

import numpy as np

from benchmarks.event_driven_figure import RECORD, make_figure


def test_the_figure_has_the_network_and_all_layers_for_each_batch_size():
    result = json.loads(RECORD.read_text())
    figure = make_figure(result)
    assert len(figure.axes) == 4
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [
        *("whole network, batch 1", "whole network, batch 16"),
        *("single layers, batch 1", "single layers, batch 16"),
    ]
    one = result["layers"]["linear 2048 to 1024, batch 1"]["microseconds"]
    line = next(each for each in figure.axes[2].lines if "linear" in each.get_label())
    faster = [
        min(one[name][i] for name in ("JAX float32", "PyTorch float32", "PyTorch int8")) / own
        for i, own in enumerate(one["event-driven"])
    ]
    np.testing.assert_allclose(line.get_ydata(), faster)
    figure.canvas.draw()
    labels = [label.get_text() for label in figure.axes[2].get_xticklabels()]
    assert labels == ["0.1 %", "1 %", "10 %", "100 %"]
    # Eight layers and the line of equal times.
    assert len(figure.axes[2].lines) == len(result["layers"]) // 2 + 1
