"""A comparison in words and tables: for the terminal, and as Markdown."""

import textwrap
from collections.abc import Iterator, Sequence

import pandas as pd

from nnunet_da.evaluation.compare import Comparison

HEADER = ("metric", "n", "undef.", "first", "second", "difference", "95 % interval", "p t", "Holm", "W Holm", "d_z", "+/=/-", "better")
ANOVA_HEADER = ("metric", "n", "F", "df", "p repeated", "p corrected", "F plain", "p plain")
WIDTH, LONGEST = 120, 14  # of a terminal, and of a metric's name in it
EXPLANATION = (
    "difference: second minus first; interval: bootstrap over cases; p t: paired t test; Holm: its p corrected over the {family} tests "
    "of this comparison; W Holm: Wilcoxon's p, over {family_wilcoxon}; +/=/-: cases in which second is better, equal, worse; "
    "undef.: undefined in first + in second, those cases are left out; better: Holm below {alpha:g}"
)


def console_text(comparison: Comparison) -> str:
    """Tables for a terminal of 120 columns, then notes and warnings."""
    parts = [block for title, header, rows, notes in _blocks(comparison) for block in (title, _aligned(header, rows), *notes, "")]
    words = [explanation(comparison), *(f"warning: {text}" for text in comparison.warnings)]
    return "\n".join([*parts, *(textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False) for text in words)])


def markdown_text(comparison: Comparison) -> str:
    """The same as a Markdown page."""
    lines = ["# Comparison", ""]
    if comparison.warnings:
        lines += ["Before reading the numbers:", "", *(f"* {text}" for text in comparison.warnings), ""]
    for title, header, rows, notes in _blocks(comparison):
        lines += [f"## {title}", "", _markdown_row(header), _markdown_row(["---"] * len(header)), *map(_markdown_row, rows), ""]
        lines += [*(f"* {note}" for note in notes), ""] if notes else []
    return "\n".join([*lines, explanation(comparison), ""])


def explanation(comparison: Comparison) -> str:
    """What the columns are."""
    first = comparison.table.iloc[0]
    return EXPLANATION.format(family=first["family"], family_wilcoxon=first["family_wilcoxon"], alpha=comparison.settings.alpha)


def number(value: float, unit: str = "", sign: bool = False) -> str:
    """A value with the digits its unit deserves; "-" where undefined."""
    digits = {"fraction": 4, "mm": 3, "mm3": 0}.get(unit, 2)
    return "-" if pd.isna(value) else f"{value:{'+' if sign else ''}.{digits}f}"


def p_value(p: float) -> str:
    """Four digits; "<.0001" below, "-" where undefined."""
    return "-" if pd.isna(p) else "<.0001" if p < 1e-4 else f"{p:.4f}"


Block = tuple[str, Sequence[str], list[Sequence[str]], list[str]]  # title, header, rows, notes


def _blocks(comparison: Comparison) -> Iterator[Block]:
    for (first, second, domain, label), rows in comparison.table.groupby(["first", "second", "domain", "label"], sort=False):
        title = f"{first} (first), {second} (second): {domain}, {_label(comparison, label)}"
        records = rows.to_dict("records")
        yield title, HEADER, [_cells(row) for row in records], [f"{row['metric']}: {row['note']}" for row in records if row["note"]]
        if rows["ci_low_seeds"].notna().any():
            yield f"{title}, over seeds and cases", *_seed_block(records)
    for (domain, label), rows in comparison.anova.groupby(["domain", "label"], sort=False) if len(comparison.anova) else ():
        records = rows.to_dict("records")
        title = f"all {len(comparison.pairs.methods)} methods at once, analysis of variance: {domain}, {_label(comparison, label)}"
        yield (
            title,
            ANOVA_HEADER,
            [_anova_cells(row) for row in records],
            [f"{row['metric']}: {row['note']}" for row in records if row["note"]],
        )


def _label(comparison: Comparison, label: str) -> str:
    name = comparison.labels.get(label, label)
    return f"label {label}" if name == label else name


def _cells(row: dict) -> list[str]:
    unit = row["unit"]
    outcome = "-" if pd.isna(row["wins"]) else f"{row['wins']}/{row['ties']}/{row['losses']}"
    return [
        row["metric"],
        str(row["n"]),
        f"{row['n_undefined_first']}+{row['n_undefined_second']}" if row["n_undefined"] else "0",
        number(row["mean_first"], unit),
        number(row["mean_second"], unit),
        number(row["difference"], unit, sign=True),
        _interval(row["ci_low"], row["ci_high"], unit),
        p_value(row["p_t"]),
        p_value(row["p_holm"]),
        p_value(row["p_wilcoxon_holm"]),
        number(row["cohen_dz"]),
        outcome,
        row["better"],
    ]


def _seed_block(records: list[dict]) -> tuple[Sequence[str], list[Sequence[str]], list[str]]:
    header = ("metric", "seeds first", "seeds second", "difference", "95 % interval, seeds and cases")
    rows: list[Sequence[str]] = [
        [
            row["metric"],
            str(row["n_seeds_first"]),
            str(row["n_seeds_second"]),
            number(row["difference"], row["unit"], sign=True),
            _interval(row["ci_low_seeds"], row["ci_high_seeds"], row["unit"]),
        ]
        for row in records
    ]
    return header, rows, []


def _anova_cells(row: dict) -> list[str]:
    values = [number(row["f_repeated"]), f"{row['df1']}, {row['df2']}", p_value(row["p_repeated"]), p_value(row["p_greenhouse_geisser"])]
    return [row["metric"], str(row["n"]), *values, number(row["f_plain"]), p_value(row["p_plain"])]


def _interval(low: float, high: float, unit: str) -> str:
    return "-" if pd.isna(low) else f"{number(low, unit, sign=True)} to {number(high, unit, sign=True)}"


def _aligned(header: Sequence[str], rows: list[Sequence[str]]) -> str:
    table = [[_short(cells[0]), *cells[1:]] for cells in [header, *rows]]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    gap = "  " if sum(widths) + 2 * len(widths) <= WIDTH else " "
    return "\n".join(gap.join([cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])]).rstrip() for cells in table)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
