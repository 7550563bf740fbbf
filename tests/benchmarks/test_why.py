"""Why alignment helped or not: what is computed, on a study written by hand, and on networks that a study could have trained."""

import csv
import importlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import stats

from nnunet_da.errors import UserError

NAN = float("nan")
CURVES = "epoch,term,value\n0,gradient_seg,1\n1,gradient_seg,2\n0,gradient_mmd,9\n1,gradient_mmd,6\n"
COLUMNS = ("case", "domain", "label", "metric", "value", "unit")


@pytest.fixture
def why():
    return importlib.import_module("why")


def write_image(file: Path, array: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(file))


def write_evaluation(folder: Path, dataset: str, shrinkage: float, images: bool = True) -> None:
    """Five cases whose volume error is (shrinkage - 1) times the volume's distance to 100."""
    folder.mkdir(parents=True)
    rows, cases = [], []
    for index in range(5):
        volume = 80.0 + 10 * index
        predicted = 100 + shrinkage * (volume - 100)
        for metric, value in (("volume_mm3", predicted), ("volume_error_mm3", predicted - volume)):
            rows.append((f"c{index}", dataset, "1", metric, value, "mm3"))
        cases.append({"case": f"c{index}", "image": None, "reference": f"r{index}.nii", "prediction": f"p{index}.nii"})
        if images:
            cases[-1]["image"] = f"i{index}.nii"
            image, true = np.full((2, 2, 2), 7.0, np.float32), np.zeros((2, 2, 2), np.uint8)
            true[0, 0], image[0, 0, 0], image[0, 0, 1] = 1, 100 + 20 * index, 100  # mean inside 100 + 10 index
            half = true.copy()
            half[0, 0, 0] = 0  # only the voxel that is 100 in all
            for name, array in (("i", image), ("r", true), ("p", half)):
                write_image(folder / f"{name}{index}.nii", array)
    with (folder / "metrics.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([COLUMNS, *rows])
    (folder / "evaluation.json").write_text(json.dumps({"layout": 1, "method": "m", "cases": cases}))


@pytest.fixture
def study(tmp_path) -> Path:
    """Two runs of which one left everything that needs no network."""
    folder = tmp_path / "study"
    trained = [f"nnUNet_results/A/{arm}/fold_0" for arm in ("mmd", "lost")]
    (folder / trained[0]).mkdir(parents=True)
    (folder / trained[0] / "curves.csv").write_text(CURVES)
    for dataset, shrinkage in (("Dataset101_A", 1.0), ("Dataset102_B", 0.5)):
        write_evaluation(folder / "evaluation" / "mmd" / "seed3_fold0" / dataset, dataset, shrinkage, images=dataset.endswith("B"))
    runs = [{"arm": arm, "seed": 3, "fold": 0, "trained": path} for arm, path in zip(("mmd", "lost"), trained, strict=True)]
    (folder / "study.json").write_text(json.dumps({"runs": runs, "source": "Dataset101_A", "targets": ["Dataset102_B"]}))
    return folder


def run_main(why, monkeypatch, capsys, *arguments: object) -> str:
    monkeypatch.setattr("sys.argv", ["why.py", *map(str, arguments)])
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(name, "/nowhere")
    why.main()
    return capsys.readouterr().out


def test_spread_by_hand(why):
    assert why.spread_of(np.array([[3.0, 4.0], [3.0, 4.0]])) == 0
    assert why.spread_of(np.array([[9.0, 0.0], [11.0, 0.0]])) == pytest.approx(0.1)


def test_slope_by_hand(why):
    true, predicted = np.array([80.0, 90, 100, 110, NAN]), np.array([90.0, 95, 100, 105, 1])
    found = why.slope(true, predicted)
    assert found["slope"] == pytest.approx(0.5)
    assert found["bias"] == pytest.approx(2.5)
    assert found["n"] == 4
    x, y = np.array([0.0, 1, 2, 3]), np.array([0.0, 1.2, 1.8, 3])
    noisy, theirs = why.slope(x, y), stats.linregress(x, y)
    assert noisy["slope"] == pytest.approx(theirs.slope)
    assert noisy["high"] - noisy["slope"] == pytest.approx(4.303 * theirs.stderr, rel=1e-3)  # Student's t of 2 degrees of freedom
    for bad, words in ((np.array([1.0, NAN, 2]), "three cases|3 cases"), (np.array([1.0, 1, 1]), "same")):
        with pytest.raises(ValueError, match=words):
            why.slope(bad, np.array([1.0, 2, 3]))


def test_a_study_without_networks_or_scans_says_what_is_missing(why, study, monkeypatch, capsys, tmp_path):
    text = run_main(why, monkeypatch, capsys, study, "--output", tmp_path / "why.md")
    assert "| mmd | 3, 0 | Dataset101_A (source) | 1.00 (1.00 to 1.00) | +0 mm3 |  |  |" in text
    assert "| mmd | 3, 0 | Dataset102_B (target) | 0.50 (0.50 to 0.50) | +0 mm3 | 0.00 (0.00 to 0.00) | -20 HU |" in text
    assert "| mmd | 3 |" in text  # late gradient: 6 / 2
    missing = text.split("## Missing")[1]
    for words in (
        "imagesTs of both centres",
        "curves of lost",
        "slopes of lost, seed 3, fold 0: no evaluation of Dataset102_B",
        "no images",
    ):
        assert words in missing
    numbers = json.loads((tmp_path / "why.json").read_text())
    assert [row["dataset"] for row in numbers["slopes"]] == ["Dataset101_A", "Dataset102_B"]
    assert (tmp_path / "why.md").read_text() == text


def test_no_study_is_refused(why, tmp_path, study):
    with pytest.raises(UserError, match="must be the folder of a study"):
        why.read_study(tmp_path)
    (study / "study.json").write_text(json.dumps({"runs": [], "source": "a", "targets": ["b"]}))
    with pytest.raises(UserError, match="'runs'"):
        why.read_study(study)


def test_scores_inside_chance_are_set_apart(why):
    told, not_told = {"score": 0.9, "null_high": 0.7, "r2": None}, {"score": 0.31, "null_high": 0.4, "r2": 0.05}
    rows = [{"arm": "a", "seed": seed, "fold": 0, "spread": 0.05 + seed, "domain": told, "age": not_told} for seed in (0, 1)]
    assert why.probe_table(rows) == (
        ["arm", "domain", "age", "spread"],
        [["a", "0.90, 0.90", "*0.31 (0.05)*, *0.31 (0.05)*", "5.0%, 105.0%"]],
    )


@pytest.mark.slow
def test_networks_are_probed_on_scans_of_both_centres(why, centres_copy, make_trainer, monkeypatch, capsys):
    """Untrained networks; sex follows brightness in neither centre, and a table of the phantom says who is who."""
    raw = centres_copy / "nnUNet_raw"
    for name in ("Dataset101_A", "Dataset102_B"):
        images = sorted((raw / name / "imagesTr").iterdir())
        (raw / name / "imagesTs").mkdir()
        rows = ["case,sex,age_years"]
        for index in range(8):
            shutil.copy(images[index % len(images)], raw / name / "imagesTs" / f"{name[-1]}t{index}_0000.nii.gz")
            rows.append(f"{name[-1]}t{index},{'MF'[index % 2]},{40 + 3 * index}")
        (raw / name / "phantom.csv").write_text("\n".join(rows))
    trainer = make_trainer("nnUNetTrainer_PFDAformer", "PFDAformerDemoPlans", align_at="output")
    trainer.on_train_start()
    trainer.save_checkpoint(f"{trainer.output_folder}/checkpoint_final.pth")
    run = {"arm": "both", "seed": 0, "fold": 0, "trained": trainer.output_folder}
    content = {"runs": [run], "source": "Dataset101_A", "targets": ["Dataset102_B"]}
    (centres_copy / "study.json").write_text(json.dumps(content))
    for place in ("bottleneck", "output"):
        text = run_main(why, monkeypatch, capsys, centres_copy, "--permutations", 20, "--patches", 2, "--align-at", place)
        (line,) = (line for line in text.splitlines() if line.startswith("| both |"))
        assert line.count("|") == 6, text
        assert "| arm | domain | sex | age_years | spread |" in text
        assert f"({place}, mean_std)" in text
