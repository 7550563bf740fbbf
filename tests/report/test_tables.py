import math

import pandas as pd
import pytest

from nnunet_da.report.study import Arm, Settings, Study, load_study
from nnunet_da.report.tables import mean_sd, number, readable, summary_table, to_latex, to_markdown


def arm_of(name: str, values: list[float]) -> Arm:
    rows = [
        {"case": str(i), "domain": "A", "label": "1", "metric": "hd_mm", "value": value, "unit": "mm"} for i, value in enumerate(values)
    ]
    return Arm(name, pd.DataFrame(rows), {"1": "femur"}, {}, [], pd.DataFrame(columns=["epoch", "term", "value", "run"]))


def test_values_worked_by_hand_and_undefined_counted():
    study = Study(Settings(), [arm_of("a", [1.0, 2.0, 6.0, math.nan]), arm_of("b", [math.nan]), arm_of("c", [4.0])])
    table = summary_table(study).set_index("arm")
    assert table.loc["a", ["mean", "sd", "median", "n", "undefined"]].tolist() == pytest.approx([3.0, math.sqrt(7), 2.0, 3, 1])
    assert table.loc["b", ["n", "undefined"]].tolist() == [0, 1]
    assert [mean_sd(row) for _, row in table.iterrows()] == ["3.00 ±\N{NO-BREAK SPACE}2.65", "–", "4.00"]


def test_numbers_as_a_reader_expects_them():
    assert number(0.95149, "fraction") == "0.951"
    assert number(-1234567.0, "mm3") == "−1\N{NARROW NO-BREAK SPACE}234.57"  # shown in cm3
    assert number(math.nan, "mm") == "–"


def test_order_is_domain_label_metric_arm(study):
    table = summary_table(load_study(study))
    assert table["domain"].tolist() == sorted(table["domain"], key=["Centre A", "Centre <B> & co"].index)
    assert table["metric"].tolist()[:6] == ["dice", "dice", "iou", "iou", "precision", "precision"]
    assert table["arm"].tolist()[:2] == ["Source only", "PF-DAformer"]


def test_markdown_and_latex_escape(study):
    loaded = load_study(study)
    table = readable(summary_table(loaded), loaded.labels)
    table["Domain"] = "50 % a|b_c"
    markdown, latex = to_markdown(table), to_latex(table, "A & B")
    assert markdown.splitlines()[2].startswith("| 50 % a\\|b_c | label 1 | Dice | Source only | ")
    assert {line.replace("\\|", "").count("|") for line in markdown.splitlines()} == {9}
    assert r"50 \% a|b\_c & label 1 & Dice & Source only" in latex
    assert r"\caption{A \& B}" in latex
    assert r"$\pm$~" in latex
    assert latex.isascii()
