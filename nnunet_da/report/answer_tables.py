"""The study's answer as tables."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from nnunet_da.report.answer import Answer
from nnunet_da.report.cells import BETTER, WORSE, Cell, Row, Table
from nnunet_da.report.sections import place
from nnunet_da.report.study import Study
from nnunet_da.report.tables import metric_title, number
from nnunet_da.report.verdict import p_value, signed

GATE, PRIMARY, REFERENCE = "source check", "primary", "reference"
MOST_LABELS = 3  # with rows on the page; of more only the primary one, the files have all
ARM_METRICS = ("dice", "hd95_mm", "asd_mm")


def answer_tables(study: Study, answer: Answer) -> list[Table]:
    """Every table there is something for, in the order of the page."""
    makers = (contrast_table, margin_table, gap_table, failure_table, arm_table)
    return [table for table in (maker(study, answer) for maker in makers) if table is not None]


def contrast_table(study: Study, answer: Answer) -> Table | None:
    """Every arm minus the baseline on the targets; the source's rows are in the file, and in the margins' table as losses."""
    rows = _page_labels(answer, answer.tables["contrasts"])
    rows = rows[rows["domain"] != answer.declaration.get("source")]
    if rows.empty:
        return None
    columns = ["Arm", "Trained models, cases", "Difference", "p", "p (Holm)", "Better in pairs", "Claim"]
    caption = f"Arms minus {rows['baseline'].iloc[0]}, {answer.level} intervals over trainings and cases"
    return Table("study_contrasts", caption, columns, _grouped(study, rows, _contrast_row), numbers=answer.tables["contrasts"])


def margin_table(study: Study, answer: Answer) -> Table | None:
    """Loss of every method on the source against the declared margins."""
    rows = _page_labels(answer, answer.tables["non_inferiority"])
    if rows.empty:
        return None
    columns = ["Method", "Trained models, cases", "Loss", "Margin", "p (one-sided)", "Verdict", "Claim"]
    caption = f"Source non-inferiority to {rows['baseline'].iloc[0]}"
    return Table("study_non_inferiority", caption, columns, _grouped(study, rows, _margin_row), numbers=answer.tables["non_inferiority"])


def gap_table(study: Study, answer: Answer) -> Table | None:
    """Share of the way from source-only to oracle."""
    rows = _page_labels(answer, answer.tables["gap"])
    if rows.empty:
        return None
    caption = f"Gap closed: 0 % is {rows['source_only'].iloc[0]}, 100 % is {rows['oracle'].iloc[0]}; Fieller intervals"
    columns = ["Method", "Gap", "Closed"]
    return Table("study_gap", caption, columns, _grouped(study, rows, _gap_row), numbers=answer.tables["gap"])


def failure_table(study: Study, answer: Answer) -> Table | None:
    """Segmentations without a distance; None where nothing failed."""
    rows = _page_labels(answer, answer.tables["failures"])
    rows = rows[(rows["failed_arm"] > 0) | (rows["failed_baseline"] > 0)]
    if rows.empty:
        return None
    groups = [
        (place(study, domain, label), [_failure_row(row) for row in part.to_dict("records")])
        for (domain, label), part in rows.groupby(["domain", "label"], sort=False)
    ]
    columns = [
        "Arm",
        "Failed",
        f"Failed, {rows['baseline'].iloc[0]}",
        "Of",
        "p (McNemar)",
        "p (each case once)",
        "Rate difference (% points)",
    ]
    return Table("study_failures", "Failed segmentations: no distance is defined", columns, groups, numbers=answer.tables["failures"])


def arm_table(study: Study, answer: Answer) -> Table | None:
    """Mean of every arm, SD between trainings and between cases, and the mean of every trained model."""
    rows = _page_labels(answer, answer.tables["arms"])
    rows = rows[rows["metric"].isin({*ARM_METRICS, answer.declaration.get("endpoint", "")})]
    if rows.empty:
        return None
    columns = ["Arm", "Mean", "SD between trainings", "SD between cases", "Trained models, cases", "Each trained model", "Failed"]
    return Table("study_arms", "Arms", columns, _grouped(study, rows, _arm_row), numbers=answer.tables["arms"])


def _grouped(study: Study, rows: pd.DataFrame, make: Callable[[dict], Row]) -> list[tuple[str, list[Row]]]:
    """One group per domain, label and metric, one row per arm."""
    return [
        (f"{place(study, domain, label)}, {metric_title(metric, unit)}", [make(row) for row in part.to_dict("records")])
        for (domain, label, metric, unit), part in rows.groupby(["domain", "label", "metric", "unit"], sort=False)
    ]


def _contrast_row(row: dict) -> Row:
    primary = row["role"] == PRIMARY
    mark = "" if not row["better"] else BETTER if row["better"] == row["arm"] else WORSE
    share = "–" if not np.isfinite(row["superiority"]) else f"{100 * row['superiority']:.0f} %"
    shares = f"{100 * row['superiority_low']:.0f} to {100 * row['superiority_high']:.0f} %" if np.isfinite(row["superiority_low"]) else ""
    cells = [
        _counts(row),
        _difference(row, mark),
        Cell(p_value(row["p"])),
        Cell(p_value(row["p_holm"])),
        Cell(share, small=shares),
        Cell(row["claim"] or ("reference" if row["role"] == REFERENCE else "–")),
    ]
    return Row(Cell(row["arm"], small="primary contrast" if primary else ""), cells, own=primary)


def _margin_row(row: dict) -> Row:
    unit = row["unit"]
    bounds = f"{signed(row['ci_low'], unit)} to {signed(row['ci_high'], unit)}" if np.isfinite(row["ci_low"]) else ""
    cells = [
        _counts(row),
        Cell(signed(row["loss"], unit), small=bounds),
        Cell(number(row["margin"], unit, more_decimals=1)),
        Cell(p_value(row["p"])),
        Cell(row["verdict"]),
        Cell(row["claim"] or "–"),
    ]
    return Row(Cell(row["arm"]), cells, own=row["role"] == GATE)


def _gap_row(row: dict) -> Row:
    unit, estimable = row["unit"], np.isfinite(row["ratio"])
    bounds = f"{100 * row['ci_low']:.0f} to {100 * row['ci_high']:.0f} %".replace("-", "−") if np.isfinite(row["ci_low"]) else ""
    gap = f"{signed(row['gap_low'], unit)} to {signed(row['gap_high'], unit)}" if np.isfinite(row["gap_low"]) else ""
    closed = f"{100 * row['ratio']:.0f} %".replace("-", "−") if estimable else "not estimable"
    name = Cell(row["arm"], small="" if estimable else row["note"].removeprefix("not estimable: "))
    return Row(name, [Cell(signed(row["gap"], unit), small=gap), Cell(closed, small=bounds)])


def _failure_row(row: dict) -> Row:
    bounds = f"{_points(row['ci_low'])} to {_points(row['ci_high'])}" if np.isfinite(row["ci_low"]) else ""
    counts = [Cell(str(int(row[column]))) for column in ("failed_arm", "failed_baseline", "n")]
    tests = [Cell(p_value(row[column])) for column in ("p_mcnemar", "p_cases")]
    return Row(Cell(row["arm"]), [*counts, *tests, Cell(_points(row["rate_difference"]), small=bounds)])


def _points(share: float) -> str:
    """A difference of shares in percentage points."""
    text = f"{100 * share:+.1f}".replace("-", "−")
    return "0.0" if text[1:] == "0.0" else text


def _arm_row(row: dict) -> Row:
    unit, failed = row["unit"], int(row["failures"])
    each = [number(float(mean), unit, more_decimals=1) for mean in row["run_means"].split()]
    return Row(
        Cell(row["arm"]),
        [
            *(Cell(number(row[column], unit, more_decimals=1)) for column in ("mean", "sd_runs", "sd_cases")),
            Cell(f"{int(row['n_runs'])}, {int(row['n_cases'])}"),
            Cell(", ".join(each[:5]) + (f" … ({len(each)})" if len(each) > 5 else "")),
            Cell(str(failed)),
        ],
    )


def _counts(row: dict) -> Cell:
    left_out = int(row["n_left_out"])
    return Cell(f"{int(row['n_runs'])}, {int(row['n_cases'])}", warn=f"{left_out} left out" if left_out else "")


def _difference(row: dict, mark: str) -> Cell:
    """With its interval over trainings and cases; with one training the one over cases alone, named so."""
    unit, whole = row["unit"], np.isfinite(row["ci_low"])
    low, high = (row["ci_low"], row["ci_high"]) if whole else (row["ci_low_cases"], row["ci_high_cases"])
    bounds = f"{signed(low, unit)} to {signed(high, unit)}" if np.isfinite(low) else ""
    return Cell(signed(row["difference"], unit), small=bounds, warn="cases alone" if bounds and not whole else "", mark=mark)


def _page_labels(answer: Answer, rows: pd.DataFrame) -> pd.DataFrame:
    """All of a few labels, else the primary one."""
    return rows if rows["label"].nunique() <= MOST_LABELS else rows[rows["label"] == answer.label]
