"""Pictures of a diagnosis: probes before and after, gradient shares, and training curves."""

from collections.abc import Iterable
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from nnunet_da.diagnosis.covariate_probe import CovariateResult
from nnunet_da.diagnosis.diagnose import AFTER, BEFORE, Diagnosis
from nnunet_da.diagnosis.gradients import NAMES, gradient_norms
from nnunet_da.diagnosis.transfer import ALARM, TransferCheck
from nnunet_da.evaluation.probe import ProbeResult
from nnunet_da.report.pictures import ARM_COLOURS, Picture, style, to_picture

COLOURS = {BEFORE: ARM_COLOURS[0], AFTER: ARM_COLOURS[1]}
MARKERS = {BEFORE: "o", AFTER: "s"}
TERM_COLOURS = {"seg": "#8a8f98", "adv": ARM_COLOURS[1], "mmd": ARM_COLOURS[2]}
NULL_COLOUR = "#dcdfe4"
ALARM_COLOUR = "#b42318"
PANELS = {  # title -> terms of curves.csv
    "supervised loss": ("loss_seg", "val_losses"),
    "source Dice (validation patches)": ("mean_fg_dice",),
    "learning rate": ("lrs",),
    "alignment losses, unweighted": ("loss_adv", "loss_mmd"),
    "domain classifier (dotted: chance)": ("domain_accuracy",),
    "reversal strength": ("grl_strength",),
}
LABELS = {"loss_seg": "training", "val_losses": "validation", "loss_adv": "adversarial", "loss_mmd": "MMD"}


def pictures(diagnosis: Diagnosis) -> list[Picture]:
    """All pictures that there is something to show in."""
    drawn = [_probe_picture(diagnosis), _gradient_picture(diagnosis), _curve_picture(diagnosis), _transfer_picture(diagnosis.transfer)]
    return [picture for picture in drawn if picture is not None]


def _probe_picture(diagnosis: Diagnosis) -> Picture | None:
    """One row per question: the score before and after on the band that chance leaves."""
    if not diagnosis.probes:
        return None
    categories: dict[str, dict] = {"domain": dict(diagnosis.probes)}
    numbers: dict[str, dict] = {}
    for outcome in diagnosis.covariates:
        for phase, result in outcome.results.items():
            (numbers if result.metric == "Spearman" else categories).setdefault(outcome.name, {})[phase] = result
    parts = [("AUC", categories, (0.0, 1.02), 0.5)] + ([("rank correlation", numbers, (-1.0, 1.02), 0.0)] if numbers else [])
    with style():
        height = 1.35 + 0.52 * sum(len(rows) for _, rows, _, _ in parts) + 0.6 * (len(parts) - 1)
        figure = Figure(figsize=(6.4, height), layout="constrained")
        panels = figure.subplots(len(parts), 1, squeeze=False, height_ratios=[len(rows) + 0.3 for _, rows, _, _ in parts])[:, 0]
        for axes, (metric, rows, limits, chance) in zip(panels, parts, strict=True):
            _probe_rows(axes, metric, rows, limits, chance)
        handles, labels = panels[0].get_legend_handles_labels()
        unique = dict(zip(labels, handles, strict=True))
        figure.legend(unique.values(), unique.keys(), loc="outside lower center", ncols=len(unique), frameon=False)
        figure.suptitle("What the features tell of held-out cases", fontsize=11)
        seen = "; ".join(f"domain {phase} AUC {result.auc:.2f}" for phase, result in diagnosis.probes.items())
        caption = "Right of the grey band: told by the features. Left of its right end: no better than chance."
        return to_picture(figure, "diagnosis-probe", f"Probes of held-out cases. {seen}.", caption)


def _probe_rows(
    axes: Axes, metric: str, rows: dict[str, dict[str, ProbeResult | CovariateResult]], limits: tuple[float, float], chance: float
) -> None:
    offsets = {BEFORE: -0.17, AFTER: 0.17}
    for position, results in enumerate(rows.values()):
        for phase, result in results.items():
            y = position + (offsets[phase] if len(results) > 1 else 0)
            score = result.auc if isinstance(result, ProbeResult) else result.score
            axes.barh(y, result.null_high - result.null_low, left=result.null_low, height=0.26, color=NULL_COLOUR, label="chance (95 %)")
            axes.plot(
                score, y, MARKERS[phase], color=COLOURS[phase], markersize=8, markeredgecolor="white", label=phase, clip_on=False, zorder=3
            )
    axes.axvline(chance, color="#6b7280", linewidth=0.9, linestyle="--", zorder=1)
    axes.set_yticks(range(len(rows)), [name.replace("_", " ") for name in rows])
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.set_xlim(*limits)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"{metric} ({chance:g} is chance)")


def _gradient_picture(diagnosis: Diagnosis) -> Picture | None:
    """Norms on a logarithmic scale, and the share of each term."""
    norms = gradient_norms(diagnosis.curves)
    if norms.shape[1] < 2 or norms.empty:
        return None
    shares = norms.div(norms.sum(axis=1).replace(0, np.nan), axis=0)
    with style():
        figure = Figure(figsize=(7.2, 3.1), layout="constrained")
        left, right = figure.subplots(1, 2)
        for term in norms:
            colour = _term_colour(str(term))
            positive = norms[term].where(norms[term] > 0)
            left.plot(norms.index, positive, color=colour, linewidth=1.8, marker=_few(norms), markersize=3.5, label=_term_name(term))
        left.set_yscale("log")
        left.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        left.set_title(f"gradient norm at {diagnosis.run.place}", fontsize=10)
        right.stackplot(shares.index, shares.T.to_numpy(), colors=[_term_colour(str(term)) for term in shares], alpha=0.9, linewidth=0)
        right.set_ylim(0, 1)
        right.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
        right.set_title("share of each term", fontsize=10)
        for axes in (left, right):
            _epoch_axis(axes, norms.index)
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=norms.shape[1], frameon=False)
        said = "; ".join(f"{_term_name(share.term)} {share.share:.0%}" for share in diagnosis.shares)
        return to_picture(figure, "diagnosis-gradients", f"Gradient of each weighted term over training. Second half: {said}.")


def _curve_picture(diagnosis: Diagnosis) -> Picture | None:
    """Small panels of the run's curves, the source-only run dashed."""
    curves, other = diagnosis.curves, diagnosis.curves_source_only
    present = {title: [term for term in terms if (curves["term"] == term).any()] for title, terms in PANELS.items()}
    present = {title: terms for title, terms in present.items() if terms}
    if not present:
        return None
    columns = min(3, len(present))
    rows = -(-len(present) // columns)
    with style():
        figure = Figure(figsize=(3.1 * columns, 2.3 * rows + 0.4), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, (title, terms) in zip(panels, present.items(), strict=False):
            _curve_panel(axes, title, curves, other, terms)
        for axes in panels[len(present) :]:
            axes.set_visible(False)
        kinds = [_line_sample("-", "this run")] + ([_line_sample("--", "source only")] if len(other) else [])
        figure.legend(handles=kinds, loc="outside lower center", ncols=2, frameon=False)
        return to_picture(figure, "diagnosis-curves", f"Training curves: {', '.join(present)}.")


def _curve_panel(axes: Axes, title: str, curves: pd.DataFrame, other: pd.DataFrame, terms: list[str]) -> None:
    for colour, term in zip(ARM_COLOURS, terms, strict=False):
        for table, line in ((other, "--"), (curves, "-")):
            chosen = table[table["term"] == term].sort_values("epoch")
            label = LABELS.get(term) if line == "-" else None
            axes.plot(
                chosen["epoch"],
                chosen["value"],
                line,
                color=colour,
                linewidth=1.6,
                marker=_few(chosen) if line == "-" else None,
                markersize=3,
                label=label,
            )
    if title.startswith("domain"):
        axes.axhline(0.5, color="#6b7280", linewidth=0.9, linestyle=":")
        axes.set_ylim(0, 1.02)
    if terms[0] in ("grl_strength", "lrs"):
        axes.set_ylim(0, 1.06 * max(float(curves.loc[curves["term"] == terms[0], "value"].max()), 1e-12))
    if len(terms) > 1:
        axes.legend(frameon=False, fontsize=8)
    axes.set_title(title, fontsize=10)
    _epoch_axis(axes, curves["epoch"])


def _transfer_picture(check: TransferCheck) -> Picture | None:
    """What each validation case lost or gained, the mean with its interval, and the margin."""
    if check.difference is None or check.low is None or check.high is None:
        return None
    colour = ALARM_COLOUR if check.status == ALARM else ARM_COLOURS[0]
    changes = np.array(list(check.changes.values()))
    with style():
        figure = Figure(figsize=(6.4, 2.0), layout="constrained")
        axes = figure.add_subplot()
        axes.axvspan(-2, -check.margin, color=ALARM_COLOUR, alpha=0.10, linewidth=0, label="beyond the margin")
        axes.axvline(0, color="#6b7280", linewidth=0.9, linestyle="--")
        axes.scatter(changes, np.full(len(changes), 1.0), s=34, color="#8a8f98", edgecolor="white", linewidth=0.6, label="case", zorder=3)
        axes.plot([check.low, check.high], [0, 0], color=colour, linewidth=4, alpha=0.4, solid_capstyle="butt", label="95 % interval")
        axes.plot(check.difference, 0, "D", color=colour, markersize=8, markeredgecolor="white", label="mean", zorder=4)
        widest = 1.25 * max(2 * check.margin, float(np.abs([*changes, check.low, check.high]).max()))
        axes.set_xlim(-widest, max(0.3 * widest, 1.25 * float(changes.max())))
        axes.set_ylim(-0.7, 1.6)
        axes.set_yticks([1, 0], ["cases", "mean"])
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("Dice on the source's validation cases, this run minus source only")
        figure.suptitle(f"Negative transfer: {check.status}", fontsize=11)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
        return to_picture(figure, "diagnosis-transfer", f"Negative transfer: {check.status}, {check.reason}.")


def _line_sample(line: Literal["-", "--"], label: str) -> Line2D:
    return Line2D([], [], color="#40454d", linestyle=line, linewidth=1.6, label=label)


def _epoch_axis(axes: Axes, epochs: Iterable[int]) -> None:
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.margins(x=0.02)


def _few(table: pd.DataFrame) -> str | None:
    """Marks where there are few enough points to see them."""
    return "o" if len(table) <= 30 else None


def _term_name(term: object) -> str:
    return NAMES.get(str(term), str(term)).removeprefix("the ")


def _term_colour(term: str) -> str:
    return TERM_COLOURS.get(term, ARM_COLOURS[3 + sum(map(ord, term)) % 3])
