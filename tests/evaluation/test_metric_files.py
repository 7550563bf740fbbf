import math

import pytest

from nnunet_da.errors import UserError
from nnunet_da.evaluation.metric_files import read_run

TWO = {("c1", "1"): {"dice": "0.9", "hd_mm": "4"}, ("c2", "1"): {"dice": "0", "hd_mm": ""}}


def test_reads_a_folder_with_domains_below_and_keeps_undefined_apart(write_metrics, tmp_path):
    write_metrics(tmp_path / "arm" / "A", TWO, domain="A", method="m")
    write_metrics(tmp_path / "arm" / "B", TWO, domain="B", method="m")
    run = read_run(tmp_path / "arm")
    assert list(run.values.index) == [("A", "c1", "1"), ("A", "c2", "1"), ("B", "c1", "1"), ("B", "c2", "1")]
    assert list(run.values.columns) == ["dice", "hd_mm"]
    assert run.values.loc[("B", "c1", "1"), "dice"] == 0.9
    assert math.isnan(run.values.loc[("B", "c2", "1"), "hd_mm"])
    assert (run.method, run.labels, run.units["dice"]) == ("m", {"1": "femur"}, "mm")


def test_a_file_serves_too_and_needs_no_manifest(write_metrics, tmp_path):
    run = read_run(write_metrics(tmp_path / "x", TWO) / "metrics.csv")
    assert (run.method, len(run.values)) == ("", 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("case,label,metric,value\nc1,1,dice,1\n", "no column domain, unit"),
        ("case,domain,label,metric,value,unit\n", "no value"),
        ("case,domain,label,metric,value,unit\nc1,B,1,dice,high,fraction\n", "high"),
        ("case,domain,label,metric,value,unit\nc1,B,1,hd_mm,inf,mm\n", "infinite"),
        ("", "No columns"),
    ],
)
def test_a_metrics_file_of_another_layout_is_refused(tmp_path, text, said):
    (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(UserError, match=said) as error:
        read_run(tmp_path)
    assert "evaluate again" in str(error.value)


@pytest.mark.parametrize("layout", [0, 2, None, "1"])
def test_another_layout_of_the_manifest_is_refused(write_metrics, tmp_path, layout):
    write_metrics(tmp_path, TWO, method="m", layout=layout)
    with pytest.raises(UserError, match="must have layout 1"):
        read_run(tmp_path)


def test_a_damaged_manifest_is_refused(write_metrics, tmp_path):
    write_metrics(tmp_path, TWO)
    for text in ("{", "[]", "{}"):
        (tmp_path / "evaluation.json").write_text(text)
        with pytest.raises(UserError, match="Evaluate again"):
            read_run(tmp_path)


def test_two_methods_in_one_folder_are_refused(write_metrics, tmp_path):
    write_metrics(tmp_path / "arms" / "a", TWO)
    write_metrics(tmp_path / "arms" / "b", TWO)
    with pytest.raises(UserError, match="got two of dice for case c1 of B"):
        read_run(tmp_path / "arms")


def test_a_metric_without_rows_for_some_cases_is_marked(write_metrics, tmp_path):
    run = read_run(write_metrics(tmp_path, {("c1", "1"): {"dice": "1", "hd_mm": "2"}, ("c2", "1"): {"dice": "1"}}))
    assert run.incomplete == {"hd_mm"}
