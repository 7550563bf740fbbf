"""The report's HTML page: what it says, filled into the template."""

from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import pandas as pd
from jinja2 import Environment, StrictUndefined

from nnunet_da.report.pictures import Picture
from nnunet_da.report.study import Study
from nnunet_da.report.tables import mean_sd, metric_title, number

TEMPLATE = "page.html.j2"
DEMONSTRATION = "This is a demonstration. It shows that every step runs; its numbers make no claim about domain adaptation."
HEADLINE_METRICS = {"dice": "Dice", "hd95_mm": "HD95 (mm)", "asd_mm": "ASD (mm)"}


@dataclass(frozen=True)
class Group:
    """Pictures under one heading."""

    title: str
    pictures: list[Picture]
    notes: list[str]


def render_page(study: Study, summary: pd.DataFrame, plots: list[Group], curves: list[Picture], overlays: list[Group]) -> str:
    """The whole page as one HTML text; every value from outside is escaped.

    Args:
        summary: see `summary_table`.
        plots: metric plots, one group per label and metric.
        curves: one picture per logged term.
        overlays: one group per arm.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((files("nnunet_da.report") / TEMPLATE).read_text(encoding="utf-8"))
    return template.render(
        settings=study.settings,
        demonstration_notice=DEMONSTRATION,
        sentences=_sentences(study, summary),
        headline=_headline(study, summary),
        headline_titles=list(HEADLINE_METRICS.values()),
        tables=_metric_tables(study, summary),
        plots=plots,
        curves=curves,
        overlays=overlays,
        diagnoses=[record for arm in study.arms for record in arm.diagnoses],
        undefined=_undefined(study),
        failed=[(arm.name, *entry) for arm in study.arms for entry in arm.failed],
        cases=_case_table(study),
        several_labels=len(study.labels) > 1,
    )


def _sentences(study: Study, summary: pd.DataFrame) -> list[str]:
    """What was compared and what came out, in words."""
    arms = [arm.name for arm in study.arms]
    opening = (
        f"{_count(len(arms), 'method')} ({', '.join(arms)}), scored on {_count(len(study.domains), 'domain')} ({', '.join(study.domains)})."
    )
    results = [
        f"{domain}: " + "; ".join(filter(None, (_result_words(summary, domain, label, name) for label, name in study.labels.items()))) + "."
        for domain in study.domains
    ]
    gaps = []
    if undefined := len(_undefined(study)):
        gaps.append(
            f"Where one of two masks is empty no distance is defined: {_count(undefined, 'such pair')}, left out of the means, see Gaps."
        )
    if missing := sum(len(arm.failed) for arm in study.arms):
        gaps.append(f"Not scored and therefore in no mean: {_count(missing, 'case')}, see Gaps.")
    untested = ["Differences between methods are not tested for significance here."] if len(arms) > 1 else []
    return [opening[0].upper() + opening[1:], *results, *gaps, *untested]


def _result_words(summary: pd.DataFrame, domain: str, label: str, name: str) -> str:
    rows = summary[(summary["domain"] == domain) & (summary["label"] == label) & (summary["metric"] == "dice")]
    if rows.empty:
        return ""
    means = ", ".join(f"{row['arm']} {number(row['mean'], 'fraction')} (n = {row['n']})" for _, row in rows.iterrows())
    return f"mean Dice of {name}: {means}"


def _headline(study: Study, summary: pd.DataFrame) -> list[dict[str, object]]:
    """One group per domain and label, in it one row per arm: the headline metrics and the number of cases."""
    groups: list[dict[str, object]] = []
    for (domain, label), rows in summary.groupby(["domain", "label"], sort=False):
        arms = [_headline_row(arm, group) for arm, group in rows.groupby("arm", sort=False)]
        groups.append({"title": _place(study, domain, label), "arms": arms})
    return groups


def _headline_row(arm: str, group: pd.DataFrame) -> dict[str, object]:
    return {
        "arm": arm,
        "cells": [_metric_cell(group[group["metric"] == metric]) for metric in HEADLINE_METRICS],
        "cases": int((group["n"] + group["undefined"]).max()),
    }


def _metric_tables(study: Study, summary: pd.DataFrame) -> list[dict[str, object]]:
    """One table per domain and label: a row per metric, a column per arm."""
    tables: list[dict[str, object]] = []
    for (domain, label), group in summary.groupby(["domain", "label"], sort=False):
        arms = list(dict.fromkeys(group["arm"]))
        metrics = [
            (metric_title(metric, unit), [_metric_cell(rows[rows["arm"] == arm]) for arm in arms])
            for (metric, unit), rows in group.groupby(["metric", "unit"], sort=False)
        ]
        tables.append({"title": _place(study, domain, label), "arms": arms, "metrics": metrics})
    return tables


def _metric_cell(rows: pd.DataFrame) -> dict[str, object] | None:
    if rows.empty:
        return None
    row = rows.iloc[0]
    return {"mean_sd": mean_sd(row), "median": number(row["median"], row["unit"]), "n": int(row["n"]), "undefined": int(row["undefined"])}


def _place(study: Study, domain: str, label: str) -> str:
    return f"{domain}, {study.labels[label]}"


def _undefined(study: Study) -> list[tuple[str, str, str, str]]:
    """(arm, domain, case, label name) where HD95 is undefined."""
    return [
        (arm.name, row.domain, row.case, study.labels[row.label])
        for arm in study.arms
        for row in arm.metrics[(arm.metrics["metric"] == "hd95_mm") & arm.metrics["value"].isna()].itertuples()
    ]


def _case_table(study: Study) -> list[dict[str, object]]:
    """One row per arm, domain, case and label with the headline metrics, worst Dice first."""
    rows: list[dict[str, object]] = []
    for arm in study.arms:
        wide = arm.metrics.pivot(index=["domain", "case", "label"], columns="metric", values="value").reset_index()
        for _, row in wide.iterrows():
            values = [row.get(metric, np.nan) for metric in HEADLINE_METRICS]
            cells = [
                number(value, "fraction" if metric == "dice" else "mm") for metric, value in zip(HEADLINE_METRICS, values, strict=True)
            ]
            label = study.labels[row["label"]]
            rows.append({"arm": arm.name, "domain": row["domain"], "case": row["case"], "label": label, "cells": cells, "dice": values[0]})
    return sorted(rows, key=lambda row: float(row["dice"]))  # type: ignore[arg-type]


def _count(number_of: int, noun: str) -> str:
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    shown = words[number_of] if number_of < len(words) else str(number_of)
    return f"{shown} {noun}{'' if number_of == 1 else 's'}"
