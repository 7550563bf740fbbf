"""Source non-inferiority: is a loss larger than the margin ruled out?"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from nnunet_da.evaluation.statistics import UNDEFINED, direction
from nnunet_da.study.statistics.crossed import Estimate

NON_INFERIOR, INFERIOR, INCONCLUSIVE, NOT_ESTIMABLE = "non-inferior", "inferior", "inconclusive", "not estimable"


@dataclass(frozen=True)
class NonInferiority:
    """One method, one metric of the source.

    Attributes:
        loss: of the method against the baseline, in the metric's unit; positive is worse, whatever the metric's direction.
        low, high: interval of the loss; `high` is the one-sided bound at half of alpha (97.5 % for an alpha of 0.05).
        margin: loss up to which a method counts as not inferior.
        verdict: "non-inferior" where `high` lies below the margin, "inferior" where `low` lies above it, else "inconclusive".
        p: one-sided, of a loss of the margin or more.
    """

    loss: float
    low: float
    high: float
    margin: float
    verdict: str
    p: float


def non_inferiority(estimate: Estimate, metric: str, margin: float) -> NonInferiority:
    """Judge a difference, method minus baseline.

    Args:
        estimate: of the difference, with its interval over runs and cases.
        margin: above 0, in the metric's unit.
    """
    sign = -direction(metric)
    bounds = sorted((sign * estimate.low, sign * estimate.high))
    low, high = bounds if np.isfinite(bounds).all() else (UNDEFINED, UNDEFINED)
    loss = sign * estimate.value
    return NonInferiority(loss, low, high, margin, _verdict(low, high, margin), _p(estimate, loss, margin))


def _verdict(low: float, high: float, margin: float) -> str:
    if not np.isfinite(high):
        return NOT_ESTIMABLE
    if high < margin:
        return NON_INFERIOR
    return INFERIOR if low > margin else INCONCLUSIVE


def _p(estimate: Estimate, loss: float, margin: float) -> float:
    return float(stats.t.sf((margin - loss) / estimate.se, estimate.df)) if np.isfinite(estimate.df) and estimate.se > 0 else UNDEFINED
