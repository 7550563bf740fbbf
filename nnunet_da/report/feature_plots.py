"""Agreement of radiomic features, family by family, against what grown and shrunk reference masks give."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from nnunet_da.report.pictures import ARM_COLOURS, Picture, file_name, style, to_picture
from nnunet_da.report.radiomics import PREDICTION, mask_title, null_masks
from nnunet_da.report.sections import place
from nnunet_da.report.study import Arm, Study

BEST_GAP, WORST_GAP = 1e-4, 2.0  # 1 - CCC: a CCC above 0.9999 and one of -1
TICKS = (-1.0, 0.0, 0.5, 0.9, 0.99, 0.999, 0.9999)
NULL_MARKERS = ("<", ">", "v", "^", "x", "+")
NULL_COLOUR = "#6b7280"


def feature_plots(study: Study, arm: Arm) -> list[Picture]:
    """One plot per domain and label: every feature a point at its CCC, medians of the nulls beside the points of their family."""
    if arm.radiomics is None or arm.radiomics.agreement.empty:
        return []
    groups = arm.radiomics.agreement.groupby(["domain", "label"], sort=False)
    drawn = (_feature_plot(study, arm, place(study, domain, label), rows) for (domain, label), rows in groups)
    return [picture for picture in drawn if picture is not None]


def ccc_position(ccc: ArrayLike) -> np.ndarray:
    """Where a CCC stands on the axis: -log10(1 - CCC), so that 0.9, 0.99 and 0.999 are equally far apart; held at the ends of the axis."""
    return -np.log10(np.clip(1.0 - np.asarray(ccc, dtype=float), BEST_GAP, WORST_GAP))


def _feature_plot(study: Study, arm: Arm, where: str, rows: pd.DataFrame) -> Picture | None:
    own = rows[(rows["mask"] == PREDICTION)].dropna(subset=["ccc"])
    if own.empty:
        return None
    families, nulls = list(dict.fromkeys(rows["family"])), null_masks(rows)
    with style():
        figure = Figure(figsize=(5.4, 1.9 + 0.42 * len(families) + 0.2 * len(nulls)), layout="constrained")
        axes = figure.add_subplot()
        colour = ARM_COLOURS[[entry.name for entry in study.arms].index(arm.name) % len(ARM_COLOURS)]
        for number, family in enumerate(families):
            _family(axes, number, rows[rows["family"] == family], nulls, colour, labelled=number == 0)
        axes.set_yticks(range(len(families)), families)
        axes.set_ylim(len(families) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.set_xlim(float(ccc_position(TICKS[0])) - 0.1, float(ccc_position(TICKS[-1])) + 0.12)
        axes.set_xticks(ccc_position(TICKS), [*(f"{tick:g}" for tick in TICKS[:-1]), "≥0.9999"])
        axes.set_xlabel("CCC with the reference's feature (right is better)")
        figure.suptitle("\n".join(textwrap.wrap(f"{arm.name}, {where}", 60)), fontsize=10)
        figure.legend(
            loc="outside lower center", ncols=2 if len(nulls) > 2 else 1, columnspacing=1.0, handletextpad=0.3, frameon=False, fontsize=8.5
        )
        words = "; ".join(f"{mask_title(mask)}: median {rows.loc[rows['mask'] == mask, 'ccc'].median():.3f}" for mask in nulls)
        alternative = f"CCC of {len(own)} features by family, {arm.name}, {where}. Prediction: median {own['ccc'].median():.3f}. {words}."
        return to_picture(figure, file_name("features", arm.name, where), alternative)


def _family(axes: Axes, number: int, rows: pd.DataFrame, nulls: list[str], colour: str, labelled: bool) -> None:
    values = np.sort(rows.loc[rows["mask"] == PREDICTION, "ccc"].dropna().to_numpy())
    spread = number + 0.22 * (2 * (np.arange(len(values)) * 0.6180339887 % 1) - 1)
    axes.axhspan(number - 0.38, number + 0.38, color="#f3f5f8", zorder=0)
    label = "prediction: each feature" if labelled else None
    axes.scatter(ccc_position(values), spread, s=20, color=colour, edgecolor="white", linewidth=0.4, label=label, zorder=3)
    for index, mask in enumerate(nulls):
        median = rows.loc[rows["mask"] == mask, "ccc"].median()
        if np.isfinite(median):
            marker = NULL_MARKERS[index % len(NULL_MARKERS)]
            label = f"reference {mask_title(mask)}: median" if labelled else None
            axes.scatter(ccc_position(median), number + 0.3, s=34, color=NULL_COLOUR, marker=marker, label=label, zorder=4, linewidth=0.8)
