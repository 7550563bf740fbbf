"""What many cases cost: the table's arithmetic, and one run in miniature."""

import importlib

import pytest


@pytest.fixture
def many():
    return importlib.import_module("many_cases")


def row(stage: str, cases: int, seconds: float, largest: float) -> dict:
    return {"stage": stage, "cases": cases, "seconds": seconds, "largest_process_mb": largest, "all_processes_mb": 2 * largest}


def test_a_further_case_is_the_slope_and_memory_a_ratio(many):
    text = many.table([row("evaluate", 10, 6.0, 200.0), row("evaluate", 110, 8.0, 210.0)], processes=2)
    assert "| evaluate | 10 | 6.0 | 600 | 200 | 400 |" in text
    assert "| evaluate | 20.0 | x 1.05 |" in text
    assert "--cases 10 110 --processes 2" in text


def test_memory_of_a_process_that_is_gone_is_nothing(many):
    import subprocess
    import sys

    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    with pytest.raises(many.psutil.NoSuchProcess):
        many.memory_mb(process.pid)
    assert many.memory_mb(many.psutil.Process().pid)[0] > 10


@pytest.mark.slow
def test_every_stage_is_measured(many, tmp_path):
    rows = many.measure(tmp_path, cases=8, processes=1)
    assert [found["stage"] for found in rows] == ["plan", "preprocess", "evaluate", "report"]
    assert all(found["seconds"] > 0.2 and found["largest_process_mb"] > 20 for found in rows)
    assert (tmp_path / "study" / "report.html").is_file()
