"""Three or more methods on the same cases: analysis of variance, paired and plain."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from nnunet_da.evaluation.statistics import DECIMALS

UNDEFINED = float("nan")
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Anova:
    """Do the methods differ at all? NaN where not defined; `notes` say why.

    Attributes:
        n: cases that are defined for every method.
        n_undefined: cases left out.
        f_repeated, df1, df2, p_repeated: repeated measures, which compares methods within each case.
        epsilon, p_greenhouse_geisser: the correction where the differences between methods do not vary alike.
        f_plain, p_plain: one-way analysis that forgets which values belong to one case. It is what many papers print.
    """

    n: int
    n_undefined: int
    f_repeated: float
    df1: int
    df2: int
    p_repeated: float
    epsilon: float
    p_greenhouse_geisser: float
    f_plain: float
    p_plain: float
    notes: tuple[str, ...] = ()


def anova(values: ArrayLike) -> Anova:
    """Repeated-measures ANOVA over methods with Greenhouse and Geisser's correction (1959), and the plain one beside it.

    F = MS(methods) / MS(methods x cases), with k - 1 and (n - 1)(k - 1) degrees of freedom; the correction multiplies both by epsilon.

    Args:
        values: (N, K), N cases by K >= 3 methods; NaN where undefined.

    Raises:
        ValueError: not a table of at least three methods.
    """
    values = np.asarray(values, float)
    if values.ndim != 2 or values.shape[1] < 3:
        raise ValueError(f"A table of cases by at least 3 methods was expected, got shape {values.shape}: use paired_tests for two.")
    kept = values[~np.isnan(values).any(axis=1)]
    n, methods = kept.shape
    df1, df2 = methods - 1, max(n - 1, 0) * (methods - 1)
    note = _what_cannot_be_said(kept)
    if note:
        return Anova(n, len(values) - n, UNDEFINED, df1, df2, UNDEFINED, UNDEFINED, UNDEFINED, UNDEFINED, UNDEFINED, (note,))
    f = _f_repeated(kept)
    epsilon = greenhouse_geisser(kept)
    plain = stats.f_oneway(*kept.T)
    return Anova(
        n=n,
        n_undefined=len(values) - n,
        f_repeated=f,
        df1=df1,
        df2=df2,
        p_repeated=float(stats.f.sf(f, df1, df2)),
        epsilon=epsilon,
        p_greenhouse_geisser=float(stats.f.sf(f, epsilon * df1, epsilon * df2)),
        f_plain=float(plain.statistic),
        p_plain=float(plain.pvalue),
    )


def greenhouse_geisser(values: ArrayLike) -> float:
    """Epsilon between 1 / (K - 1) and 1 (all differences between methods vary alike).

    trace(S)^2 / ((K - 1) trace(S S)), S the covariance of the methods with row and column means removed.

    Args:
        values: (N, K), N >= 2 cases by K methods, no NaN.
    """
    values = np.asarray(values, float)
    centred = _within_cases(values)
    covariance = centred.T @ centred
    return float(np.trace(covariance) ** 2 / ((values.shape[1] - 1) * (covariance**2).sum()))


def _f_repeated(values: Array) -> float:
    n, methods = values.shape
    between_methods = n * ((values.mean(axis=0) - values.mean()) ** 2).sum() / (methods - 1)
    within = (_within_cases(values) ** 2).sum() / ((n - 1) * (methods - 1))
    return float(between_methods / within)


def _within_cases(values: Array) -> Array:
    """What is left of each value once its case's and its method's mean are taken out."""
    return values - values.mean(axis=1, keepdims=True) - values.mean(axis=0, keepdims=True) + values.mean()


def _what_cannot_be_said(values: Array) -> str:
    if len(values) < 2:
        return f"{len(values) or 'no'} case{'' if len(values) == 1 else 's'} defined for every method: two at least are needed"
    differences = np.round(values - values[:, :1], DECIMALS)
    if not differences.any():
        return "identical in every case: no test, p not defined"
    return "" if np.ptp(differences, axis=0).any() else "the same differences in every case: no spread, p not defined"
