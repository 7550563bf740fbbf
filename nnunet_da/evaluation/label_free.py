"""Scores of a segmentation network on scans without labels: certainty, agreement under a harmless change, information.

Such numbers are called validators; "Three New Validators and a Large-Scale Benchmark Ranking for Unsupervised Domain Adaptation"
(arXiv:2208.07360) compares them for classification. A segmentation differs in one thing: almost every voxel is background and certain to
be. Where each score is taken, and what a network that finds nothing gets, is therefore part of its definition here.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

NAMES = ("target_entropy", "target_agreement", "target_information", "target_foreground")
MARGIN_VOXELS = 2
BLUR, CONTRAST, NOISE = (0.0, 1.0), (0.75, 1.25), (0.0, 0.2)  # ranges of `perturbed`


class LabelFreeScores:
    """Adds up patches; every score is a ratio of sums over all of them, so that a patch counts by what it holds.

    `target_entropy`: mean normalised entropy of the voxels within `MARGIN_VOXELS` of the predicted foreground, in [0, 1], low is certain.
        Entropy as a sign of a bad fit goes back to "Semi-supervised Learning by Entropy Minimization" (NeurIPS 2004); as a map over a
        segmented target it is in ADVENT (arXiv:1811.12833). Those average over all voxels, which on a scan measures mostly how much bone
        is in it, and calls a network that finds nothing the best.
    `target_agreement`: Dice between the segmentation of a patch and that of its changed version, mean over the foreground labels (or
        regions) seen in either, in [0, 1], high is stable. Consistency under augmentation, as in "Self-ensembling for visual domain
        adaptation" (arXiv:1706.05208), measured here and not trained.
    `target_information`: normalised entropy of the mean prediction minus mean entropy over all voxels of the scan, in [0, 1], high is
        informative: the mutual information of "Discriminative Clustering by Regularized Information Maximization" (NeurIPS 2010), the
        `IM` of arXiv:2208.07360. Finding nothing earns 0; finding too much earns more, up to labels of equal size.
    `target_foreground`: share of the scan's voxels that are foreground, in [0, 1]. No score: the context that the others lack.

    A score without anything to measure (no foreground was predicted anywhere, no voxel lies in a scan) is NaN, never a good value.

    Args:
        regions: the outputs are sigmoids of overlapping regions, not a softmax over labels of which the first is background.
    """

    def __init__(self, regions: bool) -> None:
        self.regions = regions
        self._sums: dict[str, Tensor] = {}

    def update(self, logits: Tensor, logits_changed: Tensor, inside: Tensor) -> None:
        """Add a batch.

        Args:
            logits: (B, K, ...) of patches, two or three spatial axes.
            logits_changed: (B, K, ...) of their changed versions, flips undone.
            inside: (B, 1, ...) not 0 where the patch is scan and not padding.

        Raises:
            ValueError: the shapes do not fit each other, or a softmax has a single output.
        """
        _check(logits, logits_changed, inside, self.regions)
        for sample, changed, scan in zip(logits, logits_changed, inside, strict=True):  # one at a time: many labels need much memory
            self._add(probabilities(sample[None], self.regions), probabilities(changed[None], self.regions), scan[None] != 0)

    def values(self) -> dict[str, float]:
        """Score name -> value of everything added so far."""
        sums = self._sums
        if not sums:
            return dict.fromkeys(NAMES, math.nan)
        marginal = voxel_entropy((sums["prediction"] / sums["scan"])[None], self.regions)[0]
        return {
            "target_entropy": float(sums["entropy_near"] / sums["near"]),
            "target_agreement": float((2 * sums["overlap"] / sums["sizes"]).nanmean()),  # a label seen in neither is 0 / 0
            "target_information": float(marginal - sums["entropy"] / sums["scan"]),
            "target_foreground": float(sums["foreground"] / sums["scan"]),
        }

    def _add(self, predicted: Tensor, predicted_changed: Tensor, scan: Tensor) -> None:
        entropy = voxel_entropy(predicted, self.regions)[:, None]
        found, found_changed = (foreground(p, self.regions) & scan for p in (predicted, predicted_changed))
        anything = found.any(1, keepdim=True)
        near = dilated(anything, MARGIN_VOXELS) & scan
        sums = {
            "scan": scan.sum(),
            "near": near.sum(),
            "foreground": anything.sum(),
            "entropy": torch.where(scan, entropy, 0).sum(),
            "entropy_near": torch.where(near, entropy, 0).sum(),
            "prediction": _per_label(torch.where(scan, predicted, 0)),
            "overlap": _per_label(found & found_changed),
            "sizes": _per_label(found) + _per_label(found_changed),
        }
        self._sums = {name: self._sums.get(name, 0) + value.cpu().double() for name, value in sums.items()}


def probabilities(logits: Tensor, regions: bool) -> Tensor:
    """(B, K, ...) softmax over labels, or one sigmoid per region, in float32."""
    return logits.float().sigmoid() if regions else logits.float().softmax(1)


def voxel_entropy(probabilities: Tensor, regions: bool) -> Tensor:
    """Entropy over the largest possible one: 0 certain, 1 undecided.

    Args:
        probabilities: (B, K, ...).
        regions: mean of K binary entropies; else one over K labels.

    Returns:
        (B, ...), in [0, 1].
    """
    if regions:
        return (torch.special.entr(probabilities) + torch.special.entr(1 - probabilities)).mean(1) / math.log(2)
    return torch.special.entr(probabilities).sum(1) / math.log(probabilities.shape[1])


def foreground(probabilities: Tensor, regions: bool) -> Tensor:
    """(B, F, ...) boolean masks of what is segmented: every region above one half, or every label but the background."""
    if regions:
        return probabilities > 0.5
    labels = torch.arange(1, probabilities.shape[1], device=probabilities.device)
    return probabilities.argmax(1, keepdim=True) == labels.view(1, -1, *[1] * (probabilities.ndim - 2))


def dilated(mask: Tensor, voxels: int) -> Tensor:
    """Grow boolean masks (B, C, ...) by a number of voxels along every spatial axis (a box)."""
    pool = functional.max_pool2d if mask.ndim == 4 else functional.max_pool3d
    grown, axes = mask.float(), mask.ndim - 2
    for axis in range(axes):
        along = [int(i == axis) for i in range(axes)]
        grown = pool(grown, [1 + 2 * voxels * one for one in along], stride=1, padding=[voxels * one for one in along])
    return grown > 0


def perturbed(images: Tensor, inside: Tensor, generator: torch.Generator) -> Tensor:
    """The same bodies as another scanner might have shown them: some blur, another contrast, some noise; padding stays as it is.

    Per sample and in this order: a share `BLUR` of the mean over 3 voxels per axis, deviations from the scan's mean times `CONTRAST`,
    Gaussian noise of `NOISE` times the scan's standard deviation. Strengths are uniform in these ranges, much like those
    of nnU-Net's training augmentation: a network is not asked for what it never saw.

    Args:
        images: (B, C, ...), two or three spatial axes.
        inside: (B, 1, ...) not 0 where the patch is scan.
        generator: on the CPU, so that every device draws the same numbers.
    """
    scan, space = inside != 0, tuple(range(2, images.ndim))

    def strength(limits: tuple[float, float]) -> Tensor:
        drawn = torch.rand(len(images), generator=generator) * (limits[1] - limits[0]) + limits[0]
        return drawn.to(images).view(-1, *[1] * (images.ndim - 1))

    pool = functional.avg_pool2d if images.ndim == 4 else functional.avg_pool3d
    changed = torch.lerp(images, pool(images, 3, stride=1, padding=1, count_include_pad=False), strength(BLUR))
    voxels = scan.sum(space, keepdim=True).clamp(min=1)
    mean = torch.where(scan, changed, 0).sum(space, keepdim=True) / voxels
    deviation = (torch.where(scan, changed - mean, 0).square().sum(space, keepdim=True) / voxels).sqrt()
    changed = mean + strength(CONTRAST) * (changed - mean)
    noise = torch.randn(images.shape, generator=generator).to(images)
    return torch.where(scan, changed + strength(NOISE) * deviation * noise, images)


def _check(logits: Tensor, logits_changed: Tensor, inside: Tensor, regions: bool) -> None:
    fitting = logits.ndim in (4, 5) and logits.shape == logits_changed.shape and inside.shape == (len(logits), 1, *logits.shape[2:])
    if not fitting:
        raise ValueError(
            "Both logits must be (B, K, ...) with two or three spatial axes and inside (B, 1, ...),"
            f" got {tuple(logits.shape)}, {tuple(logits_changed.shape)} and {tuple(inside.shape)}."
        )
    if not regions and logits.shape[1] < 2:
        raise ValueError(f"A softmax needs background and foreground, got {logits.shape[1]} output: are these regions?")


def _per_label(values: Tensor) -> Tensor:
    return values.sum([0, *range(2, values.ndim)])
