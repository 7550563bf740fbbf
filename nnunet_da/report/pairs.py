"""Plots of pairs: one method against another per case, and Bland-Altman plots."""

import textwrap
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nnunet_da.evaluation.statistics import direction
from nnunet_da.report.pictures import ARM_COLOURS, ARM_MARKERS, DOMAIN_COLOURS, Picture, file_name, style, to_picture
from nnunet_da.report.radiomics import PREDICTION, REFERENCE
from nnunet_da.report.sections import endpoint_title, endpoint_unit, with_role
from nnunet_da.report.study import Arm, Study
from nnunet_da.report.tables import SHOWN_UNITS, metric_title, shown_values

SCATTERED_METRICS = ("dice", "hd95_mm", "asd_mm")
LIMITS_FROM = 3  # cases; fewer have no limits of agreement
FEW = 60  # more cases are drawn smaller


def scatter_plots(study: Study, label: str) -> dict[str, list[Picture]]:
    """Pair of methods in words -> plots of the other method against the baseline, one per metric: a point is a case."""
    arms = {arm.name: arm for arm in study.arms}
    first = arms.get(study.baseline, study.arms[0])
    plots = {}
    for second in study.arms:
        if second is not first:
            drawn = [_scatter_plot(study, first, second, label, metric) for metric in SCATTERED_METRICS]
            plots[f"{second.name} against {first.name}"] = [picture for picture in drawn if picture is not None]
    return plots


def volume_plots(study: Study, label: str) -> list[Picture]:
    """Bland-Altman of the volume, one plot per arm and domain with one scale: prediction minus reference over their mean, in cm³."""
    pairs = {}
    for arm in study.arms:
        for domain in study.domains:
            wide = _wide(arm, domain, label)
            if {"volume_mm3", "volume_error_mm3"} <= set(wide):
                volumes = wide[["volume_mm3", "volume_error_mm3"]] / 1000.0
                pairs[arm.name, domain] = (volumes["volume_mm3"] - volumes["volume_error_mm3"], volumes["volume_mm3"])
    return _bland_altman_plots(study, pairs, f"volume of {study.labels[label]}", "cm³", file_name("bland-altman-volume", label))


def endpoint_plots(study: Study, label: str) -> list[Picture]:
    """Bland-Altman of every endpoint but the volume, one plot per arm and domain."""
    pictures = []
    found = [arm.radiomics.endpoints for arm in study.arms if arm.radiomics is not None]
    for endpoint in dict.fromkeys(name for table in found for name in table["endpoint"] if name != "volume_mm3"):
        pairs = {(arm.name, domain): _endpoint_pair(arm, domain, label, endpoint) for arm in study.arms for domain in study.domains}
        unit = SHOWN_UNITS.get(endpoint_unit(endpoint), ("",))[0]
        name = file_name("bland-altman", endpoint, label)
        pictures += _bland_altman_plots(study, pairs, f"{endpoint_title(endpoint)} of {study.labels[label]}", unit, name)
    return pictures


def bias_and_limits(difference: np.ndarray) -> tuple[float, float, float]:
    """Mean difference and the limits of agreement, mean ± 1.96 SD (n − 1); Bland & Altman, 1986. NaN limits with fewer than three."""
    bias = float(difference.mean())
    reach = 1.96 * float(difference.std(ddof=1)) if len(difference) >= LIMITS_FROM else float("nan")
    return bias, bias - reach, bias + reach


def _wide(arm: Arm, domain: str, label: str) -> pd.DataFrame:
    chosen = arm.metrics[(arm.metrics["domain"] == domain) & (arm.metrics["label"] == label)]
    return chosen.pivot(index="case", columns="metric", values="value")


def _endpoint_pair(arm: Arm, domain: str, label: str, endpoint: str) -> tuple[pd.Series, pd.Series]:
    table = arm.radiomics.endpoints if arm.radiomics is not None else pd.DataFrame(columns=["case", "domain", "label", "endpoint", "mask"])
    chosen = table[(table["domain"] == domain) & (table["label"] == label) & (table["endpoint"] == endpoint)]
    by_mask = {mask: chosen[chosen["mask"] == mask].set_index("case")["value"] for mask in (REFERENCE, PREDICTION)} if len(chosen) else {}
    empty = pd.Series(dtype=float)
    return by_mask.get(REFERENCE, empty), by_mask.get(PREDICTION, empty)


def _scatter_plot(study: Study, first: Arm, second: Arm, label: str, metric: str) -> Picture | None:
    units = first.metrics.loc[first.metrics["metric"] == metric, "unit"]
    unit = "" if units.empty else str(units.iloc[0])
    tables = {domain: shown_values(_pair_table(first, second, domain, label, metric), unit) for domain in study.domains}
    tables = {domain: table for domain, table in tables.items() if len(table)}
    if not tables:
        return None
    title = metric_title(metric, unit)
    with style():
        figure = Figure(figsize=(3.5, 4.0), layout="constrained")
        axes = figure.add_subplot()
        size = 26 if sum(map(len, tables.values())) <= FEW else 12
        for domain, table in tables.items():
            _points(axes, table, size, study.domains.index(domain), with_role(study, domain))
        _better_half(axes, np.concatenate([table.to_numpy().ravel() for table in tables.values()]), direction(metric), second.name)
        axes.set_xlabel(_short(first.name, 40))
        axes.set_ylabel(_short(second.name, 40))
        figure.suptitle(title, fontsize=10)
        figure.legend(loc="outside lower center", ncols=1, frameon=False, fontsize=9)
        counts = "; ".join(_counts(table, domain, direction(metric), second.name) for domain, table in tables.items())
        name = file_name("pairs", metric, label, first.name, second.name)
        return to_picture(figure, name, f"{title} per case, {second.name} against {first.name}. {counts}.")


def _points(axes: Axes, table: pd.DataFrame, size: float, number: int, name: str) -> None:
    """One domain's cases."""
    colour, marker = DOMAIN_COLOURS[number % len(DOMAIN_COLOURS)], ARM_MARKERS[number % len(ARM_MARKERS)]
    look: dict[str, Any] = {"s": size, "color": colour, "marker": marker, "edgecolor": "white", "linewidth": 0.5, "zorder": 3}
    axes.scatter(table["first"], table["second"], label=_short(name, 44), **look)


def _short(text: str, width: int) -> str:
    return textwrap.shorten(text, width, placeholder="…")


def _pair_table(first: Arm, second: Arm, domain: str, label: str, metric: str) -> pd.DataFrame:
    """Columns first and second over the cases where both are defined."""
    wide = {name: _wide(arm, domain, label) for name, arm in (("first", first), ("second", second))}
    columns = {name: table[metric] for name, table in wide.items() if metric in table}
    return pd.DataFrame(columns).dropna() if len(columns) == 2 else pd.DataFrame(columns=["first", "second"])


def _better_half(axes: Axes, values: np.ndarray, better: int, second: str) -> None:
    """Equal axes, the diagonal, and the half where the second method is better."""
    margin = 0.06 * (float(np.ptp(values)) or abs(float(values[0])) or 1.0)
    low, high = float(values.min()) - margin, float(values.max()) + margin
    axes.plot([low, high], [low, high], color="#6b7280", linewidth=0.9, linestyle="--", zorder=1)
    if better:
        edge = high if better > 0 else low
        axes.fill_between([low, high], [low, high], [edge, edge], color="#009E73", alpha=0.08, linewidth=0, zorder=0)
        at = (0.03, 0.97, "left", "top") if better > 0 else (0.97, 0.03, "right", "bottom")
        text = textwrap.fill(f"{second} better", 22)
        axes.text(at[0], at[1], text, transform=axes.transAxes, ha=at[2], va=at[3], color="#00694d", fontsize=9)
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_box_aspect(1)
    ticks = [tick for tick in MaxNLocator(5).tick_values(low, high) if low <= tick <= high]
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)


def _counts(table: pd.DataFrame, domain: str, better: int, second: str) -> str:
    gains = better * (table["second"] - table["first"])
    return f"{domain}: {second} better in {int((gains > 1e-9).sum())} of {len(table)} cases, worse in {int((gains < -1e-9).sum())}"


def _bland_altman_plots(
    study: Study, pairs: dict[tuple[str, str], tuple[pd.Series, pd.Series]], what: str, unit: str, name: str
) -> list[Picture]:
    """One plot per (arm, domain) that has cases; `pairs` gives the reference's and the prediction's values by case."""
    frames = {key: pd.DataFrame({"reference": pair[0], "prediction": pair[1]}).dropna() for key, pair in pairs.items()}
    frames = {key: frame for key, frame in frames.items() if len(frame)}
    if not frames:
        return []
    every = pd.concat(frames.values())
    limits = _padded(every.mean(axis=1)), _padded([*(every["prediction"] - every["reference"]), 0.0, *_all_limits(frames.values())])
    return [_bland_altman_plot(study, frame, arm, domain, what, unit, name, limits) for (arm, domain), frame in frames.items()]


def _bland_altman_plot(
    study: Study, frame: pd.DataFrame, arm: str, domain: str, what: str, unit: str, name: str, limits: tuple[tuple[float, float], ...]
) -> Picture:
    difference = (frame["prediction"] - frame["reference"]).to_numpy()
    bias, low, high = bias_and_limits(difference)
    position = [entry.name for entry in study.arms].index(arm)
    colour = ARM_COLOURS[position % len(ARM_COLOURS)]
    with style():
        figure = Figure(figsize=(3.5, 3.3), layout="constrained")
        axes = figure.add_subplot()
        axes.axhline(0, color="#6b7280", linewidth=0.8)
        axes.axhline(bias, color=colour, linewidth=1.6)
        for bound in (low, high):
            if np.isfinite(bound):
                axes.axhline(bound, color=colour, linewidth=1.1, linestyle="--")
        marker = ARM_MARKERS[position % len(ARM_MARKERS)]
        size = 26 if len(frame) <= FEW else 12
        axes.scatter(frame.mean(axis=1), difference, s=size, color=colour, marker=marker, edgecolor="white", linewidth=0.5, zorder=3)
        axes.set_xlim(*limits[0])
        axes.set_ylim(*limits[1])
        axes.set_xlabel(f"mean of both ({unit})" if unit else "mean of both")
        axes.set_ylabel(f"prediction − reference ({unit})" if unit else "prediction − reference")
        lines = [what[0].upper() + what[1:], arm, with_role(study, domain)]
        figure.suptitle("\n".join(textwrap.shorten(line, 44, placeholder="…") for line in lines), fontsize=10)
        between = f", limits of agreement {low:.3g} to {high:.3g}" if np.isfinite(low) else ""
        caption = f"Bias {bias:.3g}{between}{' ' if unit else ''}{unit}, {len(frame)} cases.".replace("-", "−")
        alternative = f"Bland-Altman plot of the {what}, {arm}, {domain}. {caption}"
        return to_picture(figure, file_name(name, arm, domain), alternative, caption)


def _all_limits(frames: Iterable[pd.DataFrame]) -> list[float]:
    found = [value for frame in frames for value in bias_and_limits((frame["prediction"] - frame["reference"]).to_numpy())]
    return [value for value in found if np.isfinite(value)]


def _padded(values: Iterable[float]) -> tuple[float, float]:
    found = np.asarray(list(values), dtype=float)
    margin = 0.08 * (float(np.ptp(found)) or abs(float(found[0])) or 1.0)
    return float(found.min()) - margin, float(found.max()) + margin
