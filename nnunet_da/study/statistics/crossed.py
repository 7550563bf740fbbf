"""Differences between arms when both the cases and the trainings are samples: the balanced mixed model, by its mean squares.

    value = arm + (1 | case) + (1 | arm:case) + (1 | arm:run) + rest

Every run of every arm scores every case, so the best linear estimate of a difference is the difference of means, and its variance has the
three parts of a table with two crossed random factors (Searle, Casella & McCulloch, Variance Components, 1992, chapter 4). Reader studies
test whether two scanners differ over readers and cases in the same way (Gallas et al., J Opt Soc Am A 24, 2007; Hillis, Stat Med 26,
2007); here a run is the reader. With all variance components above 0 REML gives the same standard error, which a test holds against
statsmodels; this form needs no iteration and so cannot fail to converge, and it has degrees of freedom, without which three seeds would
be read as if they were thirty.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from nnunet_da.evaluation.statistics import DECIMALS, UNDEFINED, Array

Weights = Sequence[float] | NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A contrast of arms over runs and cases; NaN where a number is not defined, and `notes` say why.

    Attributes:
        value: weighted sum of the arms' means, in the unit of the values.
        se: its standard error for another training on other cases.
        df: degrees of freedom of `se` (Satterthwaite).
        low, high: two-sided interval.
        p: two-sided, of a contrast of 0.
        n_runs, n_cases: runs of each arm, cases with all values defined.
    """

    value: float
    se: float = UNDEFINED
    df: float = UNDEFINED
    low: float = UNDEFINED
    high: float = UNDEFINED
    p: float = UNDEFINED
    n_runs: int = 0
    n_cases: int = 0
    notes: tuple[str, ...] = ()


def difference(baseline: Array, method: Array, *, paired: bool = False, alpha: float = 0.05) -> Estimate:
    """Method minus baseline; (R, N) values of each without NaN, see `contrast`."""
    return contrast(np.stack([baseline, method]), (-1.0, 1.0), paired=paired, alpha=alpha)


def contrast(values: Array, weights: Weights, *, paired: bool = False, alpha: float = 0.05) -> Estimate:
    """Weighted sum of arms with its interval over runs and cases.

    Args:
        values: (K, R, N) without NaN: K arms, R runs, N cases.
        weights: (K,), their sum 0, so that what is common to all arms drops out.
        paired: run r of all arms belongs together (folds, which share training cases); else each arm's runs scatter by themselves.

    Returns:
        No interval and no p with a single run, with fewer than two cases, or where nothing varies.
    """
    runs, cases = values.shape[1:]
    value = float(np.dot(weights, values.mean(axis=(1, 2)))) if cases else UNDEFINED
    note = _what_is_missing(runs, cases)
    if note:
        return Estimate(value, n_runs=runs, n_cases=cases, notes=(note,))
    variance, df = variance_of(values, weights, paired=paired)
    se = float(np.sqrt(variance))
    if se < 10.0**-DECIMALS:
        return Estimate(value, se=se, n_runs=runs, n_cases=cases, notes=("nothing varies over runs and cases: no test and no interval",))
    half = float(stdtrit(df, 1 - alpha / 2)) * se
    return Estimate(value, se, df, value - half, value + half, float(2 * stdtr(df, -abs(value) / se)), runs, cases)


def variance_of(values: Array, weights: Weights, *, paired: bool = False) -> tuple[float, float]:
    """Variance of a contrast and its degrees of freedom; R and N are 2 or more.

    Runs: the variance of run means, over R. Cases: the variance over cases of the contrast of arm means, over N. Both hold the rest's
    share, so it is taken off once; the cases' part is never below 0. Each arm keeps its own scatter between runs, for adversarial training
    scatters more than a baseline.
    """
    runs, cases = values.shape[1:]
    per_run, df_per_run = _run_parts(values, weights, paired)
    by_case = np.tensordot(np.asarray(weights), values.mean(axis=1), axes=1)  # (N,)
    part_cases = max(float(by_case.var(ddof=1)) / cases - _rest(values, weights, paired) / (runs * cases), 0.0)
    variance = sum(per_run) + part_cases
    spread = sum(part**2 for part in per_run) / df_per_run + part_cases**2 / (cases - 1)
    return variance, variance**2 / spread if spread > 0 else float(runs - 1)


def covariance_of(values: Array, first: Weights, second: Weights, *, paired: bool = False) -> float:
    """Covariance of two contrasts of the same arms, by the variances of their sum and difference."""
    one, other = np.asarray(first, float), np.asarray(second, float)
    plus, minus = one + other, one - other
    return (variance_of(values, plus, paired=paired)[0] - variance_of(values, minus, paired=paired)[0]) / 4


def _run_parts(values: Array, weights: Weights, paired: bool) -> tuple[list[float], int]:
    """The runs' share of the variance, one part per independent sample of runs, and the degrees of freedom of each."""
    runs = values.shape[1]
    means = values.mean(axis=2)  # (K, R)
    if paired:
        return [float(np.dot(weights, means).var(ddof=1)) / runs], runs - 1
    return [float(weight**2 * row.var(ddof=1)) / runs for weight, row in zip(weights, means, strict=True)], runs - 1


def _rest(values: Array, weights: Weights, paired: bool) -> float:
    """Mean square of what neither run nor case explains, of the contrast."""
    if paired:
        return _interaction(np.tensordot(np.asarray(weights), values, axes=1))
    return sum(float(weight**2) * _interaction(table) for weight, table in zip(weights, values, strict=True))


def _interaction(table: Array) -> float:
    """(R, N): mean square of the interaction of rows and columns."""
    left = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    return float(np.square(left).sum() / ((table.shape[0] - 1) * (table.shape[1] - 1)))


def _what_is_missing(runs: int, cases: int) -> str:
    if cases < 2:
        return f"{'no case' if not cases else 'one case'} with all values defined: not estimable"
    if runs < 2:
        return "one trained model per arm does not tell how far trainings scatter"
    return ""
