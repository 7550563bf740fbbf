"""Every arm against the baseline, metric by metric, and the order in which the study may claim what it finds."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from nnunet_da.evaluation.statistics import UNDEFINED, Array, direction, holm
from nnunet_da.study.statistics.crossed import difference
from nnunet_da.study.statistics.declaration import Declaration, unit_of
from nnunet_da.study.statistics.non_inferiority import INCONCLUSIVE, NON_INFERIOR, non_inferiority
from nnunet_da.study.statistics.ranks import contradicts, superiority
from nnunet_da.study.statistics.values import Cube, StudyValues

PRIMARY, SECONDARY, SOURCE, REFERENCE, GATE = "primary", "secondary", "source", "reference", "source check"
SHOWN, NOT_SHOWN, NOT_REACHED, NOT_ESTIMABLE, DESCRIBED = "shown", "not shown", "not reached", "not estimable", ""
CONTRAST_COLUMNS = (
    *("arm", "baseline", "role", "domain", "label", "metric", "unit", "n_runs", "n_cases", "n_left_out", "mean_baseline", "mean_arm"),
    *("difference", "se", "df", "ci_low", "ci_high", "p", "p_holm", "family", "ci_low_cases", "ci_high_cases"),
    *("superiority", "superiority_low", "superiority_high", "p_ranks", "better", "claim", "note"),
)
NON_INFERIORITY_COLUMNS = (
    *("arm", "baseline", "role", "domain", "label", "metric", "unit", "n_runs", "n_cases", "n_left_out", "loss", "ci_low", "ci_high"),
    *("margin", "verdict", "p", "p_holm", "claim", "note"),
)


def contrast_rows(values: StudyValues, declaration: Declaration, label: str) -> Iterator[dict[str, Any]]:
    """One row per arm, domain, label and compared metric, without what `in_order` adds.

    Args:
        label: of the primary contrast.
    """
    for arm in declaration.arms:
        for domain in _domains(declaration):
            for key in values.labels(domain):
                for metric in declaration.compared_metrics:
                    cube = values.cube((declaration.baseline, arm), domain, key, metric) if arm != declaration.baseline else None
                    if cube is not None:
                        role = _role(declaration, arm, domain, key == label and metric == declaration.endpoint)
                        yield _place(declaration, arm, role, domain, key, metric) | _compared(cube, metric, declaration.alpha)


def non_inferiority_rows(values: StudyValues, declaration: Declaration, label: str) -> Iterator[dict[str, Any]]:
    """One row per method, label and metric with a margin, on the source, without what `in_order` adds."""
    for method in declaration.methods:
        for key in values.labels(declaration.source):
            for metric, margin in declaration.margins.items():
                cube = values.cube((declaration.baseline, method), declaration.source, key, metric)
                if cube is not None:
                    role = GATE if (method, key) == (declaration.primary_method, label) else SECONDARY
                    place = _place(declaration, method, role, declaration.source, key, metric)
                    yield place | _held_to_a_margin(cube, metric, margin, declaration.alpha)


def in_order(contrasts: pd.DataFrame, margins: pd.DataFrame, declaration: Declaration) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Adds who is better, Holm's correction and what may be claimed: the primary contrast, then the source check, then the rest.

    A claim of a later step asks that the earlier ones were shown: the method better on the endpoint, and its loss on the source below
    every margin. Within the rest, Holm corrects over the methods' contrasts on all targets and their other margins (one-sided p doubled).
    """
    contrasts, margins, alpha = contrasts.copy(), margins.copy(), declaration.alpha
    second, third = contrasts["role"] == SECONDARY, margins["role"] == SECONDARY
    joined = holm([*contrasts.loc[second, "p"], *(2 * margins.loc[third, "p"]).clip(upper=1)])
    contrasts["p_holm"], margins["p_holm"] = UNDEFINED, UNDEFINED
    contrasts.loc[second, "p_holm"], margins.loc[third, "p_holm"] = joined[: second.sum()], joined[second.sum() :]
    contrasts["family"] = int(np.isfinite(joined).sum())
    contrasts["better"] = [_better(row) for row in contrasts.to_dict("records")]
    first = contrasts[contrasts["role"] == PRIMARY]
    helped = bool(len(first)) and first.iloc[0]["better"] == declaration.primary_method
    gates = margins[margins["role"] == GATE]
    kept = helped and len(gates) == len(declaration.margins) and bool((gates["verdict"] == NON_INFERIOR).all())
    contrasts["claim"] = [_claim(row, alpha, kept) for row in contrasts.to_dict("records")]
    margins["claim"] = [_margin_claim(row, alpha, helped, kept) for row in margins.to_dict("records")]
    return contrasts[list(CONTRAST_COLUMNS)], margins[list(NON_INFERIORITY_COLUMNS)]


def _domains(declaration: Declaration) -> tuple[str, ...]:
    return tuple(dict.fromkeys([declaration.primary_target, *declaration.targets, declaration.source]))


def _role(declaration: Declaration, arm: str, domain: str, primary_endpoint: bool) -> str:
    if arm not in declaration.methods:
        return REFERENCE
    if domain == declaration.source:
        return SOURCE
    primary = primary_endpoint and (arm, domain) == (declaration.primary_method, declaration.primary_target)
    return PRIMARY if primary else SECONDARY


def _place(declaration: Declaration, arm: str, role: str, domain: str, label: str, metric: str) -> dict[str, Any]:
    names = {"arm": arm, "baseline": declaration.baseline, "role": role, "domain": domain}
    return names | {"label": label, "metric": metric, "unit": unit_of(metric)}


def _compared(cube: Cube, metric: str, alpha: float) -> dict[str, Any]:
    cube = cube.by_fold
    baseline, arm = cube.defined
    estimate = difference(baseline, arm, paired=cube.paired, alpha=alpha)
    low_cases, high_cases = interval_over_cases((arm - baseline).mean(axis=0), alpha)
    ranks = superiority(cube.values[0], cube.values[1], metric, paired=cube.paired, alpha=alpha)
    return {
        "n_runs": estimate.n_runs,
        "n_cases": estimate.n_cases,
        "n_left_out": len(cube.cases) - estimate.n_cases,
        "mean_baseline": baseline.mean() if estimate.n_cases else UNDEFINED,
        "mean_arm": arm.mean() if estimate.n_cases else UNDEFINED,
        "difference": estimate.value,
        "se": estimate.se,
        "df": estimate.df,
        "ci_low": estimate.low,
        "ci_high": estimate.high,
        "p": estimate.p,
        "ci_low_cases": low_cases,
        "ci_high_cases": high_cases,
        "superiority": ranks.share,
        "superiority_low": ranks.interval[0],
        "superiority_high": ranks.interval[1],
        "p_ranks": ranks.estimate.p,
        "note": "; ".join(estimate.notes),
    }


def interval_over_cases(differences: Array, alpha: float) -> tuple[float, float]:
    """t interval of the mean over cases: it speaks of these trained models alone. NaN twice with fewer than two cases or no spread."""
    if len(differences) < 2 or np.ptp(differences) < 1e-9:
        return UNDEFINED, UNDEFINED
    found = stats.ttest_1samp(differences, 0.0).confidence_interval(1 - alpha)
    return float(found.low), float(found.high)


def _held_to_a_margin(cube: Cube, metric: str, margin: float, alpha: float) -> dict[str, Any]:
    failed, cube = np.isnan(cube.values).sum(axis=(1, 2)), cube.by_fold
    baseline, method = cube.defined
    estimate = difference(baseline, method, paired=cube.paired, alpha=alpha)
    found, notes = non_inferiority(estimate, metric, margin), list(estimate.notes)
    if found.verdict == NON_INFERIOR and failed[1] > failed[0]:
        found = replace(found, verdict=INCONCLUSIVE)
        notes.append(f"it fails {failed[1]} times on the source and the baseline {failed[0]} times, which the loss leaves out")
    counts = {"n_runs": estimate.n_runs, "n_cases": estimate.n_cases, "n_left_out": len(cube.cases) - estimate.n_cases}
    bounds = {"loss": found.loss, "ci_low": found.low, "ci_high": found.high, "margin": margin}
    return counts | bounds | {"verdict": found.verdict, "p": found.p, "note": "; ".join(notes)}


def _better(row: dict[str, Any]) -> str:
    """The arm on whose side the whole interval lies; "" where it holds 0, there is none, or failed segmentations say otherwise."""
    if not np.isfinite(row["ci_low"]) or row["ci_low"] <= 0 <= row["ci_high"]:
        return ""
    ahead = row["difference"] * direction(row["metric"]) > 0
    if row["n_left_out"] and contradicts(row["superiority"], ahead=ahead):
        return ""
    return row["arm"] if ahead else row["baseline"]


def _claim(row: dict[str, Any], alpha: float, kept: bool) -> str:
    if row["role"] not in (PRIMARY, SECONDARY):
        return DESCRIBED
    if not np.isfinite(row["p"]):
        return NOT_ESTIMABLE
    if row["role"] == PRIMARY:
        return SHOWN if row["better"] else NOT_SHOWN
    return NOT_REACHED if not kept else SHOWN if row["better"] and row["p_holm"] < alpha else NOT_SHOWN


def _margin_claim(row: dict[str, Any], alpha: float, helped: bool, kept: bool) -> str:
    if not np.isfinite(row["p"]):
        return NOT_ESTIMABLE
    if row["role"] == GATE:
        return NOT_REACHED if not helped else SHOWN if row["verdict"] == NON_INFERIOR else NOT_SHOWN
    return NOT_REACHED if not kept else SHOWN if row["verdict"] == NON_INFERIOR and row["p_holm"] < alpha else NOT_SHOWN
