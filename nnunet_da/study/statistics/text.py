"""The answer of a study as one text, for the terminal and as Markdown."""

import textwrap
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from nnunet_da.evaluation.comparison_text import number, p_value
from nnunet_da.study.statistics.analysis import StudyAnswer
from nnunet_da.study.statistics.sentences import (
    amount,
    claims_sentence,
    gap_sentences,
    level,
    metric_name,
    primary_sentence,
    shown,
    source_sentences,
    supporting_sentences,
)

WIDTH = 120
MOST_ROWS = 40  # of a table in the text; the CSV files have them all
CONTRASTS = ("arm", "domain", "label", "metric", "trainings", "cases", "difference", "interval", "p", "Holm", "claim")
MARGINS = ("arm", "label", "metric", "loss", "interval", "margin", "verdict", "claim")
GAPS = ("arm", "domain", "label", "metric", "gap", "closed", "interval")
FAILURES = ("arm", "domain", "label", "failed", "baseline failed", "of", "McNemar", "by case")
ARMS = ("arm", "domain", "label", "metric", "mean", "SD trainings", "SD cases", "trainings", "cases", "failed")
SHOWN_METRICS = ("dice", "hd95_mm", "asd_mm")
EXPLANATION = (
    "difference: arm minus {baseline}; interval: {level}, over trainings and cases; Holm: p corrected over the {family} comparisons of the "
    "last step; claim: shown, not shown, or not reached because an earlier step of the order (primary contrast, source check, the rest) "
    "was not shown; empty for reference arms. docs/study_statistics.md explains every number."
)


def answer_text(answer: StudyAnswer) -> str:
    """What a person reads: the answer, what speaks for and against it, and the tables."""
    return "\n".join([*_words(answer), *_tables(answer)]).rstrip() + "\n"


def _words(answer: StudyAnswer) -> Iterator[str]:
    yield from ["# The study's answer", "", _filled(primary_sentence(answer)), ""]
    lists = {
        "": supporting_sentences(answer),
        "Source": source_sentences(answer),
        "Gap closed": gap_sentences(answer),
        "The rest": [text for text in (claims_sentence(answer),) if text],
        "Before believing it": [f"{text[0].upper()}{text[1:]}." for text in answer.warnings],
    }
    for title, sentences in lists.items():
        if sentences:
            yield from [*([f"## {title}", ""] if title else []), *(_filled(text, "* ") for text in sentences), ""]


def _tables(answer: StudyAnswer) -> Iterator[str]:
    declaration = answer.declaration
    family = int(answer.contrasts["family"].iloc[0]) if len(answer.contrasts) else 0
    yield from _table("Differences to the baseline", CONTRASTS, answer.contrasts, _contrast)
    if len(answer.contrasts):
        yield from [_filled(EXPLANATION.format(baseline=declaration.baseline, level=level(declaration), family=family)), ""]
    yield from _table("Source non-inferiority", MARGINS, answer.non_inferiority, _margin)
    yield from _table("Gap closed", GAPS, answer.gap, _gap)
    yield from _table("Failed segmentations", FAILURES, answer.failures, _failure)
    yield from _table("Arms", ARMS, answer.arms[answer.arms["metric"].isin({*SHOWN_METRICS, declaration.endpoint})], _arm)


def _table(title: str, header: Sequence[str], rows: pd.DataFrame, cells) -> Iterator[str]:  # type: ignore[no-untyped-def]
    if rows.empty:
        return
    texts = [list(header), *(list(map(str, cells(row))) for row in rows.head(MOST_ROWS).to_dict("records"))]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    lines = [f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |" for row in texts]
    more = [f"and {len(rows) - MOST_ROWS} more rows in the CSV file", ""] if len(rows) > MOST_ROWS else []
    yield from [f"## {title}", "", lines[0], f"|{'|'.join('-' * (width + 2) for width in widths)}|", *lines[1:], "", *more]


def _contrast(row: dict) -> list[str]:
    place = [row["arm"], row["domain"], row["label"], metric_name(row["metric"]), row["n_runs"], row["n_cases"]]
    return [*place, amount(row["difference"], row["unit"], True), interval(row), p_value(row["p"]), p_value(row["p_holm"]), row["claim"]]


def _margin(row: dict) -> list[str]:
    numbers = [amount(row["loss"], row["unit"], True), interval(row), amount(row["margin"], row["unit"])]
    return [row["arm"], row["label"], metric_name(row["metric"]), *numbers, row["verdict"], row["claim"]]


def _gap(row: dict) -> list[str]:
    defined = np.isfinite(row["ci_low"])
    bounds = f"{100 * row['ci_low']:.0f} to {100 * row['ci_high']:.0f} %" if defined else "-"
    closed = f"{100 * row['ratio']:.0f} %" if np.isfinite(row["ratio"]) else "not estimable"
    place = [row["arm"], row["domain"], row["label"], metric_name(row["metric"])]
    return [*place, amount(row["gap"], row["unit"], True), closed, bounds]


def _failure(row: dict) -> list[str]:
    counts = [row["failed_arm"], row["failed_baseline"], row["n"]]
    return [row["arm"], row["domain"], row["label"], *counts, p_value(row["p_mcnemar"]), p_value(row["p_cases"])]


def _arm(row: dict) -> list[str]:
    place = [row["arm"], row["domain"], row["label"], metric_name(row["metric"])]
    spread = [number(row["sd_runs"], row["unit"]), number(row["sd_cases"], row["unit"])]
    return [*place, amount(row["mean"], row["unit"]), *spread, row["n_runs"], row["n_cases"], row["failures"]]


def interval(row: dict) -> str:
    """Over trainings and cases; "-" where there is none."""
    if not np.isfinite(row["ci_low"]):
        return "-"
    return f"{shown(row['ci_low'], row['unit'], True)} to {shown(row['ci_high'], row['unit'], True)}"


def _filled(text: str, mark: str = "") -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent=mark, subsequent_indent=" " * len(mark), break_long_words=False, break_on_hyphens=False
    )
