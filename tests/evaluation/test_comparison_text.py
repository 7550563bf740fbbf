import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nnunet_da.evaluation.compare import CompareSettings, compare
from nnunet_da.evaluation.comparison_text import console_text, markdown_text, number, p_value
from nnunet_da.evaluation.metric_files import UNIT, Run
from nnunet_da.evaluation.paired import Method


@pytest.mark.parametrize(("p", "text"), [(0.05, "0.0500"), (0.00012, "0.0001"), (0.00009, "<.0001"), (0.0, "<.0001"), (math.nan, "-")])
def test_p_values_are_never_zero(p, text):
    assert p_value(p) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"), [(0.12345, "fraction", "0.1235"), (1.2, "mm", "1.200"), (-1234.6, "mm3", "-1235"), (math.nan, "mm", "-")]
)
def test_digits_follow_the_unit(value, unit, text):
    assert number(value, unit) == text
    assert number(1.0, "mm", sign=True) == "+1.000"


@pytest.fixture
def comparison():
    rng = np.random.default_rng(0)
    names = ("dice", "asd_reference_to_prediction_mm", "volume_mm3")
    units = dict(zip(names, ("fraction", "mm", "mm3"), strict=True))
    rows = pd.MultiIndex.from_tuples([("A", f"c{case}", "1") for case in range(12)], names=UNIT)

    def run():
        table = pd.DataFrame(rng.uniform(0, 1, (12, 3)) * [1, 9, 123456], index=rows, columns=names)
        return Run(Path("x"), "m", {"1": "left | right"}, units, table)

    methods = [Method("a" * 20, (run(), run())), Method("b" * 20, (run(), run(), run())), Method("c", (run(),))]
    return compare(methods, CompareSettings(metrics=names, resamples=200))


def test_the_terminal_needs_120_columns_and_says_all(comparison):
    text = console_text(comparison)
    assert max(map(len, text.splitlines())) <= 120
    for piece in (
        "asd_reference…",
        "over seeds and cases",
        "analysis of variance",
        "warning: one trained model each: c;",
        "over the 9 tests",
    ):
        assert piece in " ".join(text.split())


def test_markdown_tables_stay_tables(comparison):
    rows = [line.replace("\\|", "") for line in markdown_text(comparison).splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {6, 9, 14}
    assert any(row.startswith("| asd_reference_to_prediction_mm |") for row in rows)
    volume = next(row for row in rows if row.startswith("| volume_mm3 | 12"))
    assert volume.split("|")[-3].strip() == "-"  # no better end, so no wins
