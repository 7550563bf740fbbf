"""Maximum mean discrepancy (MMD) with a ladder of Gaussian kernels."""

import math
import warnings

import torch
from torch import Tensor

BANDWIDTHS = {
    "paper": (1 / 4, 1 / math.sqrt(2), 1.0, math.sqrt(2), 2.0),  # as printed; the first is probably a slip for 1/2
    "dan": (1 / 2, 1 / math.sqrt(2), 1.0, math.sqrt(2), 2.0),  # {1/4, 1/2, 1, 2, 4} on the variance, Long et al. 2015
}
ESTIMATORS = ("unbiased", "biased")
AGGREGATES = ("sum", "mean")


def mmd(
    features_source: Tensor,
    features_target: Tensor,
    *,
    bandwidths: str = "paper",
    estimator: str = "unbiased",
    aggregate: str = "sum",
) -> Tensor:
    """Squared maximum mean discrepancy between two sets of features.

    PF-DAformer Eq. 19; Gretton et al. 2012, JMLR 13:723. The kernel is the sum over five m of exp(-|f - f'|^2 / (2 sigma_m^2)), with
    sigma_m = ratio_m * s and s the median distance over the distinct pairs of both sets together, held constant for the gradient. Where s
    is 0 the mean distance takes its place, then 1. Computed outside autocast in float32, or in float64 where an input is float64.

    Args:
        features_source: (N_s, F).
        features_target: (N_t, F).
        bandwidths: "paper" or "dan", the ratios in `BANDWIDTHS`.
        estimator: "unbiased" (U-statistic, needs two samples a side) or "biased" (V-statistic, never negative). One sample on a side makes
            "unbiased" fall back to "biased" with a warning.
        aggregate: "sum" (as printed) or "mean" over the kernels; "mean" is a fifth of it.

    Returns:
        Scalar, unitless, neither clamped nor rooted: the unbiased value is legitimately negative for close sets. A side without samples
        gives 0, connected to the graph.

    Raises:
        ValueError: shapes that do not fit, or an unknown option.
    """
    _check(features_source, features_target, bandwidths, estimator, aggregate)
    n_source, n_target = len(features_source), len(features_target)
    if not (n_source and n_target):
        return 0.0 * (features_source.sum() + features_target.sum())
    if estimator == "unbiased" and min(n_source, n_target) < 2:
        estimator = _fall_back_to_biased(n_source, n_target)
    with torch.autocast(device_type=features_source.device.type, enabled=False):
        dtype = torch.promote_types(torch.promote_types(features_source.dtype, features_target.dtype), torch.float32)
        pooled = torch.cat([features_source.to(dtype), features_target.to(dtype)])
        kernel = _kernel(_squared_distances(pooled), BANDWIDTHS[bandwidths])
        value = _estimate(kernel, n_source, biased=estimator == "biased")
    return value / len(BANDWIDTHS[bandwidths]) if aggregate == "mean" else value


def median_distance(squared_distances: Tensor) -> Tensor:
    """Median distance over distinct pairs, without gradient; the mean where it is 0, and 1 where that is 0 too.

    Args:
        squared_distances: (N, N), N >= 2.
    """
    rows, columns = torch.triu_indices(len(squared_distances), len(squared_distances), offset=1, device=squared_distances.device)
    distances = squared_distances.detach()[rows, columns].sqrt()
    median, mean = distances.quantile(0.5), distances.mean()  # torch.median would take the lower of two middle values
    return torch.where(median > 0, median, torch.where(mean > 0, mean, torch.ones_like(mean)))


def _squared_distances(features: Tensor) -> Tensor:
    """(N, F) to (N, N), from differences: exact zeros for equal rows, and no root whose gradient there is infinite."""
    return (features[:, None] - features[None, :]).square().sum(dim=-1)


def _kernel(squared_distances: Tensor, ratios: tuple[float, ...]) -> Tensor:
    scaled = squared_distances / median_distance(squared_distances).square()
    return torch.stack([torch.exp(-scaled / (2 * ratio**2)) for ratio in ratios]).sum(dim=0)


def _estimate(kernel: Tensor, n_source: int, biased: bool) -> Tensor:
    within_source, within_target = kernel[:n_source, :n_source], kernel[n_source:, n_source:]
    between = kernel[:n_source, n_source:].mean()
    mean = _mean if biased else _mean_off_diagonal
    return mean(within_source) + mean(within_target) - 2 * between


def _mean(kernel: Tensor) -> Tensor:
    return kernel.mean()


def _mean_off_diagonal(kernel: Tensor) -> Tensor:
    n = len(kernel)
    return (kernel.sum() - kernel.diagonal().sum()) / (n * (n - 1))


def _fall_back_to_biased(n_source: int, n_target: int) -> str:
    if not torch.compiler.is_compiling():  # a warning would break the graph
        warnings.warn(
            f"Unbiased MMD needs two samples per domain, got {n_source} source and {n_target} target: the biased estimate is used. "
            "Plan a batch size of at least 2 per domain.",
            stacklevel=3,
        )
    return "biased"


def _check(features_source: Tensor, features_target: Tensor, bandwidths: str, estimator: str, aggregate: str) -> None:
    if features_source.ndim != 2 or features_target.ndim != 2 or features_source.shape[1] != features_target.shape[1]:
        shapes = f"{tuple(features_source.shape)} and {tuple(features_target.shape)}"
        raise ValueError(f"Source and target features must be (N, F) with equal F, got {shapes}. Pool the maps over space first.")
    for name, value, known in (
        ("bandwidths", bandwidths, tuple(BANDWIDTHS)),
        ("estimator", estimator, ESTIMATORS),
        ("aggregate", aggregate, AGGREGATES),
    ):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}.")
