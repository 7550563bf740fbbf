"""Failed segmentations: values that are not defined because a model found nothing."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from nnunet_da.evaluation.statistics import UNDEFINED
from nnunet_da.study.statistics.crossed import difference
from nnunet_da.study.statistics.values import Cube


@dataclass(frozen=True)
class Failures:
    """How often two arms fail on the same cases; NaN where a number is not defined.

    Attributes:
        n: pairs of a run and a case.
        failed_baseline, failed_method: of those.
        only_baseline, only_method: pairs in which one failed and the other, in its run of the same number, did not.
        p_mcnemar: exact, over pairs of run and case, as if all were independent: too small where one case fails in every run.
        cases_worse, cases_better: cases in which the method fails in more runs than the baseline, and in fewer.
        p_cases: exact sign test over those cases, so that a case counts once however many runs fail on it.
        rate_difference, low, high: method minus baseline in the rate of failure, with its interval over runs and cases.
    """

    n: int
    failed_baseline: int
    failed_method: int
    only_baseline: int
    only_method: int
    p_mcnemar: float
    cases_worse: int
    cases_better: int
    p_cases: float
    rate_difference: float
    low: float
    high: float


def compare_failures(cube: Cube, alpha: float = 0.05) -> Failures:
    """Compare the failures of two arms, the baseline first; NaN where a model failed."""
    first, second = failed = np.isnan(cube.values)
    per_case = second.sum(axis=0) - first.sum(axis=0)
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    worse, better = int((per_case > 0).sum()), int((per_case < 0).sum())
    rates = replace(cube, values=failed.astype(float)).by_fold
    rate = difference(*rates.values, paired=rates.paired, alpha=alpha)
    return Failures(
        n=first.size,
        failed_baseline=int(first.sum()),
        failed_method=int(second.sum()),
        only_baseline=only_first,
        only_method=only_second,
        p_mcnemar=_sign_test(only_first, only_second),
        cases_worse=worse,
        cases_better=better,
        p_cases=_sign_test(worse, better),
        rate_difference=rate.value,
        low=rate.low,
        high=rate.high,
    )


def _sign_test(one: int, other: int) -> float:
    """Exact, two-sided; not defined where there is nothing to compare."""
    return float(stats.binomtest(one, one + other).pvalue) if one + other else UNDEFINED
