"""What every loss here does first: check logits and labels, and leave ignored voxels out."""

import torch
from torch import Tensor
from torch.nn import functional


def prepare(logits: Tensor, labels: Tensor, ignore_label: int | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Log probabilities (B, K, ...) in float32 or better, class indices (B, 1, ...), mask of counted voxels or None.

    Raises:
        ValueError: shapes that do not fit, or a single class.
    """
    if logits.ndim != labels.ndim or labels.shape[1] != 1 or logits.shape[2:] != labels.shape[2:] or len(logits) != len(labels):
        shapes = f"{tuple(logits.shape)} and {tuple(labels.shape)}"
        raise ValueError(f"Logits must be (B, K, Z, Y, X) and labels (B, 1, Z, Y, X) of the same size, got {shapes}.")
    if logits.shape[1] < 2:
        raise ValueError(f"Logits need one channel per class with background first (K >= 2), got K = {logits.shape[1]}.")
    log_probabilities = functional.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), dim=1)
    classes = labels.long()
    if ignore_label is None:
        return log_probabilities, classes, None
    valid = classes != ignore_label
    return log_probabilities, classes * valid, valid


def foreground_and_truth(log_probabilities: Tensor, classes: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Probabilities and truth of every class but background, each (B, K - 1, ...); ignored voxels are in neither."""
    foreground = log_probabilities[:, 1:].exp()
    if valid is not None:
        foreground = foreground * valid
    index = torch.arange(1, log_probabilities.shape[1], device=classes.device).view(1, -1, *[1] * (classes.ndim - 2))
    return foreground, classes == index  # ignored voxels have class 0
