"""Several trained models per method: what of the difference is the method, and what is the luck of a training."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnunet_da.evaluation.statistics import CONFIDENCE

Array = NDArray[np.float64]
UNDEFINED = float("nan")


def average_seeds(values: ArrayLike) -> Array:
    """Mean over seeds per case; undefined where any seed is undefined, so that a failure is never averaged away.

    Args:
        values: (S, N), S seeds on the same N cases.

    Returns:
        (N,)
    """
    return np.asarray(values, float).mean(axis=0)


def two_level_interval(first: ArrayLike, second: ArrayLike, *, resamples: int = 9999, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of the mean difference, cases and seeds both resampled.

    Each resample draws cases, the same for both methods, and seeds, for each method by itself: seed 1 of one method has nothing to do with
    seed 1 of another. It answers for another training on other cases; resampling the cases alone answers for these trained models.

    Args:
        first: (S1, N) values of the first method, S1 seeds on N cases; NaN where undefined.
        second: (S2, N) values of the second, in the same order of cases.

    Returns:
        NaN twice where a method has a single seed or fewer than two cases are defined for all seeds of both.
    """
    first, second = np.asarray(first, float), np.asarray(second, float)
    kept = ~(np.isnan(first).any(axis=0) | np.isnan(second).any(axis=0))
    if min(len(first), len(second), int(kept.sum())) < 2:
        return UNDEFINED, UNDEFINED
    means = np.concatenate(list(_resampled_means(first[:, kept], second[:, kept], resamples, np.random.default_rng(seed))))
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _resampled_means(first: Array, second: Array, resamples: int, rng: np.random.Generator) -> Iterator[Array]:
    """Mean differences of the resamples, some thousand at a time; how often a unit is drawn is its weight."""
    cases = first.shape[1]
    size = max(1, 2_000_000 // cases)  # 16 MB at a time
    for start in range(0, resamples, size):
        drawn = min(size, resamples - start)
        differences = _weights(len(second), drawn, rng) @ second - _weights(len(first), drawn, rng) @ first  # (drawn, N)
        yield (differences * _weights(cases, drawn, rng)).sum(axis=1)


def _weights(units: int, resamples: int, rng: np.random.Generator) -> Array:
    """(resamples, units): the share of each unit in a resample with replacement."""
    return rng.multinomial(units, np.full(units, 1 / units), size=resamples) / units
