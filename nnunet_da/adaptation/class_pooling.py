"""Pool features apart in every class that the network sees."""

import torch
from torch import Tensor

from nnunet_da.adaptation.pooling import average_cells, cell_weights

RARE = 1e-3  # share of a scan below which a class is drawn to the mean of all of it


def pool_by_class(features: Tensor, probabilities: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean of the features within each class, so that alignment compares bone with bone and does not match how much of it a patch holds.

    Class-conditional alignment as in Luo et al. 2019 (CLAN, arXiv:1809.09478) in spirit: here by pooling with soft predictions, which exist
    in both domains alike. With f a cell's features, q its share of a class and s its share of scan, relative to the whole scan:
    mean_k = (sum q_k s f + RARE mean(f)) / (sum q_k s + RARE); a class that is not there gives the mean of everything, not noise.

    Args:
        features: (N, C, ...) with two or three spatial axes.
        probabilities: (N, K, ...) of the image's size, in [0, 1]; they are weights alone and receive no gradient.
        valid: (N, 1, ...) of the image's size, as in `pool_features`.

    Returns:
        (N, K C), class by class.

    Raises:
        ValueError: shapes that do not fit.
    """
    if len(probabilities) != len(features) or probabilities.ndim != features.ndim:
        raise ValueError(f"probabilities must be (N, K, ...) for features {tuple(features.shape)}, got {tuple(probabilities.shape)}.")
    weights, axes = _class_weights(features, probabilities.detach().to(features.dtype), valid), tuple(range(2, features.ndim))
    mean = (features * cell_weights(features, valid)).sum(axes)  # (N, C)
    summed = torch.einsum("nkv,ncv->nkc", weights.flatten(2), features.flatten(2))
    found = weights.sum(axes)[..., None]  # (N, K, 1)
    return ((summed + RARE * mean[:, None]) / (found + RARE)).flatten(1)


def _class_weights(features: Tensor, probabilities: Tensor, valid: Tensor | None) -> Tensor:
    """(N, K, ...) at the features' size; the sum over space is the class's share of the scan."""
    inside = torch.ones_like(probabilities[:, :1]) if valid is None else valid.to(features.dtype)
    empty = inside.flatten(1).sum(1) == 0
    inside = torch.where(empty.view(-1, *[1] * (inside.ndim - 1)), torch.ones_like(inside), inside)
    size = features.shape[2:]
    share = average_cells(inside, size)
    return average_cells(probabilities * inside, size) / share.sum(tuple(range(2, share.ndim)), keepdim=True)
