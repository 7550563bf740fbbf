"""Paired statistics of one metric: two methods, the same cases."""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

CONFIDENCE = 0.95
DECIMALS = 9  # differences below 1e-9 (fraction, mm, mm3) are rounding, not results
UNDEFINED = float("nan")
Array = NDArray[np.float64]


@dataclass(frozen=True)
class PairedTests:
    """What can be said about second minus first; NaN where a number is not defined, and `notes` say why.

    Attributes:
        n: pairs with both values defined; everything below is taken from them alone.
        n_undefined: pairs left out because a value is undefined.
        n_undefined_first, n_undefined_second: undefined values of either method (a pair can have both).
        sd_difference: sample standard deviation (n - 1) of the differences.
        ci_low, ci_high: bootstrap interval of the mean difference, see `bootstrap_interval`.
        t, df, p_t: paired t test, two-sided.
        wilcoxon, p_wilcoxon: signed-rank test, two-sided, see `signed_rank`.
        cohen_dz: difference / sd_difference.
    """

    n: int
    n_undefined: int
    n_undefined_first: int
    n_undefined_second: int
    mean_first: float
    mean_second: float
    difference: float
    sd_difference: float
    ci_low: float
    ci_high: float
    t: float
    df: int
    p_t: float
    wilcoxon: float
    p_wilcoxon: float
    cohen_dz: float
    notes: tuple[str, ...] = ()


def paired_tests(first: ArrayLike, second: ArrayLike, *, resamples: int = 9999, seed: int = 0) -> PairedTests:
    """Compare two methods on the same cases, second minus first.

    Args:
        first: (N,) values of the first method in any unit; NaN where undefined.
        second: (N,) values of the second, in the same order of cases.
        resamples: bootstrap resamples of the cases.
        seed: of the bootstrap; the same for every metric, so a result does not depend on what else is compared.

    Raises:
        ValueError: the two have different lengths, or are not one row of values each.
    """
    first, second = np.asarray(first, float), np.asarray(second, float)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"Two rows of equally many values were expected, got shapes {first.shape} and {second.shape}: pair the cases.")
    missing_first, missing_second = np.isnan(first), np.isnan(second)
    kept = ~(missing_first | missing_second)
    x, y = first[kept], second[kept]
    differences = _differences(x, y)
    varied = len(x) > 1 and _varies(differences)
    t, p_t = stats.ttest_rel(y, x) if varied else (UNDEFINED, UNDEFINED)
    statistic, p_wilcoxon = signed_rank(differences)
    low, high = bootstrap_interval(differences, resamples=resamples, seed=seed) if varied else (UNDEFINED, UNDEFINED)
    return PairedTests(
        n=len(x),
        n_undefined=int((~kept).sum()),
        n_undefined_first=int(missing_first.sum()),
        n_undefined_second=int(missing_second.sum()),
        mean_first=_mean(x),
        mean_second=_mean(y),
        difference=_mean(differences),
        sd_difference=float(np.std(differences, ddof=1)) if len(x) > 1 else UNDEFINED,
        ci_low=low,
        ci_high=high,
        t=float(t),
        df=max(len(x) - 1, 0),
        p_t=float(p_t),
        wilcoxon=statistic,
        p_wilcoxon=p_wilcoxon,
        cohen_dz=float(differences.mean() / np.std(differences, ddof=1)) if varied else UNDEFINED,
        notes=(*_what_cannot_be_said(differences), *_unequal_failures(missing_first, missing_second)),
    )


def p_of_t(t: float, df: float) -> float:
    """Two-sided p value of a t statistic: 2 P(T > |t|), T Student-distributed with `df` degrees of freedom."""
    return float(2 * stats.t.sf(abs(t), df))


def signed_rank(differences: ArrayLike) -> tuple[float, float]:
    """Wilcoxon's signed-rank test, two-sided: the smaller rank sum and its p value.

    Differences of exactly zero are dropped, as Wilcoxon did (zero method "wilcox"). The p value is exact for up to 50 other differences of
    distinct size, and, from scipy 1.13, for up to 13 with equal ones; else it is the normal approximation with its correction for ties.

    Args:
        differences: (N,) without NaN.

    Returns:
        NaN twice for fewer than two cases or only zeros.
    """
    differences = np.round(np.asarray(differences, float), DECIMALS)  # so that equal changes get equal ranks
    nonzero = differences[differences != 0]
    if len(differences) < 2 or not len(nonzero):
        return UNDEFINED, UNDEFINED
    found = stats.wilcoxon(nonzero)
    return float(found.statistic), float(found.pvalue)


def bootstrap_interval(differences: ArrayLike, *, resamples: int = 9999, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the mean by resampling cases, bias-corrected and accelerated (BCa; Efron 1987).

    BCa, because differences of distances are skewed by a few bad cases, and plain percentiles then miss on one side.

    Args:
        differences: (N,) with N >= 2 and not all equal.
    """
    differences = np.asarray(differences, float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # degenerate resamples of two or three cases: the interval is NaN then
        found = stats.bootstrap(
            (differences,),
            np.mean,
            n_resamples=resamples,
            batch=max(1, 2_000_000 // len(differences)),  # 16 MB at a time
            confidence_level=CONFIDENCE,
            method="BCa",
            random_state=np.random.default_rng(seed),
        )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def holm(p_values: ArrayLike) -> Array:
    """Holm's step-down correction over the p values that are defined; NaN stays NaN and does not count.

    Args:
        p_values: (N,) of one family of tests.
    """
    from statsmodels.stats.multitest import multipletests

    corrected = np.array(p_values, float)
    defined = ~np.isnan(corrected)
    if defined.any():
        corrected[defined] = multipletests(corrected[defined], method="holm")[1]
    return corrected


def direction(metric: str) -> int:
    """1 where more is better, -1 where less is, 0 where a metric has no better end (a volume, a signed error)."""
    if metric in ("dice", "iou", "precision", "recall", "specificity") or metric.startswith("nsd_"):
        return 1
    return -1 if metric.startswith(("hd_", "hd95_", "asd_")) else 0


def wins_ties_losses(first: ArrayLike, second: ArrayLike, metric: str) -> tuple[int, int, int] | None:
    """Cases in which the second method is better, equal (to 1e-9) and worse; None where the metric has no direction."""
    if not direction(metric):
        return None
    gains = direction(metric) * _differences(np.asarray(first, float), np.asarray(second, float))
    return int((gains > 0).sum()), int((gains == 0).sum()), int((gains < 0).sum())


def _differences(first: Array, second: Array) -> Array:
    """Second minus first; exactly 0 where they are equal but for rounding."""
    differences = second - first
    return np.where(np.abs(differences) < 10.0**-DECIMALS, 0.0, differences)


def _varies(differences: Array) -> bool:
    return bool(np.ptp(differences) >= 10.0**-DECIMALS)


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else UNDEFINED


def _what_cannot_be_said(differences: Array) -> tuple[str, ...]:
    if len(differences) == 0:
        return ("no pair with both values defined: nothing can be computed",)
    if len(differences) == 1:
        return ("one pair: no spread, so no test, interval or effect size",)
    if not differences.any():
        return ("identical in every case: no test, p not defined",)
    if not _varies(differences):
        return ("the same difference in every case: no spread, so no t test, interval or effect size",)
    return ()


def _unequal_failures(missing_first: NDArray[np.bool_], missing_second: NDArray[np.bool_]) -> tuple[str, ...]:
    """Undefined values are failures, and the pairs they take away are the hard ones: say so where the methods differ in them."""
    only_first, only_second = int((missing_first & ~missing_second).sum()), int((missing_second & ~missing_first).sum())
    if only_first == only_second:
        return ()
    p = stats.binomtest(only_first, only_first + only_second).pvalue  # McNemar's test, exact
    return (f"undefined in {only_first} cases of first only and {only_second} of second only, left out (exact McNemar p {p:.2g})",)
