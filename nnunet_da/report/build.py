"""Build a report: read the study, draw, write everything whole."""

import os
import shutil
import tempfile
from pathlib import Path

from tqdm import tqdm

from nnunet_da.errors import UserError
from nnunet_da.report.overlays import overlay_pictures
from nnunet_da.report.page import Group, render_page
from nnunet_da.report.pictures import Picture
from nnunet_da.report.plots import PLOTTED_METRICS, curve_plots, metric_plots
from nnunet_da.report.study import Study, load_study
from nnunet_da.report.tables import metric_title, readable, summary_table, to_latex, to_markdown


def write_report(folder: Path, output: Path | None = None, *, overwrite: bool = False, progress: bool = True) -> Path:
    """One HTML page, with figures (PNG, SVG) in `folder`/figures and tables (CSV, Markdown, LaTeX) in `folder`/tables.

    Args:
        folder: one sub-folder per method, as `evaluate` writes them; see `load_study`.
        output: the page; default `folder`/report.html.
        overwrite: replace an earlier report.
        progress: show a progress bar on a terminal.

    Returns:
        The page.

    Raises:
        UserError: nothing to report, a damaged file, or a report that exists.
    """
    output = output or folder / "report.html"
    if output.exists() and not overwrite:
        raise UserError(f"a new file was expected for the report, but {output} exists: choose another with -o or add --overwrite.")
    study = load_study(folder)
    summary = summary_table(study)
    with tqdm(total=len(PLOTTED_METRICS) + 1 + len(study.arms), desc="report", unit="part", disable=None if progress else True) as bar:
        plots = _plots(study, bar)
        curves = curve_plots(study)
        bar.update()
        overlays = _overlays(study, bar)
    page = render_page(study, summary, plots, curves, overlays)
    diagnosed = [picture for arm in study.arms for record in arm.diagnoses for picture in record.pictures]
    pictures = _distinct([picture for group in [*plots, *overlays] for picture in group.pictures] + curves + diagnosed)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".report-", dir=folder) as temporary:
        built = Path(temporary)
        _write_figures(pictures, built / "figures")
        _write_tables(study, built / "tables")
        for part in ("figures", "tables"):
            _move_files(built / part, folder / part)
    unfinished = output.with_name(f".{output.name}.tmp")
    unfinished.write_text(page, encoding="utf-8")
    os.replace(unfinished, output)
    return output


def _plots(study: Study, bar: tqdm) -> list[Group]:
    groups = []
    for metric in PLOTTED_METRICS:
        for label, name in study.labels.items():
            pictures = metric_plots(study, label, metric) if metric in study.metric_names else []
            if pictures:
                title = metric_title(metric, "") + (f", {name}" if len(study.labels) > 1 else "")
                groups.append(Group(title, pictures, []))
        bar.update()
    return groups


def _overlays(study: Study, bar: tqdm) -> list[Group]:
    groups = []
    for arm in study.arms:
        pictures, problems = overlay_pictures(study, arm)
        groups.append(Group(arm.name, pictures, problems))
        bar.update()
    return groups


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


def _write_tables(study: Study, folder: Path) -> None:
    folder.mkdir()
    summary = summary_table(study)
    table = readable(summary, study.labels)
    summary.to_csv(folder / "summary.csv", index=False)
    (folder / "summary.md").write_text(to_markdown(table), encoding="utf-8")
    (folder / "summary.tex").write_text(to_latex(table, study.settings.title), encoding="utf-8")


def _move_files(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for file in source.iterdir():
        shutil.move(file, target / file.name)
