"""Plots of an audit."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from nnunet_da.audit.audit import RAW, Audit
from nnunet_da.audit.measure import is_ct, prefixes
from nnunet_da.audit.probing import ALPHA
from nnunet_da.report.pictures import DOMAIN_COLOURS, Picture, style, to_picture

SHOWN_FEATURES = 12
MARKERS = ("o", "s", "^", "D")
QUANTITIES = {
    "slice_mm": "Slice spacing (mm)",
    "pixel_x_mm": "Pixel (mm)",
    "slices": "Slices",
    "field_z_mm": "Field, head to feet (mm)",
    "field_x_mm": "Field, right to left (mm)",
    "noise_hu": "Noise in soft tissue (HU)",
    "edge_bone_mm": "Bone edge, 10-90 % (mm)",
    "edge_skin_mm": "Skin edge, 10-90 % (mm)",
}


def centre_pictures(audit: Audit) -> list[Picture]:
    """One small plot per quantity that varies, one column of points per dataset."""
    pictures = []
    for name, title in QUANTITIES.items():
        values = {dataset: quantity(audit, dataset, name) for dataset in audit.datasets}
        everything = [value for of in values.values() for value in of]
        if everything and np.ptp(everything) > 1e-3 * max(map(abs, everything)):
            pictures.append(_points(values, name, title))
    return pictures


def quantity(audit: Audit, dataset: str, name: str) -> list[float]:
    """Defined values of one quantity of one dataset."""
    found = [{**one.grid.facts(), **one.raw, **one.quality}.get(name, float("nan")) for one in audit.of(dataset)]
    return [value for value in found if np.isfinite(value)]


def percentile_picture(audit: Audit, percentiles: Sequence[str], place: int) -> Picture:
    """Median over scans of each percentile of a channel's grey values, with the range of the middle half of the scans."""
    prefix = prefixes(audit.channels)[place]
    unit = "grey value (HU)" if is_ct(audit.channels[place]) else "grey value"
    with style():
        figure = Figure(figsize=(5.4, 3.3), layout="constrained")
        axes = figure.add_subplot()
        places = np.arange(len(percentiles))
        for position, dataset in enumerate(audit.datasets):
            values = np.array([[one.raw[f"{prefix}{name}"] for name in percentiles] for one in audit.of(dataset)])
            low, middle, high = np.percentile(values, [25, 50, 75], axis=0)
            colour = DOMAIN_COLOURS[position % len(DOMAIN_COLOURS)]
            axes.fill_between(places, low, high, color=colour, alpha=0.2, linewidth=0)
            axes.plot(places, middle, color=colour, marker=MARKERS[position % len(MARKERS)], label=dataset)
        axes.set_xticks(places, [str(int(name[1:])) for name in percentiles])
        axes.set_xlabel("percentile of a scan's voxels")
        axes.set_ylabel(f"{prefix}{unit}")
        figure.legend(loc="outside lower center", ncols=1, frameon=False, fontsize=9)
        described = "; ".join(
            f"{dataset}: median {np.median([one.raw[f'{prefix}p50'] for one in audit.of(dataset)]):.4g}" for dataset in audit.datasets
        )
        return to_picture(
            figure,
            f"audit-percentiles-{place}",
            f"{prefix}Percentiles of the grey values. {described}.",
            "Line: median scan; band: middle half of the scans.",
        )


def feature_picture(audit: Audit, target: str) -> Picture:
    """How well each feature tells a target from the source by itself."""
    features = audit.probes[target][RAW].features[:SHOWN_FEATURES][::-1]
    with style():
        figure = Figure(figsize=(5.4, 0.9 + 0.26 * len(features)), layout="constrained")
        axes = figure.add_subplot()
        clear = [feature.p_holm < ALPHA for feature in features]
        rows = np.arange(len(features))
        axes.hlines(rows, 0.5, [feature.auc for feature in features], color="#9a9a9a", linewidth=1.2)
        for wanted, face in ((True, DOMAIN_COLOURS[1]), (False, "white")):
            chosen = [row for row, is_clear in enumerate(clear) if is_clear == wanted]
            axes.scatter([features[row].auc for row in chosen], chosen, s=34, facecolor=face, edgecolor=DOMAIN_COLOURS[1], zorder=3)
        axes.axvline(0.5, color="#1b1f24", linewidth=0.8)
        axes.set_yticks(rows, [feature.name for feature in features])
        axes.set_xlim(-0.03, 1.03)
        axes.set_xlabel(f"AUC: above 0.5, higher at {target}")
        named = "; ".join(f"{feature.name} {feature.auc:.2f}" for feature in features[::-1])
        caption = "Filled: p below 0.05 after Holm's correction for all features."
        return to_picture(figure, f"audit-features-{target}", f"AUC of single features, {target} against {audit.source}. {named}.", caption)


def _points(values: dict[str, list[float]], name: str, title: str) -> Picture:
    with style():
        figure = Figure(figsize=(max(2.9, 1.1 * len(values) + 0.8), 2.9), layout="constrained")
        axes = figure.add_subplot()
        for position, (_, of) in enumerate(values.items()):
            colour = DOMAIN_COLOURS[position % len(DOMAIN_COLOURS)]
            spread = 0.22 * (2 * (np.arange(len(of)) * 0.6180339887 % 1) - 1)  # the golden section spreads neighbours apart
            axes.scatter(
                position + spread, of, s=14, marker=MARKERS[position % len(MARKERS)], facecolor=colour, edgecolor="white", linewidth=0.3
            )
            if of:
                axes.hlines(np.median(of), position - 0.32, position + 0.32, color=colour, linewidth=2.2)
        axes.set_xticks(range(len(values)), [dataset[len("Dataset") :].replace("_", "\n", 1) for dataset in values])
        axes.set_xlim(-0.6, len(values) - 0.4)
        axes.grid(axis="x", visible=False)
        figure.suptitle(title, fontsize=10)
        described = "; ".join(
            f"{dataset}: median {np.median(of):.4g} of {len(of)} scans" if of else f"{dataset}: none" for dataset, of in values.items()
        )
        return to_picture(figure, f"audit-{name}", f"{title}. {described}.")
