"""The answer of a study in sentences."""

from typing import Any

import numpy as np
import pandas as pd

from nnunet_da.evaluation.comparison_text import number
from nnunet_da.study.statistics.analysis import StudyAnswer
from nnunet_da.study.statistics.contrasts import GATE
from nnunet_da.study.statistics.declaration import Declaration
from nnunet_da.study.statistics.non_inferiority import INCONCLUSIVE, INFERIOR, NON_INFERIOR, NOT_ESTIMABLE
from nnunet_da.study.statistics.primary import CANNOT_TELL, HARMED, HELPED, NO_HELP, Primary

NAMES = {"dice": "Dice", "iou": "IoU"}
OPENINGS = {HELPED: "Adaptation helped", HARMED: "Adaptation harmed", NO_HELP: "Adaptation did not help"}


def metric_name(metric: str) -> str:
    """A metric as a reader knows it, without its unit."""
    if metric.startswith("nsd_"):
        return f"NSD at {metric.removeprefix('nsd_').removesuffix('mm')} mm"
    return NAMES.get(metric) or (metric.removesuffix("_mm").replace("_", " ").upper() if metric.endswith("_mm") else metric)


def amount(value: float, unit: str, sign: bool = False) -> str:
    """A number with its unit."""
    return shown(value, unit, sign) + (" mm" if unit == "mm" and np.isfinite(value) else "")


def shown(value: float, unit: str, sign: bool = False) -> str:
    """A number with the digits of its unit, without a minus before a zero."""
    text = number(value, unit, sign)
    return text if text.strip("+-0.") else text.lstrip("+-") or text


def bounds(low: float, high: float, unit: str) -> str:
    """An interval with its unit once."""
    return f"{shown(low, unit, True)} to {amount(high, unit, True)}"


def level(declaration: Declaration) -> str:
    """ "95 %" for an alpha of 0.05."""
    return f"{100 * declaration.confidence:g} %"


def p_words(p: float) -> str:
    """p for a sentence; "not tested" where it is not defined."""
    return "not tested" if not np.isfinite(p) else "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def primary_sentence(answer: StudyAnswer) -> str:
    """The answer to the declared question, in one sentence with its interval."""
    primary, declaration = answer.primary, answer.declaration
    if primary is None:
        arms = f"{declaration.primary_method} and {declaration.baseline}"
        return f"Whether adaptation helped cannot be told: {arms} have no trained model in common."
    where = f"{primary.arm} against {primary.baseline}, {metric_name(primary.metric)} in {primary.domain}"
    numbers = f"{where}: {_numbers(primary, declaration)}"
    if primary.kind == CANNOT_TELL:
        return f"Whether adaptation helped cannot be told: {primary.reason} ({numbers})."
    return f"{OPENINGS[primary.kind]}{_size_words(primary)} ({numbers})."


def supporting_sentences(answer: StudyAnswer) -> list[str]:
    """Pairs of seeds, bootstrap, ranks, mixed model and failures of the primary contrast."""
    primary = answer.primary
    if primary is None:
        return []
    found = (_by_seed(primary, answer.declaration), _bootstrap(primary), _ranks(primary), _mixed(primary), _failed(primary))
    return [text for text in found if text]


def source_sentences(answer: StudyAnswer) -> list[str]:
    """Source non-inferiority of the primary method, one sentence per margin."""
    rows = answer.non_inferiority[answer.non_inferiority["role"] == GATE].to_dict("records")
    return [_margin_sentence(row, answer.declaration) for row in rows]


def gap_sentences(answer: StudyAnswer) -> list[str]:
    """Gap closed by the primary method on the endpoint, in every target."""
    rows = answer.gap[(answer.gap["arm"] == answer.declaration.primary_method) & (answer.gap["metric"] == answer.declaration.endpoint)]
    return [_gap_sentence(row, answer.declaration) for row in rows[rows["label"] == answer.label].to_dict("records")]


def claims_sentence(answer: StudyAnswer) -> str:
    """What else may be claimed after the fixed order of tests."""
    columns = ["arm", "role", "claim", "better"]
    rows = pd.concat([answer.contrasts[columns], answer.non_inferiority.assign(better="margin")[columns]])
    rest = rows[rows["role"] == "secondary"]
    if rest.empty:
        return ""
    if (rest["claim"] == "not reached").any():
        return "All further comparisons are exploratory: an earlier step of the declared order was not shown."
    tested, found = int((rest["claim"] != "not estimable").sum()), rest[rest["claim"] == "shown"]
    if not tested:
        return "No further comparison can be tested."
    kept, better = int((found["better"] == "margin").sum()), int((found["better"] == found["arm"]).sum())
    return (
        f"Of {tested} further comparisons {len(found)} are shown after Holm's correction: {better} better and"
        f" {len(found) - kept - better} worse than the baseline, {kept} within a margin on the source."
    )


def _numbers(primary: Primary, declaration: Declaration) -> str:
    estimate, unit = primary.estimate, primary.unit
    change = f"from {shown(primary.mean_baseline, unit)} to {amount(primary.mean_arm, unit)}, by {amount(estimate.value, unit, True)}"
    counts = f"{_counted(estimate.n_runs, 'trained model')} per arm, {_counted(estimate.n_cases, 'case')}"
    return "; ".join(filter(None, [change, _interval(primary, declaration), counts]))


def _interval(primary: Primary, declaration: Declaration) -> str:
    estimate, unit = primary.estimate, primary.unit
    if np.isfinite(estimate.low):
        return f"{level(declaration)} interval over trainings and cases {bounds(estimate.low, estimate.high, unit)}, {p_words(estimate.p)}"
    if np.isfinite(primary.low_cases):
        alone = bounds(primary.low_cases, primary.high_cases, unit)
        return f"{level(declaration)} interval over cases alone, for these trained models and no others, {alone}"
    return ""


def _size_words(primary: Primary) -> str:
    gain = amount(primary.least_gain, primary.unit)
    if primary.kind == NO_HELP:
        return f": a gain of {gain}, the least that would matter, is ruled out"
    best = max(primary.direction * primary.estimate.low, primary.direction * primary.estimate.high)
    small = primary.kind == HELPED and best < primary.least_gain
    return f", but by less than {gain}, the least that would matter" if small else ""


def _by_seed(primary: Primary, declaration: Declaration) -> str:
    paired, unit = primary.by_seed, primary.unit
    if paired is None or not np.isfinite(paired.low):
        return ""
    within = f"{level(declaration)} interval {bounds(paired.low, paired.high, unit)}, {p_words(paired.p)}"
    return f"Trainings of one seed paired, for they start from the same weights: {within} (it does not decide)."


def _bootstrap(primary: Primary) -> str:
    if not np.isfinite(primary.boot_low):
        return ""
    drawn = bounds(primary.boot_low, primary.boot_high, primary.unit)
    return f"Two-level bootstrap, trainings and cases drawn anew: 95 % interval {drawn} (unreliable with few trainings)."


def _ranks(primary: Primary) -> str:
    ranks, (low, high) = primary.ranks, primary.ranks.interval
    if not np.isfinite(ranks.share):
        return ""
    within = f" ({100 * low:.0f} to {100 * high:.0f} %, {p_words(ranks.estimate.p)})" if np.isfinite(low) else ""
    return (
        f"By ranks, a failed segmentation being the worst: {primary.arm} is the better one in {100 * ranks.share:.0f} % of pairs{within}."
    )


def _mixed(primary: Primary) -> str:
    model, unit = primary.mixed_model, primary.unit
    if not np.isfinite(model.se):
        return f"Mixed model by REML: {model.note}."
    scatter = f"SD between trainings {amount(model.sd_run, unit)}, between cases {amount(model.sd_case, unit)}"
    said = f"{amount(model.value, unit, True)}, standard error {amount(model.se, unit)}, {p_words(model.p)}; {scatter}"
    return f"Mixed model by REML: {said}{f'; {model.note}' if model.note else ''}."


def _failed(primary: Primary) -> str:
    found = primary.failures
    if not found.failed_baseline and not found.failed_method:
        return "No segmentation failed."
    said = f"{primary.arm} {found.failed_method}, {primary.baseline} {found.failed_baseline} of {found.n}"
    if not found.only_baseline and not found.only_method:
        return f"Failed segmentations: {said}, the same ones."
    return f"Failed segmentations: {said}; exact McNemar over all {p_words(found.p_mcnemar)}, each case once {p_words(found.p_cases)}."


def _margin_sentence(row: dict[str, Any], declaration: Declaration) -> str:
    unit, what = row["unit"], f"{metric_name(row['metric'])} of the source {row['domain']}"
    margin = amount(row["margin"], unit)
    if row["verdict"] == NOT_ESTIMABLE:
        return f"Whether {row['arm']} keeps {what} within {margin} is not estimable: {row['note']}."
    said, so = {
        NON_INFERIOR: (f"{row['arm']} is non-inferior", "a loss beyond the margin is ruled out"),
        INFERIOR: (f"{row['arm']} is inferior", "the loss is beyond the margin"),
        INCONCLUSIVE: (f"{row['arm']} is neither shown to be non-inferior nor inferior", "a loss beyond the margin is possible"),
    }[row["verdict"]]
    within = f"{level(declaration)} interval {bounds(row['ci_low'], row['ci_high'], unit)}; margin {margin}"
    so = row["note"] if row["verdict"] == INCONCLUSIVE and row["note"] else so
    return f"{what}: {said}, {so} (loss {amount(row['loss'], unit, True)}, {within})."


def _gap_sentence(row: dict[str, Any], declaration: Declaration) -> str:
    where = f"{metric_name(row['metric'])} in {row['domain']}"
    if not np.isfinite(row["ratio"]):
        return f"Gap closed, {where}: {row['note']}."
    within = f"{100 * row['ci_low']:.0f} to {100 * row['ci_high']:.0f} %" if np.isfinite(row["ci_low"]) else row["note"]
    ends = f"of the way from {row['source_only']} to {row['oracle']} ({amount(row['gap'], row['unit'], True)})"
    return f"Gap closed, {where}: {row['arm']} covers {100 * row['ratio']:.0f} % {ends}; {level(declaration)} interval {within}."


def _counted(number_of: int, noun: str) -> str:
    return f"{number_of} {noun}{'' if number_of == 1 else 's'}"
