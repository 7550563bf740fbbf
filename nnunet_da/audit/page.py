"""The audit's HTML page: tables and pictures filled into the template, in the look of the report."""

from collections.abc import Sequence

import numpy as np
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from nnunet_da.audit.audit import RAW, Audit
from nnunet_da.audit.findings import NO_PROOF, PROBE_TITLES, findings, gaps
from nnunet_da.audit.labels import PROTOCOL
from nnunet_da.audit.measure import HU_PERCENTILES, prefixes
from nnunet_da.audit.pictures import QUANTITIES, centre_pictures, feature_picture, percentile_picture, quantity
from nnunet_da.audit.words import number, short
from nnunet_da.outputs import versions_of
from nnunet_da.report.cells import MARKS, Cell, Row, Table

TEMPLATE = "audit.html.j2"
MOST_ROWS = 200  # of any list on the page; audit.json has them all
NOTHING = "–"


def render_page(audit: Audit, command: str) -> str:
    """The whole page as one HTML text; every value from outside is escaped."""
    loader = ChoiceLoader([PackageLoader("nnunet_da.audit"), PackageLoader("nnunet_da.report")])
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template(TEMPLATE).render(
        audit=audit,
        title=f"Audit of {audit.source} and {', '.join(audit.targets)}",
        counts=[(name, len(audit.of(name))) for name in audit.datasets],
        findings=findings(audit),
        gaps=gaps(audit),
        no_proof=NO_PROOF,
        marks=MARKS,
        leaks=_leaks(audit),
        centres=_centres(audit),
        centre_pictures=centre_pictures(audit),
        percentiles=[percentile_picture(audit, HU_PERCENTILES, place) for place in range(len(audit.channels))],
        in_hu=_in_hu(audit),
        probes=_probes(audit),
        features={target: (feature_picture(audit, target), _features(audit, target)) for target in _probed(audit)},
        sides=_sides(audit),
        labels=_labels(audit),
        most_rows=MOST_ROWS,
        command=command,
        versions=versions_of("nnunetv2", "numpy", "scipy", "scikit-learn", "SimpleITK"),
    )


def _in_hu(audit: Audit) -> bool:
    return any(one.quality for one in audit.measured)


def _probed(audit: Audit) -> list[str]:
    return [target for target in audit.targets if audit.probes[target][RAW].features]


def _centres(audit: Audit) -> Table:
    """Median and range of every quantity per dataset."""
    first = prefixes(audit.channels)[0]
    titles = {**QUANTITIES, **({f"{first}{name}": f"Percentile {int(name[1:])} (HU)" for name in HU_PERCENTILES} if _in_hu(audit) else {})}
    rows = []
    for name, title in titles.items():
        values = [quantity(audit, dataset, name) for dataset in audit.datasets]
        if any(values):
            whole = all(value.is_integer() for of in values for value in of)
            rows.append(Row(Cell(title), [_spread(of, whole) for of in values]))
    columns = ["Quantity", *map(short, audit.datasets)]
    return Table("centres", "Median scan, and below it the range of all scans", columns, [("", rows)])


def _spread(values: Sequence[float], whole: bool) -> Cell:
    if not values:
        return Cell(NOTHING, "not measurable")
    low, middle, high = (number(value, whole) for value in np.percentile(values, [0, 50, 100]))
    return Cell(middle, f"{low} to {high}" if low != high else "all alike")


def _leaks(audit: Audit) -> Table:
    rows = [
        Row(Cell(leak.kind), [Cell(text) for text in (leak.first.name, leak.second.name, leak.between, leak.detail)])
        for leak in audit.leaks[:MOST_ROWS]
    ]
    return Table("leaks", "Pairs that must not stand on two sides", ["Kind", "First", "Second", "Between", "How it shows"], [("", rows)], 4)


def _probes(audit: Audit) -> Table:
    groups = []
    for target, probes in audit.probes.items():
        rows = []
        for name, probe in probes.items():
            result = probe.result
            if result is None:
                cells = [Cell(NOTHING), Cell(NOTHING), Cell(NOTHING), Cell(str(len(probe.features)))]
            else:
                verdict = "at chance" if result.at_chance else "above chance"
                chance = f"{result.null_low:.2f} to {result.null_high:.2f}"
                cells = [Cell(f"{result.auc:.3f}", verdict), Cell(chance), Cell(f"{result.p_value:.3f}"), Cell(str(len(probe.features)))]
            rows.append(Row(Cell(PROBE_TITLES[name], probe.gap), cells))  # words that long would push the numbers off a narrow screen
        groups.append((f"{target} against {audit.source}", rows))
    columns = ["What the probe sees", "AUC", "By chance (95 %)", "p", "Features"]
    return Table("probes", "How well a linear probe tells the sites apart", columns, groups)


def _features(audit: Audit, target: str) -> Table:
    rows = [
        Row(
            Cell(feature.name),
            [
                Cell(f"{feature.auc:.3f}"),
                Cell(f"{feature.p_holm:.3g}" if np.isfinite(feature.p_holm) else NOTHING),
                Cell(number(feature.median_source)),
                Cell(number(feature.median_target)),
            ],
        )
        for feature in audit.probes[target][RAW].features
    ]
    columns = ["Feature", "AUC", "p (Holm)", f"Median {short(audit.source)}", f"Median {short(target)}"]
    return Table(f"features-{target}", f"Single features of the scans, {target} against {audit.source}", columns, [("", rows)])


def _sides(audit: Audit) -> Table:
    rows = []
    for dataset in audit.datasets:
        codes = ", ".join(f"{count} {code}" for code, count in audit.orientations[dataset].items())
        own = [place for place, one in enumerate(audit.measured) if one.scan.dataset == dataset]
        mirrored = [f"{len(set(own) & set(f.mirrored))} of {len(own)}" if f.informative else "cannot be said" for f in audit.flips]
        noted = ", ".join(f"{count} {side}" for side, count in audit.sides.get(dataset, {}).items()) or NOTHING
        labels = [one.labels for one in audit.of(dataset) if one.labels]
        rows.append(Row(Cell(dataset), [Cell(codes), *map(Cell, mirrored), Cell(noted), Cell(_label_sides(labels))]))
    columns = ["Dataset", "Header", *(f"Mirrored {flips.axis}" for flips in audit.flips), "Noted side", "Labels lie (of the body's middle)"]
    return Table("sides", "How the scans lie", columns, [("", rows)], len(columns) - 1)


def _label_sides(labels: list[dict[str, dict[str, float]]]) -> str:
    """How often each label lies left and right of the body's middle."""
    words = []
    for name in dict.fromkeys(name for of in labels for name in of):
        sides = [of[name]["side_mm"] for of in labels if name in of]
        words.append(f"{name}: {sum(side > 0 for side in sides)} left, {sum(side <= 0 for side in sides)} right")
    return "; ".join(words) or "not opened"


def _labels(audit: Audit) -> Table | None:
    if not audit.labels:
        return None
    groups: dict[str, list[Row]] = {}
    for entry in audit.labels:
        cells = [_summary(entry.measure, entry.medians.get(dataset)) for dataset in audit.datasets]
        p_values = [Cell(f"{entry.p_holm[target]:.3g}" if target in entry.p_holm else NOTHING) for target in audit.targets]
        groups.setdefault(entry.label, []).append(Row(Cell(PROTOCOL[entry.measure]), [*cells, *p_values]))
    columns = ["Measure", *map(short, audit.datasets), *(f"p (Holm), {short(target)}" for target in audit.targets)]
    return Table("labels", "How labels were drawn: median, middle half, scans", columns, list(groups.items()))


def _summary(measure: str, values: tuple[float, float, float, int] | None) -> Cell:
    if values is None:
        return Cell(NOTHING, "not opened")
    if measure == "touches_end":
        return Cell(f"{values[0]:.0%}", f"n = {values[3]}")
    middle, low, high = (number(value) for value in values[:3])
    return Cell(middle, f"{low} to {high}, n = {values[3]}")
