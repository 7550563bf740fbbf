"""The same question asked of ranks, in which a failed segmentation is the worst of all."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from nnunet_da.evaluation.statistics import DECIMALS, UNDEFINED, Array, direction
from nnunet_da.study.statistics.crossed import Estimate, difference

ALWAYS = 10.0**-DECIMALS  # this close to 0 or 1 a share has nothing left to vary


@dataclass(frozen=True)
class Superiority:
    """How often a run of the method beats a run of the baseline on the same case.

    Attributes:
        share: of all pairs of runs and all cases, a tie counting half; 0.5 where neither is better.
        estimate: of `share` minus 0.5, with its interval over runs and cases.
    """

    share: float
    estimate: Estimate

    @property
    def interval(self) -> tuple[float, float]:
        """Of `share`, within 0 and 1."""
        low, high = (np.clip(0.5 + bound, 0.0, 1.0) for bound in (self.estimate.low, self.estimate.high))
        return float(low), float(high)


def contradicts(share: float, *, ahead: bool) -> bool:
    """Whether ranks speak against a method that is ahead in the values that are defined, or behind."""
    return share <= 0.5 if ahead else share >= 0.5


def superiority(baseline: Array, method: Array, metric: str, *, paired: bool = False, alpha: float = 0.05) -> Superiority:
    """Rank all runs of both arms within each case, and compare the arms' mean ranks over runs and cases.

    A mean rank is a share of beaten runs (Brunner & Munzel, Biometrical Journal 42, 2000), so the size of a difference plays no part, and
    what has no size, an undefined value, can be ranked: it is worse than any value and as bad as another undefined one. All cases count.

    Args:
        baseline, method: (R, N) values, NaN where undefined.
        metric: its direction says which end is the better one.
    """
    values = direction(metric) * np.round(np.stack([baseline, method]), DECIMALS)
    worth = np.where(np.isnan(values), -np.inf, values)
    both = worth.reshape(-1, worth.shape[2])  # (2R, N)
    places = (stats.rankdata(both, axis=0) / len(both)).reshape(worth.shape)  # differences of means are shares minus one half
    estimate = difference(places[0], places[1], paired=paired, alpha=alpha)
    share = 0.5 + estimate.value
    if share < ALWAYS or share > 1 - ALWAYS:  # all runs of one arm beat all of the other in all cases
        estimate = replace(estimate, se=UNDEFINED, low=UNDEFINED, high=UNDEFINED, p=UNDEFINED)
    return Superiority(share, estimate)
