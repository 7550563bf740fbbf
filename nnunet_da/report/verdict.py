"""The answer in words: did the target improve, did the source suffer."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from nnunet_da.evaluation.statistics import direction
from nnunet_da.report.comparison import SEED_INTERVAL, Comparison
from nnunet_da.report.provenance import SOURCE, TARGET, UNSEEN
from nnunet_da.report.study import Study
from nnunet_da.report.tables import metric_title, number

JUDGED_METRICS = ("dice", "hd95_mm", "asd_mm")
SPELLED_LABELS = 3  # more labels are counted, not spelled out
QUESTIONS = {TARGET: "Target improved?", SOURCE: "Source kept?", UNSEEN: "Other site improved?", "": "Improved?"}
ANSWERS = {  # (role is source, kind of result) -> first words
    (False, "better"): "Improved",
    (False, "worse"): "Worse",
    (False, "mixed"): "Mixed",
    (False, "open"): "No difference shown",
    (False, "hint better"): "Perhaps improved, not significant",
    (False, "hint worse"): "Perhaps worse, not significant",
    (True, "hint better"): "Perhaps improved, not significant",
    (True, "hint worse"): "Perhaps suffered, not significant",
    (True, "better"): "Improved",
    (True, "worse"): "Suffered",
    (True, "mixed"): "Mixed",
    (True, "open"): "No harm shown",
    (False, "untested"): "Not tested",
    (True, "untested"): "Not tested",
}


@dataclass(frozen=True)
class Verdict:
    """What one method did in one domain, held against the baseline.

    Attributes:
        method: the method held against the baseline.
        domain: where.
        role: "source", "target", "unseen" or "".
        kind: see `kind_of`.
        answer: the first words.
        details: one sentence per label and judged metric, or counts over many labels.
    """

    method: str
    domain: str
    role: str
    kind: str
    answer: str
    details: list[str]

    @property
    def question(self) -> str:
        return QUESTIONS[self.role]


def verdicts(study: Study) -> list[Verdict]:
    """One per method but the baseline and domain, targets first; empty without a comparison."""
    comparison = study.comparison
    if comparison is None:
        return []
    domains = sorted(dict.fromkeys(comparison.table["domain"]), key=lambda domain: list(QUESTIONS).index(study.role(domain)))
    return [_verdict(study, comparison, method, domain) for method in comparison.others for domain in domains]


def how_to_compare(study: Study) -> str:
    """The command that would test the difference; "" with one arm."""
    arms = [arm for arm in study.arms if arm.evaluations]
    if len(arms) < 2:
        return ""
    folders = [arm.evaluations[0].split("/")[0] for arm in arms]
    return shlex.join(["nnunet-da", "compare", *folders, "-o", "comparison", *(["--overwrite"] if study.outdated else [])])


def kind_of(rows: pd.DataFrame) -> str:
    """What rows of one pair of methods say together.

    "better", "worse" and "mixed" go by the column `better`, a corrected test. Without one, "hint better" and "hint worse" say that the
    uncorrected interval of some metric leaves 0 out, all to one side; "open" that none does, or both; "untested" that there is no p.
    """
    if rows.empty or rows["p_holm"].isna().all():
        return "untested"
    tested = frozenset(rows["better"]) - {""}
    if tested:
        return {frozenset({"second"}): "better", frozenset({"first"}): "worse"}.get(tested, "mixed")
    hints = frozenset(_side(row) for _, row in rows.iterrows()) - {0}
    return {frozenset({1}): "hint better", frozenset({-1}): "hint worse"}.get(hints, "open")


def _side(row: pd.Series) -> int:
    """1 where the interval lies on the side where the second method is better, -1 on the other, 0 where it holds 0 or there is none."""
    low, high = interval(row)
    if not np.isfinite(low) or low <= 0 <= high:
        return 0
    return direction(row["metric"]) * (1 if low > 0 else -1)


def difference_words(row: pd.Series) -> str:
    """Difference with its interval, p and the number of cases: second minus first, in the shown unit."""
    unit = row["unit"]
    low, high = interval(row)
    between = f"95 % interval {signed(low, unit)} to {signed(high, unit)}; " if np.isfinite(low) else ""
    p = p_value(row["p_holm"])
    tested = (f"p {p}" if p[0] == "<" else f"p = {p}") if np.isfinite(row["p_holm"]) else "not tested"
    return f"{metric_title(row['metric'], unit)} {signed(row['difference'], unit)} ({between}{tested}; n = {int(row['n'])})"


def interval(row: pd.Series) -> tuple[float, float]:
    """95 % interval of the difference: over cases and seeds where there are several seeds, else over cases."""
    seeds = tuple(float(row[column]) for column in SEED_INTERVAL)
    return seeds if row["n_seeds"] > 1 and np.isfinite(seeds).all() else (float(row["ci_low"]), float(row["ci_high"]))  # type: ignore[return-value]


def signed(value: float, unit: str) -> str:
    """A difference with its sign in the unit the report shows, one decimal more than a value."""
    text = number(value, unit, more_decimals=1)
    if not text.strip("−0."):
        return text.lstrip("−")
    return text if text[0] in "−–" else f"+{text}"


def p_value(value: float) -> str:
    """Three decimals, "<0.001" below, an en dash where it is not defined."""
    if not np.isfinite(value):
        return "–"
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _verdict(study: Study, comparison: Comparison, method: str, domain: str) -> Verdict:
    table = comparison.table
    pair = table[(table["first"] == comparison.baseline) & (table["second"] == method) & (table["domain"] == domain)]
    judged = pair[pair["metric"].isin(JUDGED_METRICS)]
    if judged.empty:
        judged = pair[[bool(direction(metric)) for metric in pair["metric"]]]
    role, kind = study.role(domain), kind_of(judged)
    return Verdict(method, domain, role, kind, ANSWERS[role == SOURCE, kind], list(_details(study, judged, role, kind)))


def _details(study: Study, judged: pd.DataFrame, role: str, kind: str) -> Iterator[str]:
    labels = list(dict.fromkeys(judged["label"]))
    if len(labels) > SPELLED_LABELS:
        kinds = [kind_of(rows) for _, rows in judged.groupby("label", sort=False)]
        counts = {word: kinds.count(name) for name, word in (("better", "better"), ("worse", "worse"), ("mixed", "mixed"))}
        yield f"Of {len(labels)} labels: " + ", ".join(f"{count} {word}" for word, count in counts.items()) + ", the rest not shown."
        return
    for _, row in judged.iterrows():
        name = f"{study.labels.get(row['label'], row['label'])}: " if len(labels) > 1 else ""
        yield name + difference_words(row)
    if role == SOURCE and kind == "open":
        yield from _room_for_harm(judged)


def _room_for_harm(judged: pd.DataFrame) -> Iterator[str]:
    """What the interval of Dice leaves open: "no harm shown" is not "no harm"."""
    for _, row in judged[judged["metric"] == "dice"].head(1).iterrows():
        low = interval(row)[0]
        if np.isfinite(low) and low < 0:
            yield f"The interval leaves room for a loss of {number(-low, row['unit'], more_decimals=1)} Dice."
