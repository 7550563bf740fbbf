"""Forest plots of a study: every arm's difference to the baseline, with its interval over trainings and cases."""

import textwrap
from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from nnunet_da.evaluation.statistics import direction
from nnunet_da.report.answer import Answer
from nnunet_da.report.pictures import ARM_COLOURS, Picture, file_name, style, to_picture
from nnunet_da.report.sections import place
from nnunet_da.report.study import Study
from nnunet_da.report.tables import SHOWN_UNITS, metric_title
from nnunet_da.report.verdict import signed

METHOD, REFERENCE = ARM_COLOURS[0], "#6b7280"
BETTER_HALF = "#e8f5ea"
FAR = 4.0  # times as far out as intervals usually reach: drawn, such an arm would flatten all others


def forest_plots(study: Study, answer: Answer) -> list[Picture]:
    """The endpoint in every target, then Dice on the source."""
    return list(_plots(study, answer))


def _plots(study: Study, answer: Answer) -> Iterator[Picture]:
    declared, table = answer.declaration, answer.tables["contrasts"]
    places = [(domain, declared.get("endpoint", "")) for domain in declared.get("targets", [])]
    for domain, metric in [*places, (declared.get("source", ""), "dice")]:
        rows = table[(table["domain"] == domain) & (table["metric"] == metric) & (table["label"] == answer.label)]
        if rows["difference"].notna().any():
            margin = declared.get("margins", {}).get(metric) if domain == declared.get("source") else None
            yield _forest(study, answer, rows.reset_index(drop=True), margin)


def _forest(study: Study, answer: Answer, rows: pd.DataFrame, margin: float | None) -> Picture:
    metric, unit, domain, baseline = (str(rows[column].iloc[0]) for column in ("metric", "unit", "domain", "baseline"))
    factor = SHOWN_UNITS[unit][1]
    with style():
        figure = Figure(figsize=(4.9, 1.55 + 0.36 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        far, records = _far_out(rows), rows.to_dict("records")
        for position, row in enumerate(records):
            if not far[position]:
                _arm(axes, position, row, factor)
        _frame(axes, rows, metric, margin and -direction(metric) * margin * factor)
        for position, row in enumerate(records):
            if far[position]:
                _beyond_the_edge(axes, position, row)
        figure.supxlabel(textwrap.fill(f"{metric_title(metric, unit)}, difference to {baseline}", 52), fontsize=10)  # axes are too narrow
        figure.suptitle("\n".join(textwrap.wrap(place(study, domain, answer.label), 46)), fontsize=10)
        caption = _caption(answer, metric, margin, bool(far.any()))
        alternative = f"Difference to {baseline} of {metric_title(metric, unit)} in {domain}. " + " ".join(map(_words, records))
        return to_picture(figure, file_name("study", "forest", metric, domain), alternative, caption)


def _far_out(rows: pd.DataFrame) -> NDArray[np.bool_]:
    """Arms whose difference lies beyond what an axis for the others can hold."""
    usual = rows[["difference", "ci_low", "ci_high"]].abs().max(axis=1).median()
    return ((rows["difference"].abs() > FAR * usual) & (usual > 0)).to_numpy()


def _beyond_the_edge(axes: Axes, position: int, row: dict) -> None:
    """An arrow with the arm's numbers at the edge that it lies behind."""
    left = row["difference"] < 0
    edge = axes.get_xlim()[0 if left else 1]
    colour = REFERENCE if row["role"] == "reference" else METHOD
    axes.scatter(edge, position, s=60, marker="<" if left else ">", color=colour, zorder=3, clip_on=False)
    offset, alignment = (9, "left") if left else (-9, "right")
    plain = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"}
    label = axes.annotate(_numbers(row), (edge, position), (offset, 0), textcoords="offset points", ha=alignment, va="center", bbox=plain)
    label.set(fontsize=8.5, color=colour)


def _arm(axes: Axes, position: int, row: dict, factor: float) -> None:
    """A filled point with its interval; a hollow one with a dotted interval over cases where there is one training."""
    colour = REFERENCE if row["role"] == "reference" else METHOD
    whole = np.isfinite(row["ci_low"])
    low, high = (row["ci_low"], row["ci_high"]) if whole else (row["ci_low_cases"], row["ci_high_cases"])
    if np.isfinite(low):
        axes.plot([low * factor, high * factor], [position] * 2, color=colour, linewidth=2.2, linestyle="-" if whole else ":", zorder=2)
    size = 70 if row["role"] == "primary" else 38
    face = colour if whole else "white"
    marker = "s" if row["role"] == "reference" else "D" if row["role"] == "primary" else "o"
    axes.scatter(row["difference"] * factor, position, s=size, marker=marker, facecolor=face, edgecolor=colour, linewidth=1.4, zorder=3)


def _frame(axes: Axes, rows: pd.DataFrame, metric: str, margin: float | None) -> None:
    low, high = axes.get_xlim()
    low, high = min(low, 0.0, margin or 0.0), max(high, 0.0, margin or 0.0)
    pad = 0.06 * (high - low or 1.0)
    low, high = low - pad, high + pad
    better = (0.0, high) if direction(metric) > 0 else (low, 0.0)
    axes.axvspan(*better, color=BETTER_HALF, zorder=0)
    axes.axvline(0, color="#444444", linewidth=1.1, zorder=1)
    if margin is not None:
        axes.axvline(margin, color="#B42318", linewidth=1.2, linestyle="--", zorder=1)
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(MaxNLocator(4))  # more numbers of three decimals run into each other
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [_in_two_lines(arm) for arm in rows["arm"]], linespacing=0.95)
    axes.grid(axis="y", visible=False)


def _in_two_lines(arm: str) -> str:
    return "\n".join(textwrap.wrap(arm, 24, max_lines=2, placeholder="…"))


def _caption(answer: Answer, metric: str, margin: float | None, arrows: bool) -> str:
    side = "right" if direction(metric) > 0 else "left"
    further = " The dashed red line is the margin of non-inferiority." if margin is not None else ""
    further += " Arrow: farther out than the axis goes, with its numbers." if arrows else ""
    return (
        f"Green half ({side}): better. Bars: {answer.level} over trainings and cases. Diamond: primary method; circles: methods; squares: "
        f"reference arms. Hollow with a dotted bar: one training, so over cases alone.{further}"
    )


def _words(row: dict) -> str:
    return f"{row['arm']}: {_numbers(row)}."


def _numbers(row: dict) -> str:
    low, high, unit = row["ci_low"], row["ci_high"], row["unit"]
    bounds = f" ({signed(low, unit)} to {signed(high, unit)})" if np.isfinite(low) else ""
    return f"{signed(row['difference'], unit)}{bounds}"
