"""The scores as tables: Markdown beside the paper's numbers, CSV, JSON."""

import csv
import io
import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

from nnunet_da.outputs import check_output, plain_values, versions_of, write_whole
from nnunet_da.vnet_femur.score import ENSEMBLE, CohortScores, Scores
from nnunet_da.vnet_femur.split import WHOLE

TABLE, CASES, TEXT, EVERYTHING = RESULTS = ("vnet_femur.csv", "vnet_femur_cases.csv", "vnet_femur.md", "vnet_femur.json")
COLUMNS = (
    "Cohort",
    "Model",
    "n",
    "Dice",
    "Sensitivity",
    "Specificity",
    "R² regression",
    "p",
    "R² identity",
    "Bias (cm³)",
    "95 % limits (cm³)",
)
MEAN, SPREAD = "folds_mean", "folds_sd"


def published() -> dict[str, Any]:
    """The paper's numbers and what must be known about them."""
    return json.loads((files("nnunet_da.vnet_femur") / "paper.json").read_text(encoding="utf-8"))


def write_scores(cohorts: list[CohortScores], output: Path, field_of_view_mm: float | None, command: str, overwrite: bool) -> str:
    """Write the four files, each whole, and return the text of the Markdown one.

    Raises:
        UserError: the output holds results already.
    """
    check_output(output, RESULTS, overwrite)
    output.mkdir(parents=True, exist_ok=True)
    text = as_text(cohorts, field_of_view_mm, command)
    content = {
        "command": command,
        "field_of_view": field_of_view(cohorts, field_of_view_mm),
        "cohorts": [plain_values(asdict(cohort)) for cohort in cohorts],
        "paper": published(),
        "versions": versions_of("numpy", "scipy", "SimpleITK"),
    }
    write_whole(output / CASES, _csv(("cohort", "model", "case", "metric", "value", "unit"), _case_rows(cohorts)))
    write_whole(output / TABLE, _csv(("cohort", "model", "n_cases", "metric", "value", "unit"), _model_rows(cohorts)))
    write_whole(output / EVERYTHING, json.dumps(content, indent=2) + "\n")
    write_whole(output / TEXT, text)
    return text


def as_text(cohorts: list[CohortScores], field_of_view_mm: float | None, command: str = "") -> str:
    """The table in Markdown: the paper's row, then per cohort each fold's model, their mean ± SD, and the ensemble."""
    paper = published()
    said = [f"{paper[name]:.4f}" for name in ("dice", "sensitivity", "specificity", "r2")]
    rows = [COLUMNS, ("---",) * len(COLUMNS), (WHOLE, "paper", "?", *said, paper["p"], "?", "?", "?")]
    for cohort in cohorts:
        rows += list(_text_rows(cohort))
    lines = ["# V-Net femur: hold-out", "", *(f"| {' | '.join(row)} |" for row in rows), ""]
    lines += [f"Specificity counts {field_of_view(cohorts, field_of_view_mm)}.", ""]
    for cohort in cohorts:
        missing = "" if ENSEMBLE in cohort.models else "; no ensemble was predicted"
        lines.append(f"Cohort {cohort.cohort}: {len(cohort.fold_models)} of {cohort.planned_folds} fold models{missing}.")
    lines += ["", f"Paper: {paper['source']}; {paper['later']}. Read it with care:", ""]
    lines += [f"* {caveat}." for caveat in paper["caveats"]]
    return "\n".join([*lines, *(["", f"Made by `{command}`."] if command else [])]) + "\n"


def field_of_view(cohorts: list[CohortScores], margin_mm: float | None) -> str:
    """What specificity counts, in words."""
    voxels = sum(cohort.field_of_view_voxels for cohort in cohorts) / max(len(cohorts), 1)
    where = "the whole image" if margin_mm is None else f"the box around the reference's label with a margin of {margin_mm:g} mm"
    return f"{where} ({voxels:,.0f} voxels on average)"


def _text_rows(cohort: CohortScores) -> Iterator[tuple[str, ...]]:
    n = str(len(cohort.cases))
    folds = {name: scores for name, scores in cohort.models.items() if name != ENSEMBLE}
    for name, scores in folds.items():
        yield (cohort.cohort, name, n, *_cells(scores))
    mean, spread = cohort.over_folds()
    cells = [both if "–" in (a, b) else f"{a} ± {b}" for a, b, both in zip(_cells(mean), _cells(spread), _cells(mean), strict=True)]
    yield (cohort.cohort, f"mean ± SD of {len(folds)} folds", n, *cells[:-1], "–")
    if ENSEMBLE in cohort.models:
        yield (cohort.cohort, "ensemble", n, *_cells(cohort.models[ENSEMBLE]))


def _cells(scores: Scores) -> list[str]:
    fractions = [_number(getattr(scores, name), 4) for name in ("dice", "sensitivity", "specificity", "r2_regression")]
    p = "–" if math.isnan(scores.r2_p) else "<.001" if scores.r2_p < 0.001 else f"{scores.r2_p:.3f}"
    bias, low, high = (_number(value / 1000, 2) for value in (scores.bias_mm3, scores.loa_low_mm3, scores.loa_high_mm3))
    return [*fractions, p, _number(scores.r2_identity, 4), bias, "–" if "–" in (low, high) else f"{low} to {high}"]


def _number(value: float, decimals: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{decimals}f}".replace("-", "−")


def _model_rows(cohorts: list[CohortScores]) -> Iterator[tuple[Any, ...]]:
    for cohort in cohorts:
        mean, spread = cohort.over_folds()
        for model, scores in [*cohort.models.items(), (MEAN, mean), (SPREAD, spread)]:
            for name, value in asdict(scores).items():
                yield cohort.cohort, model, len(cohort.cases), name, _exact(value), "mm3" if name.endswith("mm3") else "fraction"


def _case_rows(cohorts: list[CohortScores]) -> Iterator[tuple[Any, ...]]:
    for cohort in cohorts:
        for model, cases in cohort.per_case.items():
            for case, values in cases.items():
                for name, value in values.items():
                    yield cohort.cohort, model, case, name, _exact(value), "mm3" if name.endswith("mm3") else "fraction"


def _exact(value: float) -> str:
    return "" if math.isnan(value) else repr(float(value))


def _csv(header: tuple[str, ...], rows: Iterator[tuple[Any, ...]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return stream.getvalue()
