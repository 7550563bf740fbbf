"""PF-DAformer's supervised loss: soft Dice plus cross-entropy, mixed with a focal loss."""

import torch
from torch import Tensor, nn

from nnunet_da.losses.inputs import foreground_and_truth, prepare


class DiceCEFocalLoss(nn.Module):
    """(1 - seg_mix) * (Dice + cross-entropy) + seg_mix * focal, called as loss(logits, labels) like nnU-Net's losses.

    PF-DAformer Eq. 11-17, arXiv:2510.26903; the defaults are its "0.6 DiceCE / 0.4 Focal". Sums run in float32 at least, also under
    autocast.

    Args:
        seg_mix: weight of the focal part, in [0, 1] (the paper tries 0.3, 0.4 and 0.5).
        focal_gamma: exponent of the focal part, >= 0.
        focal_alpha: weight of foreground voxels in the focal part, 1 - focal_alpha for background, in [0, 1]; None weighs all alike. The
            paper
            gives no value, and the 0.25 common in detection weighs down the rare class here.
        smooth: added to numerator and denominator of Dice, >= 0.
        ignore_label: voxels of this label enter none of the three terms.

    Raises:
        ValueError: a setting outside its range.
    """

    def __init__(
        self,
        seg_mix: float = 0.4,
        focal_gamma: float = 2.0,
        focal_alpha: float | None = None,
        smooth: float = 1e-5,
        ignore_label: int | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= seg_mix <= 1:
            raise ValueError(f"seg_mix must lie in [0, 1], got {seg_mix}.")
        if focal_gamma < 0 or smooth < 0:
            raise ValueError(f"focal_gamma and smooth must be >= 0, got {focal_gamma} and {smooth}.")
        if focal_alpha is not None and not 0 <= focal_alpha <= 1:
            raise ValueError(f"focal_alpha must lie in [0, 1] or be None, got {focal_alpha}.")
        self.seg_mix, self.focal_gamma, self.focal_alpha = seg_mix, focal_gamma, focal_alpha
        self.smooth, self.ignore_label = smooth, ignore_label

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Scalar loss of logits (B, K, Z, Y, X), K >= 2, and integer labels (B, 1, Z, Y, X)."""
        log_probabilities, classes, valid = prepare(logits, labels, self.ignore_label)
        log_true = _log_true(log_probabilities, classes)
        dice = _dice(log_probabilities, classes, valid, self.smooth)
        cross_entropy = _mean(-log_true, valid)
        focal = _focal(log_true, classes, valid, self.focal_gamma, self.focal_alpha)
        return (1 - self.seg_mix) * (dice + cross_entropy) + self.seg_mix * focal


def dice_loss(logits: Tensor, labels: Tensor, *, smooth: float = 1e-5, ignore_label: int | None = None) -> Tensor:
    """1 - soft Dice with unsquared sums (Eq. 11), per sample and foreground class, then the mean.

    Without foreground in labels and prediction it is near 0, with predicted foreground alone near 1.

    Args:
        logits: (B, K, ...), K >= 2; class 0 is background and left out.
        labels: (B, 1, ...) integers.
        smooth: added to numerator and denominator.
        ignore_label: voxels left out.
    """
    return _dice(*prepare(logits, labels, ignore_label), smooth)


def cross_entropy_loss(logits: Tensor, labels: Tensor, *, ignore_label: int | None = None) -> Tensor:
    """Mean cross-entropy over voxels (Eq. 12), background included; shapes as in `dice_loss`."""
    log_probabilities, classes, valid = prepare(logits, labels, ignore_label)
    return _mean(-_log_true(log_probabilities, classes), valid)


def focal_loss(
    logits: Tensor, labels: Tensor, *, gamma: float = 2.0, alpha: float | None = None, ignore_label: int | None = None
) -> Tensor:
    """Mean over voxels of -alpha_t (1 - p_t)^gamma log p_t (Eq. 14-16; Lin et al. 2017, arXiv:1708.02002).

    Args:
        logits, labels, ignore_label: as in `dice_loss`.
        gamma: >= 0; 0 is cross-entropy weighted by alpha_t.
        alpha: alpha_t is alpha for every foreground class and 1 - alpha for background; None is 1 for all.
    """
    log_probabilities, classes, valid = prepare(logits, labels, ignore_label)
    return _focal(_log_true(log_probabilities, classes), classes, valid, gamma, alpha)


def _log_true(log_probabilities: Tensor, classes: Tensor) -> Tensor:
    """Log probability of the true class, (B, 1, ...)."""
    return log_probabilities.gather(1, classes)


def _dice(log_probabilities: Tensor, classes: Tensor, valid: Tensor | None, smooth: float) -> Tensor:
    foreground, truth = foreground_and_truth(log_probabilities, classes, valid)
    intersection = (foreground * truth).flatten(2).sum(dim=2)
    total = foreground.flatten(2).sum(dim=2) + truth.flatten(2).sum(dim=2)
    return 1 - ((2 * intersection + smooth) / (total + smooth)).mean()


def _focal(log_true: Tensor, classes: Tensor, valid: Tensor | None, gamma: float, alpha: float | None) -> Tensor:
    doubt = (-torch.expm1(log_true)).clamp_min(torch.finfo(log_true.dtype).tiny)  # 1 - p_t; never 0, where gamma < 1 has no gradient
    loss = -(doubt**gamma) * log_true
    if alpha is not None:
        loss = loss * torch.where(classes > 0, alpha, 1 - alpha)
    return _mean(loss, valid)


def _mean(values: Tensor, valid: Tensor | None) -> Tensor:
    """Mean over counted voxels; 0 where none counts."""
    if valid is None:
        return values.mean()
    return (values * valid).sum() / valid.sum().clamp_min(1)
