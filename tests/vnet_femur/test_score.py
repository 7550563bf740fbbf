"""Scores of the hold-out: values by hand, both R2 against their libraries, tables, and refusals."""

import csv
import json
import math

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.stats import linregress
from sklearn.metrics import r2_score

from nnunet_da.cli.main import main
from nnunet_da.vnet_femur.score import scores_of
from nnunet_da.vnet_femur.tables import published

SCORE = ["vnet-femur", "score", "-d", "301"]
EDGES = {"a": 4, "b": 5, "c": 6, "d": 7}  # voxels along x of the reference box of each held-out case
SPACING_MM = (1.0, 2.0, 3.0)  # x, y, z


def write_mask(file, length, moved=0):
    """2 x 3 x length voxels from (1, 1, 1 + moved) in an image of 6 x 6 x 12."""
    voxels = np.zeros((6, 6, 12), np.uint8)
    voxels[1:3, 1:4, 1 + moved : 1 + moved + length] = 1
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(SPACING_MM)
    file.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(file))


@pytest.fixture
def predicted(dataset):
    """Four held-out cases, two of each sex; fold 0 is right, fold 1 a voxel too long along x, the ensemble a voxel to the side."""
    record = {
        "layout": 1,
        "cohorts": {
            "all": {"folds": [0, 1, 2], "hold_out": list(EDGES)},
            "F": {"folds": [3, 4, 5], "hold_out": ["a", "b"]},
            "M": {"folds": [6, 7, 8], "hold_out": ["c", "d"]},
        },
    }
    folder = dataset / "nnUNet_preprocessed" / "Dataset301_F"
    folder.mkdir()
    (folder / "vnet_femur_split.json").write_text(json.dumps(record))
    (folder / "splits_final.json").write_text(json.dumps([{"train": ["x", "y"], "val": ["z"]}]))
    for case, length in EDGES.items():
        write_mask(dataset / f"nnUNet_raw/Dataset301_F/labelsTr/{case}.nii.gz", length)
        write_mask(dataset / f"all/fold_0/{case}.nii.gz", length)
        write_mask(dataset / f"all/fold_1/{case}.nii.gz", length + 1)
        write_mask(dataset / f"all/ensemble/{case}.nii.gz", length, moved=1)
    for case in "ab":
        write_mask(dataset / f"F/fold_4/{case}.nii.gz", EDGES[case])
    return dataset


def score(root, *arguments, cohorts=("all",)):
    return main([*SCORE, "-p", *(f"{name}={root / name}" for name in cohorts), "-o", str(root / "scores"), *arguments])


def values(root):
    with (root / "scores/vnet_femur.csv").open() as stream:
        return {(row["cohort"], row["model"], row["metric"]): float(row["value"] or "nan") for row in csv.DictReader(stream)}


def test_values_worked_by_hand(predicted):
    assert score(predicted) == 0
    found = values(predicted)
    n = np.array(list(EDGES.values()))
    assert found["all", "fold_0", "dice"] == found["all", "fold_0", "sensitivity"] == found["all", "fold_0", "specificity"] == 1
    assert found["all", "fold_1", "dice"] == pytest.approx(np.mean(2 * n / (2 * n + 1)))
    assert found["all", "fold_1", "sensitivity"] == 1
    assert found["all", "fold_1", "specificity"] == pytest.approx(np.mean(1 - 6 / (432 - 6 * n)))  # 6 false voxels of 432 - reference
    assert found["all", "fold_1", "bias_mm3"] == pytest.approx(36)  # 6 voxels of 6 mm3
    assert found["all", "fold_1", "loa_low_mm3"] == found["all", "fold_1", "loa_high_mm3"] == pytest.approx(36)
    assert found["all", "fold_1", "r2_regression"] == pytest.approx(1)  # blind to the bias
    true = 36.0 * n
    assert found["all", "fold_1", "r2_identity"] == pytest.approx(1 - 4 * 36**2 / np.sum((true - true.mean()) ** 2))
    assert found["all", "ensemble", "sensitivity"] == pytest.approx(np.mean((n - 1) / n))
    assert found["all", "folds_mean", "dice"] == pytest.approx((1 + found["all", "fold_1", "dice"]) / 2)
    assert found["all", "folds_sd", "dice"] == pytest.approx((1 - found["all", "fold_1", "dice"]) / math.sqrt(2))


def test_a_smaller_field_of_view_lowers_specificity(predicted, capsys):
    score(predicted)
    assert "counts the whole image (432 voxels on average)" in capsys.readouterr().out
    whole = values(predicted)["all", "fold_1", "specificity"]
    score(predicted, "--field-of-view", "3", "--overwrite")
    assert values(predicted)["all", "fold_1", "specificity"] < whole
    assert "box around the reference's label with a margin of 3 mm" in capsys.readouterr().out


def test_both_r2_are_those_of_their_libraries():
    rng = np.random.default_rng(0)
    true = rng.uniform(80_000, 160_000, 40)
    guess = 0.9 * true + rng.normal(0, 4000, 40)
    cases = {
        str(i): {"dice": 0.9, "sensitivity": 0.9, "specificity": 0.9, "volume_mm3": b, "reference_volume_mm3": a}
        for i, (a, b) in enumerate(zip(true, guess, strict=True))
    }
    found, line = scores_of(cases), linregress(true, guess)
    assert found.r2_regression == pytest.approx(line.rvalue**2)
    assert found.r2_p == pytest.approx(line.pvalue)
    assert found.r2_identity == pytest.approx(r2_score(true, guess))
    assert found.bias_mm3 == pytest.approx(np.mean(guess - true))


def test_the_table_stands_beside_the_papers(predicted, capsys):
    assert score(predicted, cohorts=("all", "F")) == 0
    text = (predicted / "scores/vnet_femur.md").read_text()
    assert text.strip() in capsys.readouterr().out
    assert "| all | paper | ? | 0.9815 | 0.9852 | 0.9992 | 0.9956 | <.001 |" in text
    assert "| all | mean ± SD of 2 folds | 4 |" in text
    assert "| F | fold_4 | 2 | 1.0000 | 1.0000 | 1.0000 | 1.0000 | – |" in text  # no p value of two cases
    assert "Cohort all: 2 of 3 fold models." in text
    assert "Cohort F: 1 of 3 fold models; no ensemble was predicted." in text
    assert all(caveat in text for caveat in published()["caveats"])
    assert sorted(path.name for path in (predicted / "scores").iterdir()) == [
        "vnet_femur.csv", "vnet_femur.json", "vnet_femur.md", "vnet_femur_cases.csv",
    ]  # fmt: skip
    content = json.loads((predicted / "scores/vnet_femur.json").read_text())
    assert content["command"].startswith("nnunet-da vnet-femur score")


def test_an_empty_prediction_is_scored(predicted):
    write_mask(predicted / "all/fold_1/a.nii.gz", 0)
    assert score(predicted) == 0
    with (predicted / "scores/vnet_femur_cases.csv").open() as stream:
        rows = {(row["model"], row["case"], row["metric"]): row["value"] for row in csv.DictReader(stream)}
    assert rows["fold_1", "a", "dice"] == rows["fold_1", "a", "volume_mm3"] == "0.0"


def refused(root, refuses, *words, arguments=()):
    refuses(root, [*SCORE, "-p", f"all={root / 'all'}", "-o", str(root / "scores"), *arguments], *words)


def test_predictions_that_are_not_the_hold_out(predicted, refuses):
    (predicted / "all/fold_1/c.nii.gz").unlink()
    refused(predicted, refuses, "fold_1", "4 cases", "'c' is missing", "hold-out --cohort all")
    write_mask(predicted / "all/fold_1/c.nii.gz", 6)
    write_mask(predicted / "all/fold_1/x.nii.gz", 6)
    refused(predicted, refuses, "'x' is not of it")


def test_folds_of_another_cohort(predicted, refuses):
    (predicted / "all/fold_1").rename(predicted / "all/fold_4")
    refused(predicted, refuses, "folds 0 to 2", "fold_4")


def test_no_fold_at_all(predicted, refuses):
    for fold in ("fold_0", "fold_1"):
        (predicted / "all" / fold).rename(predicted / fold)
    refused(predicted, refuses, "fold_0", "got none")


def test_an_unreadable_prediction(predicted, refuses):
    (predicted / "all/fold_1/c.nii.gz").write_bytes(b"no image")
    refused(predicted, refuses, "'c'", "fold_1")


@pytest.mark.parametrize(
    ("predictions", "words"),
    [
        (["absent"], ("absent", "is none")),
        (["W={all}"], ("all, F, M", "'W'")),
        (["{all}", "all={all}"], ("given once", "'all'")),
    ],
)
def test_bad_cohorts(predicted, refuses, predictions, words):
    given = [text.format(all=predicted / "all") for text in predictions]
    refuses(predicted, [*SCORE, "-p", *given, "-o", str(predicted / "scores")], *words)


def test_results_and_labels(predicted, refuses):
    refused(predicted, refuses, "femur", "got tibia", arguments=["--label", "tibia"])
    refused(predicted, refuses, "margin of the field of view", arguments=["--field-of-view", "-1"])
    assert score(predicted) == 0
    refused(predicted, refuses, "vnet_femur.md", "--overwrite")


def test_without_a_split(predicted, refuses):
    (predicted / "nnUNet_preprocessed/Dataset301_F/vnet_femur_split.json").unlink()
    refused(predicted, refuses, "vnet-femur split -d 301")
