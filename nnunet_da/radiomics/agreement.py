"""Agreement of one quantity between reference and another mask, across cases."""

from dataclasses import dataclass, fields

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
SAME = 1e-12  # relative: differences below are rounding
NAN = float("nan")


@dataclass(frozen=True)
class Agreement:
    """How far a quantity measured with another mask agrees with the one measured with the reference, over n cases.

    A value that is not defined is NaN: everything where no case is left, correlations of a quantity that is the same in every case.

    Attributes:
        n: cases with both values.
        n_undefined: cases without.
        constant: the same value in every case, in one column or both.
        pearson_r, pearson_low, pearson_high: linear correlation and Fisher's interval (n > 3). Blind to bias and scale.
        icc_a1, icc_low, icc_high: see `icc_a1`. Falls with bias.
        ccc: Lin's concordance correlation coefficient, 2 s_xy / (s_x^2 + s_y^2 + (mean_x - mean_y)^2) with moments over n (1989).
        bias: mean of the paired differences, other minus reference, in the quantity's unit.
        loa_low, loa_high: Bland and Altman's 95 % limits, bias -+ 1.96 standard deviations of the differences (n > 1).
        bias_percent: bias in percent of the reference's absolute mean.
    """

    n: int
    n_undefined: int
    constant: bool
    pearson_r: float
    pearson_low: float
    pearson_high: float
    icc_a1: float
    icc_low: float
    icc_high: float
    ccc: float
    bias: float
    loa_low: float
    loa_high: float
    bias_percent: float

    @property
    def note(self) -> str:
        """What a reader of the row must know."""
        if self.n == 0:
            return "undefined in every case"
        if self.n == 1:
            return "one case: nothing can be said across cases"
        if self.constant:
            return "constant"
        return "fewer than 4 cases: no interval of r" if self.n < 4 else ""

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        return tuple(field.name for field in fields(cls))


@dataclass(frozen=True)
class Determination:
    """R squared in its two meanings, which differ as soon as there is bias.

    Attributes:
        r2_correlation, r2_p: squared Pearson correlation, and the p value of its slope (n > 2).
        r2_identity: 1 - sum (other - reference)^2 / sum (reference - mean reference)^2; negative where the mean would predict better.
    """

    r2_correlation: float
    r2_p: float
    r2_identity: float

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        return tuple(field.name for field in fields(cls))


def agreement(reference: np.ndarray, other: np.ndarray) -> Agreement:
    """Agreement of two columns, one row per case; a case with a NaN in either is left out and counted.

    Args:
        reference: (N,), values measured with the reference mask.
        other: (N,), values measured with the mask that is compared.

    Raises:
        ValueError: the columns differ in length.
    """
    x, y, n_undefined = _complete(reference, other)
    n = len(x)
    if n == 0:
        return Agreement(0, n_undefined, False, *[NAN] * 11)
    constant = n > 1 and (_is_constant(x) or _is_constant(y))
    r = NAN if n < 2 or constant else float(np.clip(np.corrcoef(x, y)[0, 1], -1, 1))
    difference = y - x
    bias = float(difference.mean())
    half_width = stats.norm.ppf((1 + CONFIDENCE) / 2) * float(difference.std(ddof=1)) if n > 1 else NAN
    reference_mean = abs(float(x.mean()))
    return Agreement(
        n,
        n_undefined,
        constant,
        r,
        *_fisher_interval(r, n),
        *(icc_a1(np.column_stack([x, y])) if n > 1 else (NAN, NAN, NAN)),
        _ccc(x, y),
        bias,
        bias - half_width,
        bias + half_width,
        100 * bias / reference_mean if reference_mean else NAN,
    )


def determination(reference: np.ndarray, other: np.ndarray) -> Determination:
    """Both R squared of two columns, one row per case; NaN where a column is constant or fewer than two cases are left.

    Args:
        reference: (N,).
        other: (N,).

    Raises:
        ValueError: the columns differ in length.
    """
    x, y, _ = _complete(reference, other)
    if len(x) < 2 or _is_constant(x):
        return Determination(NAN, NAN, NAN)
    identity = 1 - float(np.sum((y - x) ** 2) / np.sum((x - x.mean()) ** 2))
    if _is_constant(y):
        return Determination(NAN, NAN, identity)
    line = stats.linregress(x, y)
    return Determination(float(line.rvalue) ** 2, float(line.pvalue) if len(x) > 2 else NAN, identity)


def icc_a1(ratings: np.ndarray) -> tuple[float, float, float]:
    """Intraclass correlation ICC(A,1) with its 95 % interval: two-way random effects, absolute agreement, single rater.

    McGraw & Wong, Forming inferences about some intraclass correlation coefficients, 1996, tables 4 and 7; Shrout & Fleiss (1979) call it
    ICC(2,1). With mean squares of rows R, columns C and error E:
    (MS_R - MS_E) / (MS_R + (k - 1) MS_E + k (MS_C - MS_E) / n).

    Args:
        ratings: (N, K), cases by raters, N >= 2 and K >= 2, no NaN.

    Returns:
        Estimate, lower and upper limit; (1, 1, 1) where all raters agree on cases that differ, NaN where all values are the same, and no
        interval where each rater says the same of all cases.

    Raises:
        ValueError: fewer than two cases or raters.
    """
    if ratings.ndim != 2 or min(ratings.shape) < 2:
        raise ValueError(f"ratings must be (N, K) with at least two cases and two raters, got {ratings.shape}.")
    if _is_constant(ratings):
        return NAN, NAN, NAN
    rows, columns, error = _mean_squares(ratings)
    n, k = ratings.shape
    if max(columns, error) <= (SAME * np.abs(ratings).max()) ** 2:
        return 1.0, 1.0, 1.0
    denominator = rows + (k - 1) * error + k * (columns - error) / n
    if denominator <= 0:
        return NAN, NAN, NAN
    icc = (rows - error) / denominator
    if 1 - icc <= SAME:
        return 1.0, 1.0, 1.0
    return icc, *_icc_interval(icc, rows, columns, error, n, k)


def _mean_squares(ratings: np.ndarray) -> tuple[float, float, float]:
    """Of rows, columns and error, in an analysis of variance without replication."""
    n, k = ratings.shape
    grand, of_rows, of_columns = ratings.mean(), ratings.mean(1, keepdims=True), ratings.mean(0, keepdims=True)
    rows = k * np.sum((of_rows - grand) ** 2) / (n - 1)
    columns = n * np.sum((of_columns - grand) ** 2) / (k - 1)
    error = np.sum((ratings - of_rows - of_columns + grand) ** 2) / ((n - 1) * (k - 1))
    return float(rows), float(columns), float(error)


def _icc_interval(icc: float, rows: float, columns: float, error: float, n: int, k: int) -> tuple[float, float]:
    """McGraw & Wong's interval, with Satterthwaite's degrees of freedom for a column effect that is estimated, too."""
    a = k * icc / (n * (1 - icc))
    b = 1 + k * icc * (n - 1) / (n * (1 - icc))
    spread = (a * columns) ** 2 / (k - 1) + (b * error) ** 2 / ((n - 1) * (k - 1))
    if spread == 0:
        return NAN, NAN
    freedom = (a * columns + b * error) ** 2 / spread
    upper_tail = (1 + CONFIDENCE) / 2
    f_low, f_high = stats.f.ppf(upper_tail, n - 1, freedom), stats.f.ppf(upper_tail, freedom, n - 1)
    rest = k * columns + (k * n - k - n) * error
    low = n * (rows / f_low - error) / (rest + n * rows / f_low)  # with little freedom f_low grows beyond all bounds, f_high falls to 0
    high = n * (f_high * rows - error) / (rest + n * f_high * rows)
    return float(low), float(high)


def _fisher_interval(r: float, n: int) -> tuple[float, float]:
    if np.isnan(r) or n < 4:
        return NAN, NAN
    if abs(r) == 1:
        return r, r
    half_width = stats.norm.ppf((1 + CONFIDENCE) / 2) / np.sqrt(n - 3)
    return float(np.tanh(np.arctanh(r) - half_width)), float(np.tanh(np.arctanh(r) + half_width))


def _ccc(x: np.ndarray, y: np.ndarray) -> float:
    if len(x) < 2 or _is_constant(np.concatenate([x, y])):
        return NAN
    covariance = np.mean((x - x.mean()) * (y - y.mean()))
    return float(2 * covariance / (x.var() + y.var() + (x.mean() - y.mean()) ** 2))


def _complete(reference: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    x, y = np.asarray(reference, float), np.asarray(other, float)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"reference and other must be two columns of one length, got {x.shape} and {y.shape}.")
    both = np.isfinite(x) & np.isfinite(y)
    return x[both], y[both], int(np.count_nonzero(~both))


def _is_constant(values: np.ndarray) -> bool:
    return bool(np.ptp(values) <= SAME * np.abs(values).max())
