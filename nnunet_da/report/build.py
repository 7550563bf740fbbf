"""Build a report: read the study, draw, write everything whole."""

import os
import shutil
import tempfile
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from nnunet_da.errors import UserError
from nnunet_da.report.answer_tables import answer_tables
from nnunet_da.report.cells import Table
from nnunet_da.report.cost import cost_table
from nnunet_da.report.feature_plots import feature_plots
from nnunet_da.report.forest import forest_plots
from nnunet_da.report.page import Drawn, Group, Tables, render_page
from nnunet_da.report.pairs import endpoint_plots, scatter_plots, volume_plots
from nnunet_da.report.paper import AUTO, paper_for, paper_tables, published
from nnunet_da.report.pictures import Picture
from nnunet_da.report.plots import curve_plots, metric_plots, plotted_metrics
from nnunet_da.report.sections import (
    anova_table,
    difference_tables,
    endpoint_table,
    feature_table,
    headline_table,
    metric_tables,
    settings_table,
)
from nnunet_da.report.study import Study, load_study
from nnunet_da.report.tables import metric_title, readable, summary_table, to_latex, to_markdown
from nnunet_da.report.worst import WORST, worst_pictures

RECORD = ".report-files"  # in figures and tables: what this report put there, one name per line
MOST_LABELS = 6  # with plots of their own; more would make a page of hundreds of pictures


def write_report(
    folder: Path, output: Path | None = None, *, overwrite: bool = False, progress: bool = True, paper: str = AUTO, worst: int = WORST
) -> Path:
    """One HTML page, with figures (PNG, SVG) in `folder`/figures and tables (CSV, Markdown, LaTeX) in `folder`/tables.

    Args:
        folder: one sub-folder per method, as `evaluate` writes them, and what `compare`, `radiomics` and `diagnose` wrote below; see
            `load_study`.
        output: the page; default `folder`/report.html.
        overwrite: replace an earlier report.
        progress: show a progress bar on a terminal.
        paper: published tables to print beside ours, see `paper_for`.
        worst: cases drawn per arm, the worst first.

    Returns:
        The page.

    Raises:
        UserError: nothing to report, a damaged file, or a report that exists.
    """
    output = output or folder / "report.html"
    if output.exists() and not overwrite:
        raise UserError(f"a new file was expected for the report, but {output} exists: choose another with -o or add --overwrite.")
    study = load_study(folder)
    chosen = paper_for(study, paper)
    summary = summary_table(study)
    tables = _tables(study, summary, chosen)
    drawn = _draw(study, summary, worst, progress)
    page = render_page(study, summary, tables, drawn, published()[chosen] if chosen else None)
    diagnosed = [picture for arm in study.arms for record in arm.diagnoses for picture in record.pictures]
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".report-", dir=folder) as temporary:
        built = Path(temporary)
        _write_figures(_distinct([*drawn.pictures, *diagnosed]), built / "figures")
        _write_tables(study, summary, tables.exported, built / "tables")
        for part in ("figures", "tables"):
            _replace_files(built / part, folder / part)
    unfinished = output.with_name(f".{output.name}.tmp")
    unfinished.write_text(page, encoding="utf-8")
    os.replace(unfinished, output)
    return output


def _tables(study: Study, summary: pd.DataFrame, paper: str) -> Tables:
    radiomics = [table for arm in study.arms for table in (feature_table(study, arm), endpoint_table(study, arm)) if table is not None]
    return Tables(
        headline_table(study, summary),
        metric_tables(study, summary),
        difference_tables(study),
        anova_table(study),
        radiomics,
        paper_tables(study, paper) if paper else [],
        settings_table(study),
        answer_tables(study, study.answer) if study.answer else [],
        cost_table(study.cost),
    )


def _draw(study: Study, summary: pd.DataFrame, worst: int, progress: bool) -> Drawn:
    labels, names = plotted_labels(study, summary), plotted_metrics(study)
    total = len(labels) * (len(names) + 1) + 1 + len(study.arms) * (worst + len(study.domains))
    with tqdm(total=total, desc="report", unit="part", disable=None if progress else True) as bar:
        metrics = []
        for label in labels:
            for metric in names:
                pictures = metric_plots(study, label, metric)
                metrics += [Group(_title(study, metric_title(metric, ""), label), pictures)] if pictures else []
                bar.update()
        pairs: list[Group] = []
        agreement, endpoints = [], []
        for label in labels:
            pairs += [Group(_title(study, title, label), pictures) for title, pictures in scatter_plots(study, label).items()]
            agreement.append(Group(_title(study, "Error of the volume", label), volume_plots(study, label)))
            endpoints += endpoint_plots(study, label)
            bar.update()
        features = [picture for arm in study.arms for picture in feature_plots(study, arm)]
        curves = curve_plots(study)
        bar.update()
        cases = worst_pictures(study, worst, bar.update)
    left_out = [name for label, name in study.labels.items() if label not in labels]
    forest = forest_plots(study, study.answer) if study.answer else []
    return Drawn(forest, metrics, _filled(pairs), _filled(agreement), cases, features, endpoints, curves, left_out)


def plotted_labels(study: Study, summary: pd.DataFrame) -> list[str]:
    """The labels that get plots: all of a few, else those with the lowest mean Dice, in the study's order."""
    dice = summary[summary["metric"] == "dice"].groupby("label")["mean"].mean()
    lowest = sorted(study.labels, key=lambda label: dice.get(label, float("inf")))[:MOST_LABELS]
    return [label for label in study.labels if label in lowest]


def _filled(groups: list[Group]) -> list[Group]:
    return [group for group in groups if group.pictures]


def _title(study: Study, title: str, label: str) -> str:
    return title + (f", {study.labels[label]}" if len(study.labels) > 1 else "")


def _distinct(pictures: list[Picture]) -> dict[str, Picture]:
    """File name -> picture; a name that two pictures share gets a number."""
    named: dict[str, Picture] = {}
    for picture in pictures:
        name, number = picture.name, 2
        while name.lower() in {taken.lower() for taken in named}:
            name, number = f"{picture.name}-{number}", number + 1
        named[name] = picture
    return named


def _write_figures(pictures: dict[str, Picture], folder: Path) -> None:
    folder.mkdir()
    for name, picture in pictures.items():
        (folder / f"{name}.png").write_bytes(picture.png)
        (folder / f"{name}.svg").write_bytes(picture.svg)


def _write_tables(study: Study, summary: pd.DataFrame, tables: list[Table], folder: Path) -> None:
    folder.mkdir()
    shown = readable(summary, study.labels)
    summary.to_csv(folder / "summary.csv", index=False)
    (folder / "summary.md").write_text(to_markdown(shown), encoding="utf-8")
    (folder / "summary.tex").write_text(to_latex(shown, study.settings.title), encoding="utf-8")
    for table in tables:
        shown = table.readable()
        (table.numbers if table.numbers is not None else shown).to_csv(folder / f"{table.name}.csv", index=False)
        notes = [f"[{letter}] {text}" for letter, text in table.footnotes]
        markdown = [f"{table.caption}\n", to_markdown(shown, table.text_titles), *(f"{note}\n" for note in notes)]
        (folder / f"{table.name}.md").write_text("\n".join(markdown), encoding="utf-8")
        (folder / f"{table.name}.tex").write_text(to_latex(shown, " ".join([table.caption, *notes]), table.text_titles), encoding="utf-8")


def _replace_files(source: Path, target: Path) -> None:
    """Move the files of `source` to `target` and remove those that an earlier report put there, by its own record; others stay."""
    target.mkdir(exist_ok=True)
    record = target / RECORD
    earlier = set(record.read_text(encoding="utf-8").splitlines()) if record.is_file() else set()
    new = {file.name for file in source.iterdir()}
    _write_record(record, earlier | new)  # whole whenever this is interrupted
    for name in sorted(new):
        shutil.move(source / name, target / name)
    for name in sorted(earlier - new):
        if name == Path(name).name:
            (target / name).unlink(missing_ok=True)
    _write_record(record, new)


def _write_record(record: Path, names: set[str]) -> None:
    unfinished = record.with_name(f"{record.name}.tmp")
    unfinished.write_text("".join(f"{name}\n" for name in sorted(names)), encoding="utf-8")
    os.replace(unfinished, record)
