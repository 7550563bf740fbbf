"""Gap closed: how much of the distance from source-only to oracle a method covers."""

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from nnunet_da.evaluation.statistics import UNDEFINED, Array, direction
from nnunet_da.study.statistics.crossed import Estimate, contrast, covariance_of

METHOD, GAP = (-1.0, 1.0, 0.0), (-1.0, 0.0, 1.0)  # over the arms source-only, method, oracle


@dataclass(frozen=True)
class GapClosed:
    """(method - source-only) / (oracle - source-only) of means; NaN where it is not estimable, and `note` says why.

    Attributes:
        ratio: 0 where the method is as source-only, 1 where it is as the oracle; below 0 and above 1 are possible.
        low, high: Fieller interval over runs and cases.
        gap: of oracle minus source-only.
    """

    ratio: float
    low: float
    high: float
    gap: Estimate
    note: str = ""


def gap_closed(source_only: Array, method: Array, oracle: Array, metric: str, *, paired: bool = False, alpha: float = 0.05) -> GapClosed:
    """Ratio of two differences that share their cases, their source-only runs and so their error.

    Args:
        source_only, method, oracle: (R, N) values without NaN.
        metric: its direction says whether the oracle is the better end.

    Returns:
        Not estimable with a single run, where the interval of oracle minus source-only holds 0, and where the oracle is the worse.
    """
    values = np.stack([source_only, method, oracle])
    gap = contrast(values, GAP, paired=paired, alpha=alpha)
    note = _why_not(gap, metric)
    if note:
        return GapClosed(UNDEFINED, UNDEFINED, UNDEFINED, gap, note)
    gain = contrast(values, METHOD, paired=paired, alpha=alpha)
    ratio = gain.value / gap.value
    df = _df_of_ratio(values, ratio, paired) if gain.se > 0 else gap.df
    covariance = covariance_of(values, METHOD, GAP, paired=paired)
    t = float(stdtrit(min(df, gap.df), 1 - alpha / 2))
    low, high = fieller(gain.value, gap.value, gain.se**2, gap.se**2, covariance, t)
    return GapClosed(ratio, low, high, gap, "" if np.isfinite(low) else "the interval of the ratio has no ends: the gap is too uncertain")


def fieller(
    numerator: float, denominator: float, variance_numerator: float, variance_denominator: float, covariance: float, t: float
) -> tuple[float, float]:
    """Interval of numerator / denominator: every ratio r for which numerator - r denominator is within t of its standard errors of 0.

    (N - r D)^2 = t^2 (V_N - 2 r C + r^2 V_D), solved for r (Fieller, J R Stat Soc B 16, 1954).

    Returns:
        NaN twice where the denominator is within t of its standard errors of 0: the set of ratios then has no ends.
    """
    a = denominator**2 - t**2 * variance_denominator
    b = numerator * denominator - t**2 * covariance
    c = numerator**2 - t**2 * variance_numerator
    if a <= 0:
        return UNDEFINED, UNDEFINED
    half = float(np.sqrt(max(b**2 - a * c, 0.0)))
    return (b - half) / a, (b + half) / a


def _why_not(gap: Estimate, metric: str) -> str:
    """Why there is no gap that a method could close; "" where there is one."""
    if gap.notes:
        return f"not estimable: {gap.notes[0]}"
    if gap.low <= 0 <= gap.high:
        return "not estimable: source-only and oracle do not differ (the interval of their difference holds 0), so there is no gap to close"
    if gap.value * direction(metric) < 0:
        return "not estimable: the oracle is worse than source-only, so there is no gap to close"
    return ""


def _df_of_ratio(values: Array, ratio: float, paired: bool) -> float:
    """Degrees of freedom of method - ratio * oracle - (1 - ratio) * source-only, whose error is that of the ratio."""
    return contrast(values, (ratio - 1.0, 1.0, -ratio), paired=paired).df
