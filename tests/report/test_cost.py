import math

import pandas as pd
import pytest

from nnunet_da.report.cost import cost_table, duration

COLUMNS = ["arm", "seed", "fold", "job", "seconds", "peak_mb", "gpu_peak_mb", "iterations", "parameters"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0.4 s"), (42, "42 s"), (61, "1 min"), (3599, "1 h 00 min"), (3900, "1 h 05 min"), (90000, "25 h 00 min"), (math.nan, "–")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_means_per_trained_model_and_the_largest_memory():
    rows = [
        ("grl", "0", "0", "train", 600, 2048, 7168, 400, 1000),
        ("grl", "1", "0", "train", 1200, 3072, 6144, 500, 1000),
        ("grl", "0", "0", "predict", 30, 1024, math.nan, math.nan, math.nan),
        ("grl", "0", "0", "predict", 30, 1024, math.nan, math.nan, math.nan),
        ("stock", "0", "0", "train", 300, math.nan, math.nan, 400, 2_000_000),
    ]
    table = cost_table(pd.DataFrame(rows, columns=COLUMNS))
    assert table.columns[:5] == ["Arm", "Trained models", "Training", "Prediction", "All together"]
    texts = {row.header.text: [cell.text for cell in row.cells] for _, row in table.rows}
    assert table.columns[5:7] == ["Peak memory (GB)", "Peak GPU memory (GB)"]
    assert texts["grl"] == ["2", "15 min", "1 min", "31 min", "3.0", "7.0", "400 to 500", "1\N{NARROW NO-BREAK SPACE}000"]
    assert texts["stock"][2:6] == ["–", "5 min", "–", "–"]


def test_without_a_gpu_no_column_of_its_memory():
    table = cost_table(pd.DataFrame([("grl", "0", "0", "train", 600, 2048, math.nan, 400, 1000)], columns=COLUMNS))
    assert table.columns[4:] == ["Peak memory (GB)", "Iterations", "Parameters"]


def test_no_job_no_table():
    assert cost_table(pd.DataFrame(columns=COLUMNS)) is None
