"""What stays of a study in the repository: its answer and the scores behind it, nothing large."""

import importlib
import json

import pandas as pd
import pytest

from nnunet_da.errors import UserError

METRICS = "case,domain,label,metric,value,unit\nc1,A,1,dice,0.9,fraction\nc1,A,1,asd_mm,,mm\nc1,A,1,sensitivity,0.8,fraction\n"


@pytest.fixture
def keep():
    return importlib.import_module("keep_study").keep


@pytest.fixture
def study(tmp_path):
    folder = tmp_path / "study"
    for file, text in {
        "results/study_answer.json": "{}",
        "results/study_answer.md": "# The answer\n",
        "results/figures/study_forest_asd_mm_b.png": "png",
        "results/figures/overlay.png": "large",
        "nnUNet_results/model.pth": "large",
        "evaluation/grl/seed0_fold1/A/metrics.csv": METRICS,
        "evaluation/grl/seed12_fold1/A/metrics.csv": METRICS,
    }.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)
    file = {"name": "tiny", "title": "Tiny", "seeds": [0, 12], "folds": [1]}
    (folder / "study.json").write_text(json.dumps({"file": file, "arms": [{"name": "grl", "title": "GRL"}]}))
    return folder


def test_answer_plots_and_scores_are_kept_and_nothing_else(keep, study, tmp_path):
    output = tmp_path / "kept"
    output.mkdir()
    (output / "study_gap.csv").write_text("of an earlier study")
    keep(study, output)
    assert sorted(file.name for file in output.iterdir()) == [
        "scores.csv",
        "study.json",
        "study_answer.json",
        "study_answer.md",
        "study_forest_asd_mm_b.png",
    ]
    kept = pd.read_csv(output / "scores.csv")
    assert list(kept["seed"]) == [0, 0, 12, 12]
    assert set(kept["metric"]) == {"dice", "asd_mm"}
    assert kept["value"].isna().sum() == 2  # a failed segmentation stays one
    assert json.loads((output / "study.json").read_text())["seeds"] == [0, 12]


def test_a_study_without_an_answer_is_refused(keep, study, tmp_path):
    (study / "results/study_answer.json").unlink()
    with pytest.raises(UserError, match="no answer yet"):
        keep(study, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
