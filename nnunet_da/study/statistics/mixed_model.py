"""The mixed model of `crossed` fitted by restricted maximum likelihood: a second, independent computation of the primary contrast."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from nnunet_da.evaluation.statistics import UNDEFINED, Array

MOST_VALUES = 1500  # 1200 take about five seconds; the time grows with the third power


@dataclass(frozen=True)
class MixedModel:
    """What REML finds; NaN where it could not be fitted, and `note` says why.

    Attributes:
        value, se: of method minus baseline.
        p: two-sided, with the degrees of freedom of `crossed`; statsmodels' own takes them to be without number.
        sd_case, sd_arm_case, sd_run, sd_rest: square roots of the variance components, in the unit of the values.
    """

    value: float = UNDEFINED
    se: float = UNDEFINED
    p: float = UNDEFINED
    sd_case: float = UNDEFINED
    sd_arm_case: float = UNDEFINED
    sd_run: float = UNDEFINED
    sd_rest: float = UNDEFINED
    note: str = ""


def fit_mixed_model(baseline: Array, method: Array, df: float, *, paired: bool = False) -> MixedModel:
    """value ~ arm + (1 | case) + (1 | arm:case) + (1 | arm:run) by statsmodels.

    Args:
        baseline, method: (R, N) values without NaN.
        paired: with (1 | run) besides, for what run r has in common in both arms.
        df: degrees of freedom for p, of `crossed.difference`.
    """
    values = np.stack([baseline, method])
    runs, cases = baseline.shape
    if runs < 2 or cases < 2:
        return MixedModel(note="not fitted: it takes two runs and two cases")
    if values.size > MOST_VALUES:
        return MixedModel(note=f"not fitted: {values.size} values take too long (at most {MOST_VALUES}); the mean squares say the same")
    scale = float(values.std()) or 1.0  # the optimiser's tolerances then mean the same for mm and for fractions
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fit = _fit(values / scale, paired)
    except (np.linalg.LinAlgError, ValueError) as error:
        return MixedModel(note=f"could not be fitted ({error}): the mean squares and the bootstrap remain")
    components = dict(zip(fit.model.exog_vc.names, np.sqrt(np.maximum(fit.vcomp, 0.0)), strict=True))
    value, se = float(fit.fe_params[1]) * scale, float(fit.bse_fe[1]) * scale
    if not np.isfinite(se) or se <= 0:
        return MixedModel(note="could not be fitted (no standard error): the mean squares and the bootstrap remain")
    return MixedModel(
        value,
        se,
        p=float(2 * stats.t.sf(abs(value) / se, df)) if np.isfinite(df) else UNDEFINED,
        sd_case=float(components["case"]) * scale,
        sd_arm_case=float(components["arm:case"]) * scale,
        sd_run=float(components["arm:run"]) * scale,
        sd_rest=float(np.sqrt(fit.scale)) * scale,
        note=_note([str(entry.message) for entry in caught], bool(fit.converged)),
    )


def _fit(values: Array, paired: bool) -> Any:
    from statsmodels.regression.mixed_linear_model import MixedLM, VCSpec

    arms, runs, cases = (places.ravel() for places in np.indices(values.shape))
    factors = {"case": cases, "arm:case": arms * values.shape[2] + cases, "arm:run": arms * values.shape[1] + runs}
    factors |= {"run": runs} if paired else {}
    designs = [_indicators(codes) for codes in factors.values()]
    columns = [[[str(column) for column in range(design.shape[1])]] for design in designs]
    components = VCSpec(list(factors), columns, [[design] for design in designs])
    fixed = np.column_stack([np.ones(values.size), arms])
    return MixedLM(values.ravel(), fixed, np.zeros(values.size), exog_vc=components).fit(reml=True)


def _indicators(codes: np.ndarray) -> Array:
    return (codes[:, None] == np.arange(codes.max() + 1)).astype(float)


def _note(messages: list[str], converged: bool) -> str:
    if not converged:
        return "did not converge: the mean squares and the bootstrap remain"
    boundary = any("boundary" in message or "singular" in message for message in messages)
    return "a variance component is 0 (singular fit): its standard error is too small then, the mean squares decide" if boundary else ""
