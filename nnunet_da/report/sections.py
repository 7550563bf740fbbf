"""The tables of a report: metrics, differences, agreement, and how the arms were made."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from nnunet_da.report.cells import BETTER, WORSE, Cell, Row, Table
from nnunet_da.report.pictures import file_name
from nnunet_da.report.provenance import SETTINGS_KEY
from nnunet_da.report.radiomics import PREDICTION, mask_title, null_masks
from nnunet_da.report.study import Arm, Study
from nnunet_da.report.tables import SHOWN_UNITS, best_arms, mean_sd, metric_title, number
from nnunet_da.report.verdict import interval, p_value, signed

HEADLINE_METRICS = {"dice": "Dice", "hd95_mm": "HD95 (mm)", "asd_mm": "ASD (mm)"}


def headline_table(study: Study, summary: pd.DataFrame) -> Table:
    """One group per domain and label, in it one row per arm: the headline metrics and the number of cases."""
    groups = []
    for (domain, label), rows in summary.groupby(["domain", "label"], sort=False):
        cells = {metric: _metric_cells(study, rows[rows["metric"] == metric], brief=True) for metric in HEADLINE_METRICS}
        arms = [
            Row(Cell(arm), [*(cells[metric].get(arm, Cell("–")) for metric in HEADLINE_METRICS), Cell(_cases(found))])
            for arm, found in rows.groupby("arm", sort=False)
        ]
        groups.append((place(study, domain, label), arms))
    return Table("headline", "Mean ± standard deviation over cases.", ["Method", *HEADLINE_METRICS.values(), "Cases"], groups)


def metric_tables(study: Study, summary: pd.DataFrame) -> list[Table]:
    """One table per domain and label: a row per metric, a column per arm."""
    tables = []
    for (domain, label), group in summary.groupby(["domain", "label"], sort=False):
        arms = list(dict.fromkeys(group["arm"]))
        rows = []
        for (metric, unit), found in group.groupby(["metric", "unit"], sort=False):
            cells = _metric_cells(study, found)
            rows.append(Row(Cell(metric_title(metric, unit)), [cells.get(arm, Cell("–")) for arm in arms]))
        name = file_name("metrics", str(domain), str(label))
        tables.append(Table(name, place(study, domain, label), ["Metric", *arms], [("", rows)]))
    return tables


def difference_tables(study: Study) -> list[Table]:
    """One table per pair of methods, the baseline's pairs first: differences, intervals, tests."""
    if study.comparison is None:
        return []
    pairs = study.comparison.table.groupby(["first", "second"], sort=False)
    ordered = sorted(pairs, key=lambda pair: pair[0][0] != study.baseline)
    return [_difference_table(study, first, second, rows) for (first, second), rows in ordered]


def anova_table(study: Study) -> Table | None:
    """All methods at once, where there are three or more."""
    if study.comparison is None or study.comparison.anova.empty:
        return None
    found = study.comparison.anova
    groups = []
    for (domain, label), rows in found.groupby(["domain", "label"], sort=False):
        lines = [
            Row(
                Cell(metric_title(row["metric"], ""), small=row["note"]),
                [
                    Cell(_whole(row["n"])),
                    Cell(_plain(row["f_repeated"], 2), small=f"{_plain(row['df1'], 0)}, {_plain(row['df2'], 0)} df"),
                    Cell(p_value(row["p_repeated"])),
                    Cell(p_value(row["p_greenhouse_geisser"])),
                    Cell(_plain(row["f_plain"], 2)),
                    Cell(p_value(row["p_plain"])),
                ],
            )
            for _, row in rows.iterrows()
        ]
        groups.append((place(study, domain, label), lines))
    columns = ["Metric", "n", "F, repeated measures", "p", "p, Greenhouse-Geisser", "F, plain", "p, plain"]
    methods = found["methods"].iloc[0].replace(" | ", ", ")
    return Table("anova", f"Analysis of variance over {methods}", columns, groups, numbers=found)


def feature_table(study: Study, arm: Arm) -> Table | None:
    """One row per family of features, domain and label: how the prediction's features agree, and how the nulls' do."""
    if arm.radiomics is None or arm.radiomics.agreement.empty:
        return None
    found = arm.radiomics.agreement
    masks = [PREDICTION, *null_masks(found)]
    groups = []
    for (domain, label), rows in found.groupby(["domain", "label"], sort=False):
        lines = [Row(Cell(family), list(_family_cells(part, masks))) for family, part in rows.groupby("family", sort=False)]
        groups.append((place(study, domain, label), [*lines, Row(Cell("all features"), list(_family_cells(rows, masks)))]))
    columns = ["Family", "Features", "Not defined", "Median bias (%)", *(mask_title(mask) for mask in masks)]
    caption = f"{arm.name}: median CCC of the features with those of the reference"
    return Table(file_name("features", arm.name), caption, columns, groups, numbers=found)


def endpoint_table(study: Study, arm: Arm) -> Table | None:
    """One row per endpoint, domain and label: prediction against reference, and the nulls' CCC beside it."""
    if arm.radiomics is None or arm.radiomics.endpoint_agreement.empty:
        return None
    found = arm.radiomics.endpoint_agreement
    masks = null_masks(found)
    groups = []
    for (domain, label), rows in found.groupby(["domain", "label"], sort=False):
        nulls = {(row["mask"], row["endpoint"]): row["ccc"] for _, row in rows.iterrows()}
        lines = [
            _endpoint_row(row, [nulls.get((mask, row["endpoint"]), np.nan) for mask in masks])
            for _, row in rows[rows["mask"] == PREDICTION].iterrows()
        ]
        groups.append((place(study, domain, label), lines))
    columns = ["Endpoint", "n", "Bias", "Bias (%)", "CCC", "ICC(A,1)", "R² of correlation", "R² against identity"]
    columns += [f"CCC, {mask_title(mask)}" for mask in masks]
    return Table(file_name("endpoints", arm.name), f"{arm.name}: endpoints of the prediction", columns, groups, numbers=found)


def settings_table(study: Study) -> Table | None:
    """What the plans beside the predictions say of each arm; None where there are none."""
    described = {arm.name: _described(arm) for arm in study.arms}
    names = list(dict.fromkeys(name for entries in described.values() for name in entries))
    if not any(arm.provenance.plans for arm in study.arms):
        return None
    rows = [Row(Cell(name), [Cell(entries.get(name, "–")) for entries in described.values()]) for name in names]
    return Table("plans", "Trainer, plans and settings", ["", *described], [("", rows)], text_columns=len(described))


def place(study: Study, domain: object, label: object) -> str:
    """A domain with its role, and a label by its name."""
    return f"{with_role(study, str(domain))}, {study.labels.get(str(label), label)}"


def with_role(study: Study, domain: str) -> str:
    """The domain, and whether it is source or target where that is known."""
    role = study.role(domain)
    return f"{domain} ({role})" if role else domain


def endpoint_unit(endpoint: str) -> str:
    """Unit of an endpoint by the end of its name, as in metrics.csv; "" where it has none."""
    units = {"_mm3": "mm3", "_mm": "mm", "_hu": "HU", "_mg_cm3": "mg/cm3", "_mg": "mg"}
    return next((unit for ending, unit in units.items() if endpoint.endswith(ending)), "")


def endpoint_title(endpoint: str) -> str:
    """An endpoint in words, without its unit."""
    unit = endpoint_unit(endpoint)
    words = endpoint[: -len(unit) - 1] if unit else endpoint
    return {"bmd": "BMD", "bmc": "BMC", "mean": "mean density", "cortical": "cortical density"}.get(words, words.replace("_", " "))


def _metric_cells(study: Study, rows: pd.DataFrame, brief: bool = False) -> dict[str, Cell]:
    """Arm -> cell, of one domain, label and metric."""
    if rows.empty:
        return {}
    best = best_arms(rows)
    cells = {}
    for _, row in rows.iterrows():
        small = "" if brief else f"median {number(row['median'], row['unit'])}, n {int(row['n'])}"
        warn = f"{int(row['undefined'])} undefined" if row["undefined"] else ""
        cells[row["arm"]] = Cell(mean_sd(row), small, warn, row["arm"] in best, _mark(study, row))
    return cells


def _mark(study: Study, row: pd.Series) -> str:
    """Whether an arm differs from the baseline by a test."""
    if study.comparison is None:
        return ""
    found = study.comparison.row(study.baseline, row["arm"], row["domain"], row["label"], row["metric"])
    return "" if found is None else {"second": BETTER, "first": WORSE, "": ""}[found["better"]]


def _difference_table(study: Study, first: str, second: str, rows: pd.DataFrame) -> Table:
    groups = [
        (place(study, domain, label), [_difference_row(row) for _, row in part.iterrows()])
        for (domain, label), part in rows.groupby(["domain", "label"], sort=False)
    ]
    columns = ["Metric", "n", "Difference", "p (t, Holm)", "p (Wilcoxon, Holm)", "d", "Wins, ties, losses"]
    return Table(file_name("differences", first, second), f"{second} minus {first}", columns, groups, numbers=rows)


def _difference_row(row: pd.Series) -> Row:
    low, high = interval(row)
    unit = row["unit"]
    bounds = f"95 %: {signed(low, unit)} to {signed(high, unit)}" if np.isfinite(low) else ""
    counts = [row["wins"], row["ties"], row["losses"]]
    mark = {"second": BETTER, "first": WORSE, "": ""}[row["better"]]
    undefined = f"{int(row['n_undefined'])} undefined" if row["n_undefined"] > 0 else ""
    cells = [
        Cell(_whole(row["n"]), warn=undefined),
        Cell(signed(row["difference"], unit), small=bounds, mark=mark),
        Cell(p_value(row["p_holm"]), small=f"t {_plain(row['t'], 2)}, p {p_value(row['p_t'])}"),
        Cell(p_value(row["p_wilcoxon_holm"]), small=f"p {p_value(row['p_wilcoxon'])}"),
        Cell(_plain(row["cohen_dz"], 2)),
        Cell(", ".join(map(_whole, counts)) if np.isfinite(counts).all() else "–"),
    ]
    return Row(Cell(metric_title(row["metric"], unit), small=row["note"]), cells)


def _endpoint_row(row: pd.Series, null_cccs: list[float]) -> Row:
    unit = endpoint_unit(row["endpoint"])
    shown = SHOWN_UNITS.get(unit, ("",))[0]
    cells = [
        Cell(_whole(row["n"])),
        Cell(signed(row["bias"], unit), small=f"limits {signed(row['loa_low'], unit)} to {signed(row['loa_high'], unit)}"),
        Cell(_plain(row["bias_percent"], 1)),
        Cell(_plain(row["ccc"], 3)),
        Cell(_plain(row["icc_a1"], 3)),
        Cell(_plain(row["r2_correlation"], 3), small=f"p {p_value(row['r2_p'])}"),
        Cell(_plain(row["r2_identity"], 3)),
        *(Cell(_plain(ccc, 3)) for ccc in null_cccs),
    ]
    return Row(Cell(endpoint_title(row["endpoint"]) + (f" ({shown})" if shown else ""), small=row["note"]), cells)


def _family_cells(rows: pd.DataFrame, masks: list[str]) -> Iterator[Cell]:
    own = rows[rows["mask"] == PREDICTION]
    yield Cell(str(len(own)))
    yield Cell(str(int(own["ccc"].isna().sum())))
    yield Cell(_plain(own["bias_percent"].median(), 1))
    for mask in masks:
        yield Cell(_plain(rows.loc[rows["mask"] == mask, "ccc"].median(), 3))


def _described(arm: Arm) -> dict[str, str]:
    """What there is to say of an arm's making, in order."""
    provenance, plans = arm.provenance, arm.provenance.plans
    network = provenance.configuration.get("architecture", {}).get("network_class_name", "")
    entries = {
        "trainer": provenance.trainer or "not recorded",
        "plans": plans.get("plans_name", "not recorded"),
        "configuration": provenance.configuration_name or "not recorded",
        "trained on": provenance.source or "not recorded",
        "network": network.rsplit(".", 1)[-1],
        **{name: _listed(provenance.configuration.get(name)) for name in ("patch_size", "batch_size", "spacing")},
    }
    settings = {name: _listed(value) for name, value in provenance.settings.items() if name != SETTINGS_KEY}
    return {name: text for name, text in {**entries, **settings}.items() if text}


def _listed(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, (list, tuple)):
        return " × ".join(f"{entry:.4g}" if isinstance(entry, float) else str(entry) for entry in value) or "none"
    return "" if value is None else str(value)


def _cases(rows: pd.DataFrame) -> str:
    return str(int((rows["n"] + rows["undefined"]).max()))


def _whole(value: float) -> str:
    return "–" if not np.isfinite(value) else str(int(value))


def _plain(value: float, decimals: int) -> str:
    if not np.isfinite(value):
        return "–"
    text = f"{value:,.{decimals}f}".replace(",", "\N{NARROW NO-BREAK SPACE}").replace("-", "−")
    return text if text.strip("−0.") else text.lstrip("−")  # no minus before a zero
