"""What every arm scored, with the scatter between trainings apart from the scatter between cases."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from nnunet_da.evaluation.statistics import UNDEFINED, Array
from nnunet_da.study.statistics.declaration import Declaration, unit_of
from nnunet_da.study.statistics.failures import compare_failures
from nnunet_da.study.statistics.gap import gap_closed
from nnunet_da.study.statistics.values import Cube, StudyValues, run_words

ARM_COLUMNS = (
    *("arm", "domain", "label", "metric", "unit", "mean", "sd_runs", "sd_cases", "n_runs", "n_cases", "failures", "lowest_run"),
    *("highest_run", "runs", "run_means"),
)
FAILURE_COLUMNS = (
    *("arm", "baseline", "domain", "label", "metric", "n", "failed_baseline", "failed_arm", "only_baseline", "only_arm", "p_mcnemar"),
    *("cases_worse", "cases_better", "p_cases", "rate_difference", "ci_low", "ci_high"),
)
GAP_COLUMNS = (
    *("arm", "source_only", "oracle", "domain", "label", "metric", "unit", "n_runs", "n_cases", "n_left_out", "gap", "gap_low"),
    *("gap_high", "ratio", "ci_low", "ci_high", "note"),
)


def arm_rows(values: StudyValues, declaration: Declaration) -> Iterator[dict[str, Any]]:
    """One row per arm, domain, label and metric, over all runs that the arm has."""
    for domain, label, metric in values.blocks:
        for arm in declaration.arms:
            cube = values.cube((arm,), domain, label, metric)
            if cube is not None:
                yield {"arm": arm, "domain": domain, "label": label, "metric": metric, "unit": unit_of(metric)} | _described(cube)


def failure_rows(values: StudyValues, declaration: Declaration) -> Iterator[dict[str, Any]]:
    """One row per arm but the baseline, domain and label: undefined values of the first distance, else of the endpoint."""
    for domain in (*declaration.targets, declaration.source):
        for label in values.labels(domain):
            metric = failure_metric(declaration, values.metrics(domain, label))
            for arm in declaration.arms:
                cube = values.cube((declaration.baseline, arm), domain, label, metric) if arm != declaration.baseline else None
                if cube is not None:
                    found = compare_failures(cube, declaration.alpha)
                    names = {"arm": arm, "baseline": declaration.baseline, "domain": domain, "label": label, "metric": metric}
                    counts = {"failed_arm": found.failed_method, "only_arm": found.only_method, "ci_low": found.low, "ci_high": found.high}
                    yield names | vars(found) | counts


def failure_metric(declaration: Declaration, metrics: list[str]) -> str:
    """The metric whose undefined values are failures: the endpoint where it is a distance, else the first compared distance there is."""
    distances = [metric for metric in declaration.compared_metrics if unit_of(metric) == "mm" and metric in metrics]
    return distances[0] if distances else declaration.endpoint


def gap_rows(values: StudyValues, declaration: Declaration) -> Iterator[dict[str, Any]]:
    """One row per method, target, label and compared metric; none without arms for both ends of the gap."""
    ends = (declaration.source_only, declaration.oracle)
    for method in declaration.methods if all(ends) else ():
        for domain in declaration.targets:
            for label in values.labels(domain):
                for metric in declaration.compared_metrics:
                    cube = values.cube((ends[0], method, ends[1]), domain, label, metric)
                    if cube is not None:
                        names = {"arm": method, "source_only": ends[0], "oracle": ends[1], "domain": domain}
                        yield names | {"label": label, "metric": metric, "unit": unit_of(metric)} | _gap(cube, metric, declaration.alpha)


def _gap(cube: Cube, metric: str, alpha: float) -> dict[str, Any]:
    cube = cube.by_fold
    source_only, method, oracle = cube.defined
    found = gap_closed(source_only, method, oracle, metric, paired=cube.paired, alpha=alpha)
    gap = found.gap
    counts = {"n_runs": gap.n_runs, "n_cases": gap.n_cases, "n_left_out": len(cube.cases) - gap.n_cases}
    bounds = {"gap": gap.value, "gap_low": gap.low, "gap_high": gap.high, "ratio": found.ratio, "ci_low": found.low, "ci_high": found.high}
    return counts | bounds | {"note": found.note}


def _described(cube: Cube) -> dict[str, Any]:
    values, defined = cube.values[0], cube.defined[0]
    per_run = _means(values)
    return {
        "mean": float(values[~np.isnan(values)].mean()) if not np.isnan(values).all() else UNDEFINED,
        "sd_runs": _sd(defined.mean(axis=1)) if defined.size else UNDEFINED,
        "sd_cases": _sd(defined.mean(axis=0)),
        "n_runs": len(cube.runs),
        "n_cases": len(cube.cases),
        "failures": int(np.isnan(values).sum()),
        "lowest_run": min(per_run, default=UNDEFINED),
        "highest_run": max(per_run, default=UNDEFINED),
        "runs": run_words(cube.runs),
        "run_means": " ".join(f"{mean:.6g}" for mean in per_run),
    }


def _means(values: Array) -> list[float]:
    """Per run, over its defined values."""
    return [float(row[~np.isnan(row)].mean()) if not np.isnan(row).all() else UNDEFINED for row in values]


def _sd(values: Array) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else UNDEFINED


def table(rows: Iterator[dict[str, Any]], columns: tuple[str, ...]) -> pd.DataFrame:
    """Rows as a table with these columns alone, empty where there are none."""
    return pd.DataFrame(list(rows)).reindex(columns=list(columns))
