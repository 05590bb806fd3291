"""The ReLU network of the comparison in plain Flax: nn.Conv, nn.BatchNorm and nn.relu."""

from functools import partial

import flax.linen as nn
import jax


class ResNet18(nn.Module):
    """The pre-activation network of the paper for CIFAR with ReLU: `[B, H, W, C]` to `[B, K]`."""

    classes: int
    width: int = 64

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, epsilon=1e-5)
        conv = partial(nn.Conv, padding=1)
        x = conv(self.width, (3, 3), use_bias=False)(x)
        for stage in range(4):
            features = self.width * 2**stage
            for block in range(2):
                stride = 2 if stage > 0 and block == 0 else 1
                activation = nn.relu(norm()(x))
                y = conv(features, (3, 3), strides=stride)(activation)
                y = conv(features, (3, 3))(nn.relu(norm()(y)))
                if stride != 1 or x.shape[-1] != features:
                    activation = nn.Conv(features, (1, 1), strides=stride)(activation)
                x = y + activation
        x = nn.relu(norm()(x)).mean((1, 2))
        return nn.Dense(self.classes)(x)
