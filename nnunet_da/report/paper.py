"""Paper versus ours: published tables with our arms beside the rows they match, and the caveats of the published numbers as footnotes."""

import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pandas as pd

from nnunet_da.errors import UserError
from nnunet_da.report.cells import Cell, Row, Table
from nnunet_da.report.radiomics import PREDICTION
from nnunet_da.report.sections import with_role
from nnunet_da.report.study import Arm, Study
from nnunet_da.report.tables import metric_title, summary_table
from nnunet_da.report.verdict import p_value

DATA_FILE = "paper_tables.json"
AUTO, NONE = "auto", "none"
PRESETS = {"pfdaformer": "pf_daformer"}  # paper -> how the presets that follow it begin
ANATOMY = "femur"


def published() -> dict[str, Any]:
    """Paper -> its tables, as they are stored."""
    return json.loads((files("nnunet_da.report") / DATA_FILE).read_text(encoding="utf-8"))


def paper_for(study: Study, asked: str = AUTO) -> str:
    """The paper to print beside the study, "" for none.

    Args:
        asked: "auto": the paper whose preset or trainer an arm has, where the study has one label or one that is named femur; "none"; or a
            paper.

    Raises:
        UserError: no such paper.
    """
    if asked not in (AUTO, NONE, *published()):
        raise UserError(f"--paper must be {AUTO}, {NONE} or one of {', '.join(published())}, got {asked}: choose one of them.")
    if asked != AUTO:
        return "" if asked == NONE else asked
    found = (paper for paper, preset in PRESETS.items() if any(_follows(arm, paper, preset) for arm in study.arms))
    paper = next(found, "")
    return paper if paper and label_of(study) else ""


def label_of(study: Study) -> str:
    """Key of the label that the papers' femur stands for: the only one, else the one that is named so; "" where there is none."""
    keys = list(study.labels)
    named = [key for key in keys if ANATOMY in study.labels[key].lower()]
    return keys[0] if len(keys) == 1 else named[0] if len(named) == 1 else ""


def paper_tables(study: Study, paper: str) -> list[Table]:
    """Every published table of a paper, with a row of ours under each row that an arm matches.

    An arm matches a row of a table if its trainer is the row's and its loss mix, where known, too; rows of mixes ask for a known mix.
    """
    content = published()[paper]
    metrics = [_metric_table(study, content, table) for table in content["tables"]]
    return [*metrics, _t_test_table(study, content), _radiomics_table(study, content)]


def _follows(arm: Arm, paper: str, preset: str) -> bool:
    return str(arm.provenance.settings.get("preset", "")).startswith(preset) or arm.provenance.trainer in _trainers(published()[paper])


def _trainers(content: dict[str, Any]) -> set[str]:
    return {row["trainer"] for table in content["tables"] for row in table["rows"] if "trainer" in row}


def _matching(study: Study, trainer: str | None, seg_mix: float | None = None, mix_must_be_known: bool = False) -> list[Arm]:
    """Arms of a trainer whose loss mix is `seg_mix`."""
    found = []
    for arm in study.arms:
        mix = arm.provenance.settings.get("seg_mix")
        fits = seg_mix is None or mix == seg_mix or (mix is None and not mix_must_be_known)
        if trainer and arm.provenance.trainer == trainer and fits:
            found.append(arm)
    return found


def _metric_table(study: Study, content: dict[str, Any], table: dict[str, Any]) -> Table:
    summary, label = summary_table(study), label_of(study)
    rows, numbers = [], []
    for entry in table["rows"]:
        notes = entry.get("notes", {})
        values = [
            Cell(f"{value:.{decimals}f}", notes=notes.get(metric, ""))
            for metric, value, decimals in zip(content["metrics"], entry["values"], table["decimals"], strict=True)
        ]
        rows.append(Row(Cell(entry["name"], notes=notes.get("name", "")), [Cell(_paper(content)), Cell(str(content["n"])), *values]))
        numbers.append([entry["name"], "paper", content["domain"], content["n"], *entry["values"]])
        for arm in _matching(study, entry.get("trainer"), entry.get("seg_mix"), mix_must_be_known=table["number"] > 1):
            for domain in study.domains:
                found = _means(summary, arm, domain, label, content["metrics"])
                if any(n for _, n in found):
                    cells = [_own_cell(value, decimals) for (value, _), decimals in zip(found, table["decimals"], strict=True)]
                    n = max(n for _, n in found)
                    rows.append(Row(Cell(f"ours: {arm.name}"), [Cell(with_role(study, domain)), Cell(str(n)), *cells], own=True))
                    numbers.append([entry["name"], arm.name, domain, n, *(value for value, _ in found)])
    titles = [_column(metric) for metric in content["metrics"]]
    frame = pd.DataFrame(numbers, columns=["row", "whose", "domain", "n", *content["metrics"]])
    notes = content["notes"] + table.get("notes", "")
    caption = f"Table {table['number']}. {table['title']}"
    return _table(content, f"paper_table{table['number']}", caption, notes, [table["row_title"], "Data", "n", *titles], rows, frame)


def _t_test_table(study: Study, content: dict[str, Any]) -> Table:
    tests, label = content["t_tests"], label_of(study)
    rows: list[Row] = []
    for entry in tests["rows"]:
        header = Cell(_column(entry["metric"]), notes=entry.get("notes", ""))
        shown = _published_test(*entry["values"]) if "values" in entry else ["–", "–", "–", entry["said"]]
        rows.append(Row(header, [Cell(_paper(content)), Cell(str(content["n"])), *map(Cell, shown)]))
        rows += _own_tests(study, tests, label, entry["metric"])
    columns = ["Metric", "Data", "n", "no DA", "DA (GRL + MMD)", "t", "p"]
    caption = "Paired t-tests, with adaptation against without (p not adjusted, as in the paper)"
    return _table(content, "paper_t_tests", caption, tests["notes"], columns, rows, None)


def _own_tests(study: Study, tests: dict[str, Any], label: str, metric: str) -> Iterator[Row]:
    for first in _matching(study, tests["first"]):
        for second in _matching(study, tests["second"]):
            for domain in study.domains:
                row = study.comparison.row(first.name, second.name, domain, label, metric) if study.comparison else None
                if row is not None:
                    means = [_own_cell(_scaled(row[f"mean_{which}"], metric), 3) for which in ("first", "second")]
                    tested = [_own_cell(row["t"], 2), Cell(p_value(row["p_t"]))]
                    yield Row(
                        Cell(f"ours: {second.name}"), [Cell(with_role(study, domain)), Cell(str(int(row["n"]))), *means, *tested], own=True
                    )


def _radiomics_table(study: Study, content: dict[str, Any]) -> Table:
    part, label = content["radiomics"], label_of(study)
    rows = []
    for entry in part["rows"]:
        rows.append(Row(Cell(entry["feature"]), [Cell(_paper(content)), Cell(str(content["n"])), Cell(entry["said"]), Cell("–")]))
        for arm in _matching(study, part["trainer"]):
            rows += _own_features(study, arm, label, entry)
    caption = "Radiomic features of the prediction against those of the reference"
    columns = ["Feature", "Data", "n", "Pearson r", "CCC"]
    return _table(content, "paper_radiomics", caption, part["notes"], columns, rows, None)


def _own_features(study: Study, arm: Arm, label: str, entry: dict[str, Any]) -> Iterator[Row]:
    """Our r and CCC of a feature, lowest to highest where families share its name; or how many features are above a bound."""
    if arm.radiomics is None:
        return
    table = arm.radiomics.agreement
    table = table[(table["mask"] == PREDICTION) & (table["label"] == label)]
    for domain, found in table.groupby("domain", sort=False):
        if "above" in entry:
            defined = found["pearson_r"].dropna()
            texts = [f"{int((defined > entry['above']).sum())} of {len(defined)} above {entry['above']}", "–"]
        else:
            found = found[[name.rsplit("_", 1)[-1] == entry["feature"] for name in found["feature"]]]
            texts = [_range(found[column]) for column in ("pearson_r", "ccc")]
        if len(found):
            place, n = Cell(with_role(study, str(domain))), Cell(str(int(found["n"].max())))
            yield Row(Cell(f"ours: {arm.name}"), [place, n, *map(Cell, texts)], own=True)


def _table(
    content: dict[str, Any], name: str, caption: str, notes: str, columns: list[str], rows: list[Row], numbers: pd.DataFrame | None
) -> Table:
    """A table with the footnotes that it or its cells name; `notes` are those of the whole table."""
    used = set(notes).union(*(cell.notes for row in rows for cell in [row.header, *row.cells]))
    footnotes = [(letter, text) for letter, text in content["footnotes"].items() if letter in used]
    marked = f"{caption} [{', '.join(notes)}]" if notes else caption
    return Table(name, marked, columns, [("", rows)], text_columns=1, footnotes=footnotes, numbers=numbers)


def _means(summary: pd.DataFrame, arm: Arm, domain: str, label: str, metrics: list[str]) -> list[tuple[float, int]]:
    """(mean in the paper's unit, n) per metric; (NaN, 0) where there is none."""
    rows = summary[(summary["arm"] == arm.name) & (summary["domain"] == domain) & (summary["label"] == label)].set_index("metric")
    return [(_scaled(rows.loc[m, "mean"], m), int(rows.loc[m, "n"])) if m in rows.index else (float("nan"), 0) for m in metrics]


def _scaled(value: float, metric: str) -> float:
    """Fractions in percent, as the paper has them."""
    return float(value) if metric.endswith("mm") else 100 * float(value)


def _column(metric: str) -> str:
    return metric_title(metric, "mm").replace(", symmetric", "") if metric.endswith("mm") else f"{metric_title(metric, '')} (%)"


def _own_cell(value: float, decimals: int) -> Cell:
    return Cell("–" if pd.isna(value) else f"{value:.{decimals}f}".replace("-", "−"))


def _published_test(first: float, second: float, t: float, p: float | str) -> list[str]:
    return [f"{first:.3f}", f"{second:.3f}", f"{t:.2f}".replace("-", "−"), str(p)]


def _range(values: pd.Series) -> str:
    defined = values.dropna()
    if defined.empty:
        return "–"
    low, high = f"{defined.min():.4f}", f"{defined.max():.4f}"
    return low if low == high else f"{low} to {high}"


def _paper(content: dict[str, Any]) -> str:
    return f"paper, {content['domain']} ({content['role']})"
