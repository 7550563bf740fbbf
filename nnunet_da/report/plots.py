"""Plots of a report: metrics per case, and training curves."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import gaussian_kde

from nnunet_da.report.pictures import ARM_COLOURS, ARM_LINES, ARM_MARKERS, Picture, file_name, style, to_picture
from nnunet_da.report.study import Study
from nnunet_da.report.tables import metric_title, shown_values

PLOTTED_METRICS = ("dice", "precision", "recall", "nsd_", "hd_mm", "hd95_mm", "asd_mm", "volume_error_mm3")
LINKED_CASES = 60  # lines between the arms of more cases would hide the points
BOX_FROM = 5  # fewer values have no meaningful quartiles
CLOUD_FROM = 15  # fewer values have no shape worth a density


def plotted_metrics(study: Study) -> list[str]:
    """The metrics of a study that get plots, NSD at every tolerance."""
    return [metric for plotted in PLOTTED_METRICS for metric in study.metric_names if _family(metric) == plotted]


def metric_plots(study: Study, label: str, metric: str) -> list[Picture]:
    """One plot per domain with one scale: a box per arm, every case a point, thin lines join a case across arms; clouds of many cases."""
    unit = next(unit for arm in study.arms for unit in arm.metrics.loc[arm.metrics["metric"] == metric, "unit"])
    tables = {domain: shown_values(_wide(study, domain, label, metric), unit) for domain in study.domains}
    limits = _limits([table.to_numpy() for table in tables.values()], unit)
    tick_lines = max(_tick_text(arm, table[arm]).count("\n") for table in tables.values() for arm in table)
    return [
        _metric_plot(
            table,
            f"{domain}, {study.labels[label]}",
            metric_title(metric, unit),
            file_name("metric", metric, label, domain),
            limits,
            tick_lines,
        )
        for domain, table in tables.items()
        if len(table)
    ]


def curve_plots(study: Study) -> list[Picture]:
    """One plot per logged term, one line per arm and run."""
    terms = dict.fromkeys(term for arm in study.arms for term in arm.curves["term"])
    return [_curve_plot(study, term) for term in terms]


def _family(metric: str) -> str:
    return "nsd_" if metric.startswith("nsd_") else metric


def _wide(study: Study, domain: str, label: str, metric: str) -> pd.DataFrame:
    """(cases, arms) values; NaN where undefined or not scored."""
    columns = {}
    for arm in study.arms:
        chosen = arm.metrics[(arm.metrics["domain"] == domain) & (arm.metrics["label"] == label) & (arm.metrics["metric"] == metric)]
        columns[arm.name] = chosen.set_index("case")["value"]
    return pd.DataFrame(columns)


def _limits(arrays: Sequence[np.ndarray], unit: str) -> tuple[float, float] | None:
    values = np.concatenate([array.ravel() for array in arrays])
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    margin = 0.06 * (float(np.ptp(values)) or abs(float(values[0])) or 1.0)
    low, high = float(values.min()) - margin, float(values.max()) + margin
    if unit == "fraction":
        return max(low, -0.02), min(high, 1.01)
    return (max(low, -0.04 * high) if values.min() >= 0 else low), high


def _metric_plot(table: pd.DataFrame, place: str, title: str, name: str, limits: tuple[float, float] | None, tick_lines: int) -> Picture:
    """One plot; `tick_lines` keeps room for the longest text below an axis, so that plots side by side are equally high."""
    with style():
        figure = Figure(figsize=(max(3.5, 1.02 * table.shape[1] + 0.9), 3.1), layout="constrained")
        axes = figure.add_subplot()
        if len(table) <= LINKED_CASES:
            beside = [-0.24 if _has_cloud(table[arm]) else 0.0 for arm in table]
            axes.plot(np.arange(table.shape[1]) + beside, table.to_numpy().T, color="#9a9a9a", linewidth=0.7, zorder=1)
        for position, arm in enumerate(table):
            _box_and_points(axes, position, table[arm])
        texts = [_tick_text(arm, table[arm]) for arm in table]
        axes.set_xticks(range(table.shape[1]), [text + "\n" * (tick_lines - text.count("\n")) for text in texts])
        axes.set_xlim(-0.6, table.shape[1] - 0.4)
        axes.grid(axis="x", visible=False)
        if limits:
            axes.set_ylim(*limits)
        axes.set_ylabel(textwrap.fill(title, 26))
        figure.suptitle("\n".join(textwrap.wrap(place, 38)), fontsize=10)
        medians = "; ".join(f"{arm}: median {table[arm].median():.3g} of {table[arm].count()} cases" for arm in table)
        return to_picture(figure, name, f"{title}, {place}. {medians}.")


def _box_and_points(axes: Axes, position: int, values: pd.Series) -> None:
    defined = values.dropna().to_numpy()
    colour = ARM_COLOURS[position % len(ARM_COLOURS)]
    cloud = _has_cloud(values)
    if cloud:
        _cloud(axes, position, defined, colour)
    if len(defined) >= BOX_FROM:
        _box(axes, position, defined, colour, 0.22 if cloud else 0.5)
    _points(axes, position, defined, colour, -0.24 if cloud else 0.0)


def _box(axes: Axes, position: int, values: np.ndarray, colour: str, width: float) -> None:
    line: dict[str, Any] = {"color": colour, "linewidth": 1.3}
    lines: dict[str, Any] = {"boxprops": line, "whiskerprops": line, "capprops": line, "medianprops": {**line, "linewidth": 2.6}}
    axes.boxplot(values, positions=[position], widths=width, showfliers=False, manage_ticks=False, zorder=2, **lines)


def _points(axes: Axes, position: int, values: np.ndarray, colour: str, beside: float) -> None:
    """Every case; many are small and side by side."""
    crowded = len(values) > LINKED_CASES
    spread = -0.28 + 0.13 * _even_jitter(len(values)) if crowded else np.full(len(values), beside)
    look: dict[str, Any] = {"s": 10, "linewidth": 0.3} if crowded else {"s": 26, "linewidth": 0.6}
    marker = ARM_MARKERS[position % len(ARM_MARKERS)]
    axes.scatter(position + spread, values, marker=marker, facecolor=colour, edgecolor="white", zorder=3, **look)


def _has_cloud(values: pd.Series) -> bool:
    defined = values.dropna()
    return len(defined) >= CLOUD_FROM and defined.nunique() > 1


def _cloud(axes: Axes, position: int, values: np.ndarray, colour: str) -> None:
    """Half a density to the right of the box, cut at the smallest and the largest value."""
    grid = np.linspace(values.min(), values.max(), 100)
    density = gaussian_kde(values)(grid)
    axes.fill_betweenx(grid, position + 0.16, position + 0.16 + 0.3 * density / density.max(), color=colour, alpha=0.35, linewidth=0)


def _even_jitter(n: int) -> np.ndarray:
    """n offsets in [-1, 1] without chance: the golden section spreads neighbours apart."""
    return 2 * (np.arange(n) * 0.6180339887 % 1) - 1


def _tick_text(arm: str, values: pd.Series) -> str:
    """In lines as wide as the 1.02 inches that each arm has."""
    undefined = int(values.isna().sum())
    return textwrap.fill(arm, 13) + (f"\n({undefined} undefined)" if undefined else "")


def _curve_plot(study: Study, term: str) -> Picture:
    named = sum((arm.curves["term"] == term).any() for arm in study.arms)
    with style():
        figure = Figure(figsize=(3.6, 2.5 + 0.19 * named), layout="constrained")  # a line of the legend for each
        axes = figure.add_subplot()
        described = []
        for position, arm in enumerate(study.arms):
            chosen = arm.curves[arm.curves["term"] == term]
            for run, (_, curve) in enumerate(chosen.groupby("run", sort=False)):
                curve = curve.sort_values("epoch")
                axes.plot(
                    curve["epoch"],
                    curve["value"],
                    color=ARM_COLOURS[position % len(ARM_COLOURS)],
                    linestyle=ARM_LINES[position % len(ARM_LINES)],
                    linewidth=1.6,
                    label=textwrap.shorten(arm.name, 38, placeholder="…") if run == 0 else None,
                    marker="o" if len(curve) == 1 else None,
                )
                described.append(f"{arm.name}: {curve['value'].iloc[0]:.3g} to {curve['value'].iloc[-1]:.3g}")
        axes.set_xlabel("epoch")
        axes.set_title(textwrap.fill(term.replace("_", " "), 40), fontsize=10)
        figure.legend(loc="outside lower center", ncols=1, frameon=False, fontsize=9)
        return to_picture(figure, file_name("curve", term), f"Training curve of {term} over epochs. {'; '.join(described)}.")
