"""Inference of the networks of torch_networks.py, in the faster memory layout of two."""

import numpy as np
import torch
from torch import nn

from benchmarks.workloads.torch_networks import LAYOUTS, reset_net, time_shortest


class Inference:
    """Inference of a network on a batch that stays in memory.

    Both layouts are measured and the faster one is used; torch.compile gets the one that is faster
    without it.

    Args:
        network: of torch_networks, with random weights.
        images: the batch, `[B, H, W, C]`.
        first: images whose statistics the norms get.
        compiled: run under torch.compile.
    """

    def __init__(
        self, network: nn.Module, images: np.ndarray, first: np.ndarray, *, compiled: bool
    ) -> None:
        self.network = network
        self.x = torch.from_numpy(images).permute(0, 3, 1, 2)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # The statistics of one batch become those of the norm.
        with torch.no_grad():
            network.train()(torch.from_numpy(first).permute(0, 3, 1, 2))
        network.eval()
        reset_net(network)
        self.forward = network
        self.layout = ""
        self.use_layout(min(LAYOUTS, key=self.time_layout))
        if compiled:
            self.forward = torch.compile(network)

    def use_layout(self, layout: str) -> None:
        """Give weights and images another layout in memory."""
        self.layout, memory_format = layout, LAYOUTS[layout]
        self.network.to(memory_format=memory_format)
        self.x = self.x.contiguous(memory_format=memory_format)

    def time_layout(self, layout: str) -> float:
        """Return the shortest time of a run in a layout, after a run of warm-up."""
        self.use_layout(layout)
        return time_shortest(self.run)

    def run(self) -> None:
        """Compute the outputs of all images once."""
        with torch.inference_mode():
            self.forward(self.x).mean(0)
        reset_net(self.network)
