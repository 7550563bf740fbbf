"""Learning rate of PF-DAformer's released code: linear warm-up, then one cosine down to a floor."""

import math

from torch.optim import Optimizer


def warmup_cosine(epoch: int, initial_lr: float, floor: float, warmup_epochs: int, num_epochs: int) -> float:
    """Learning rate of an epoch.

    Rises linearly over the warm-up to `initial_lr`, which the first epoch after it has, and ends near `floor` in the last one. A run not
    longer than the warm-up only rises.
    """
    if epoch < warmup_epochs:
        return initial_lr * (epoch + 1) / (warmup_epochs + 1)
    progress = (epoch - warmup_epochs) / max(1, num_epochs - warmup_epochs)
    return floor + (initial_lr - floor) * (1 + math.cos(math.pi * min(1.0, progress))) / 2


class WarmupCosineSchedule:
    """Sets the rate of every parameter group; `step(epoch)` like nnU-Net's own schedule."""

    def __init__(self, optimizer: Optimizer, initial_lr: float, floor: float, warmup_epochs: int, num_epochs: int) -> None:
        self.optimizer = optimizer
        self.shape = (initial_lr, floor, warmup_epochs, num_epochs)

    def step(self, epoch: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = warmup_cosine(epoch, *self.shape)
