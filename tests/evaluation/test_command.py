"""`nnunet-da evaluate` from the command line's side: exit codes, one line of error, nothing written."""

import csv
import json

import numpy as np
import pytest

from nnunet_da.cli.main import main


def arguments(folders, *more):
    parts = ("-r", folders / "references", "-p", folders / "predictions", "-o", folders / "out", "--processes", "1")
    return ["evaluate", *map(str, parts), *more]


def test_prints_means_and_counts_what_is_undefined(folders, capsys):
    assert main(arguments(folders, "--domain", "Rochester", "--method", "m")) == 0
    printed = capsys.readouterr().out
    assert "Rochester" in printed
    assert "distances undefined (one mask empty): 1\n  case_2, label 2" in printed
    assert str(folders / "out" / "metrics.csv") in printed
    command = json.loads((folders / "out" / "evaluation.json").read_text())["command"]
    assert command.startswith("nnunet-da evaluate -r ")
    assert command.endswith("--domain Rochester --method m")


def test_a_missing_prediction_ends_with_1_and_the_rest_done(folders, capsys):
    (folders / "predictions" / "case_0.nii.gz").unlink()
    assert main(arguments(folders)) == 1
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("error: 1 of 4 cases")
    assert "case_0: no prediction" in captured.out
    assert (folders / "out" / "metrics.csv").read_text().count("case_1,") == 2 * 13


def refused(folders, capfd, *more):
    assert main(arguments(folders, *more)) == 2
    error = capfd.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not (folders / "out").exists()
    return error


def test_refuses_another_geometry(folders, write, capfd):
    write(np.zeros((8, 20, 21), np.uint8), folders / "predictions" / "case_2.nii.gz")
    assert "same size" in refused(folders, capfd)


@pytest.mark.parametrize(
    ("value", "said"), [(0.5, "whole numbers"), (-1.0, "0 and above"), (7.0, "labels [0, 1, 2] of dataset.json, got [7]")]
)
def test_refuses_fractions_negative_and_unknown_labels(folders, write, value, said, capfd):
    write(np.full((8, 20, 22), value, np.float32), folders / "predictions" / "case_2.nii.gz")
    error = refused(folders, capfd)
    assert said in error
    assert "case_2.nii.gz" in error


def test_lists_what_has_no_partner_on_either_side(folders, capsys):
    (folders / "predictions" / "case_0.nii.gz").unlink()
    (folders / "references" / "case_1.nii.gz").unlink()
    assert main(arguments(folders)) == 1
    printed = capsys.readouterr().out
    assert "predictions without a reference, left out: 1\n  case_1" in printed
    assert "not scored: 1\n  case_0: no prediction" in printed
    written = json.loads((folders / "out" / "evaluation.json").read_text())
    assert (list(written["failed"]), written["unexpected_predictions"]) == (["case_0"], ["case_1"])


def test_refuses_an_empty_folder_and_a_broken_table(folders, capfd):
    (folders / "domains.csv").write_text("a,b\n1,2\n")
    assert "columns case and domain" in refused(folders, capfd, "--domains", str(folders / "domains.csv"))
    for file in (folders / "predictions").iterdir():
        file.unlink()
    assert "got none" in refused(folders, capfd)


def test_refuses_files_that_are_no_images(folders, capfd):
    for file in (folders / "predictions").glob("*.nii.gz"):
        file.write_bytes(file.read_bytes()[:60])
    assert "no case could be scored" in refused(folders, capfd)


def test_refuses_results_that_exist(folders, capsys):
    assert main(arguments(folders)) == 0
    assert main(arguments(folders)) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(arguments(folders, "--overwrite")) == 0


@pytest.mark.parametrize("value", ["0", "-1", "two"])
def test_refuses_impossible_processes(folders, value, capfd):
    assert "a whole number of 1 or more" in refused(folders, capfd, "--processes", value)


def test_fifty_anisotropic_pairs_equal_monai_and_nnunet(tmp_path, write, random_pair, monai_values):
    from nnunetv2.evaluation.evaluate_predictions import compute_metrics
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    monai = {}
    for seed in range(50):
        reference, prediction, spacing_mm = random_pair(seed)
        masks = {"r": reference.astype(np.uint8), "p": prediction.astype(np.uint8)}
        files = [write(mask, tmp_path / part / f"{seed}.nii.gz", spacing_mm) for part, mask in masks.items()]
        monai[str(seed)] = monai_values(reference, prediction, spacing_mm.astype(np.float32).astype(float))
        metrics = compute_metrics(*map(str, files), SimpleITKIO(), [1])["metrics"][1]
        monai[str(seed)]["dice"] = metrics["Dice"]
    assert main(["evaluate", "-r", str(tmp_path / "r"), "-p", str(tmp_path / "p"), "-o", str(tmp_path / "out"), "--processes", "1"]) == 0
    with (tmp_path / "out" / "metrics.csv").open() as stream:
        found = {(row["case"], row["metric"]): float(row["value"]) for row in csv.DictReader(stream)}
    for case, expected in monai.items():
        assert found[case, "dice"] == expected["dice"]
        assert [found[case, name] for name in ("hd95_mm", "asd_mm")] == pytest.approx([expected["hd95_mm"], expected["asd_mm"]], rel=1e-5)


def test_a_corrupt_file_among_two_hundred_is_listed_and_the_rest_done(tmp_path, write, capsys):
    mask = np.zeros((4, 5, 6), np.uint8)
    mask[1:3, 2:4, 3:5] = 1
    for part in ("references", "predictions"):
        first = write(mask, tmp_path / part / "case_000.nii.gz")
        for number in range(1, 200):
            (tmp_path / part / f"case_{number:03}.nii.gz").write_bytes(first.read_bytes())
    corrupt = tmp_path / "predictions" / "case_101.nii.gz"
    corrupt.write_bytes(corrupt.read_bytes()[:-20])
    assert main(arguments(tmp_path, "--processes", "1")) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: 1 of 200 cases were not scored")
    assert "case_101.nii.gz" in captured.out
    assert len({row.split(",")[0] for row in (tmp_path / "out" / "metrics.csv").read_text().splitlines()[1:]}) == 199
    assert list(json.loads((tmp_path / "out" / "evaluation.json").read_text())["failed"]) == ["case_101"]


def test_a_stock_validation_folder_needs_no_option(folders, capsys):
    """As nnUNetv2_train leaves it: fold 0 of a cross-validation, settings and summaries lying about."""
    model, raw = folders / "nnUNet_results" / "Dataset001_A" / "T__P__C", folders / "nnUNet_raw" / "Dataset001_A"
    (model / "fold_0").mkdir(parents=True)
    raw.mkdir(parents=True)
    (folders / "references").rename(raw / "labelsTr")
    validation = (folders / "predictions").rename(model / "fold_0" / "validation")
    (validation / "dataset.json").rename(model / "dataset.json")
    (validation / "case_0.nii.gz").unlink()
    for name in ("summary.json", "plans.json", "predict_from_raw_data_args.json", "case_1.npz", "case_1.pkl"):
        (validation / name).write_text("{}")
    assert main(["evaluate", "-r", str(raw / "labelsTr"), "-p", str(validation), "-o", str(folders / "out")]) == 0
    printed = capsys.readouterr().out
    assert "method T__P__C, 3 cases" in printed
    assert "no prediction expected: 1" in printed
    assert "Dataset001_A" in printed
    assert "shaft" in printed  # a name from the model's dataset.json
    assert (validation / "summary.json").read_text() == "{}"
    assert main(["evaluate", "-r", str(raw / "labelsTr"), "-p", str(validation), "-o", str(validation)]) == 2  # keeps nnU-Net's own


def test_the_table_stays_in_line_whatever_the_names(folders, set_labels, capsys):
    set_labels(folders / "predictions", {"background": 0, "a very long name of a label": 1, "b": 2})
    assert main(arguments(folders, "--nsd-mm", "1", "2", "--domain", "Dataset102_with_a_long_name")) == 0
    table = capsys.readouterr().out.splitlines()[1:4]
    assert table[0].split() == ["domain", "label", "n", "dice", "hd95_mm", "asd_mm", "nsd_1mm", "nsd_2mm", "undefined"]
    assert len({len(line) for line in table}) == 1


def test_notes_values_that_no_label_names(folders, write, capsys):
    (folders / "predictions" / "dataset.json").unlink()
    prediction = np.zeros((8, 20, 22), np.uint8)
    prediction[1, 1, 1] = 9
    write(prediction, folders / "predictions" / "case_1.nii.gz")
    assert main(arguments(folders)) == 0
    assert "case_1: [9]" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [("--nsd-mm", "0"), ("--nsd-mm", "1", "-2"), ("--field-of-view", "-1")])
def test_refuses_impossible_choices(folders, wrong, capfd):
    assert "correct --" in refused(folders, capfd, *wrong)
