import json

import pytest

from nnunet_da.cli.main import main

HOLD_OUT = ["vnet-femur", "hold-out", "-d", "301"]


@pytest.fixture
def divided(dataset):
    assert main(["vnet-femur", "split", "-d", "301", "--table", str(dataset / "table.csv"), "--folds", "3"]) == 0
    return dataset


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_folders_that_stock_prediction_reads(divided, capsys):
    output = divided / "hold_out"
    assert main([*HOLD_OUT, "-o", str(output)]) == 0
    assert names(output) == ["images", "labels", "vnet_femur_hold_out.json"]
    images, labels = names(output / "images"), names(output / "labels")
    assert len(images) == 3
    assert [name.replace("_0000", "") for name in images] == labels
    shown = capsys.readouterr().out
    assert "-f 0 1 2 -o" in shown
    assert "vnet-femur score -d 301 -p all=" in shown


def test_the_cohorts_of_one_sex(divided, capsys):
    parts = {}
    for cohort in ("all", "F", "M"):
        assert main([*HOLD_OUT, "-o", str(divided / cohort), "--cohort", cohort]) == 0
        parts[cohort] = names(divided / cohort / "labels")
    assert sorted(parts["F"] + parts["M"]) == parts["all"]
    assert "-f 3 4 5 -o" in capsys.readouterr().out


def test_without_a_split(dataset, refuses):
    refuses(dataset, [*HOLD_OUT, "-o", str(dataset / "hold_out")], "vnet-femur split -d 301")


def test_bad_requests(divided, refuses):
    refuses(divided, [*HOLD_OUT, "-o", str(divided / "hold_out"), "--cohort", "W"], "all, F, M", "'W'")
    main([*HOLD_OUT, "-o", str(divided / "hold_out")])
    refuses(divided, [*HOLD_OUT, "-o", str(divided / "hold_out")], "images", "--overwrite")
    assert main([*HOLD_OUT, "-o", str(divided / "hold_out"), "--overwrite"]) == 0


def test_folders_of_someone_else_are_never_replaced(divided, refuses):
    mine = divided / "hold_out" / "labels" / "mine.nii.gz"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"years of work")
    refuses(divided, [*HOLD_OUT, "-o", str(divided / "hold_out"), "--overwrite"], "'labels'", "did not write")


def test_files_of_one_name_stay_apart(divided):
    """dataset.json may list files of any folder; what they are called there must neither clash nor be written to."""
    raw = divided / "nnUNet_raw" / "Dataset301_F"
    description, listed = json.loads((raw / "dataset.json").read_text()), {}
    for case in [file.name[:-12] for file in sorted((raw / "imagesTr").iterdir())]:
        (raw / case).mkdir()
        (raw / case / "scan.nii.gz").write_text(case)
        listed[case] = {"images": [f"{case}/scan.nii.gz"], "label": f"labelsTr/{case}.nii.gz"}
    (raw / "dataset.json").write_text(json.dumps({**description, "dataset": listed}))
    assert main([*HOLD_OUT, "-o", str(divided / "hold_out")]) == 0
    images = list((divided / "hold_out" / "images").iterdir())
    assert len(images) == 3
    assert all(file.name == f"{file.read_text()}_0000.nii.gz" for file in images)
    assert all((raw / case / "scan.nii.gz").read_text() == case for case in listed)


def test_a_case_that_has_left_the_dataset(divided, refuses):
    record = json.loads((divided / "nnUNet_preprocessed/Dataset301_F/vnet_femur_split.json").read_text())
    case = record["cohorts"]["all"]["hold_out"][0]
    for file in (divided / "nnUNet_raw/Dataset301_F").rglob(f"{case}*"):
        file.unlink()
    refuses(divided, [*HOLD_OUT, "-o", str(divided / "hold_out")], case, "does not")


def test_a_record_of_something_else(divided, refuses):
    (divided / "nnUNet_preprocessed/Dataset301_F/vnet_femur_split.json").write_text("{}")
    refuses(divided, [*HOLD_OUT, "-o", str(divided / "hold_out")], "split again")


@pytest.mark.parametrize("change", ["gone", "trained"])
def test_folds_that_do_not_belong_to_the_hold_out_are_refused(divided, refuses, change):
    """Stock training writes its own folds over all cases where there are none."""
    folder = divided / "nnUNet_preprocessed" / "Dataset301_F"
    held_out = json.loads((folder / "vnet_femur_split.json").read_text())["cohorts"]["all"]["hold_out"]
    splits = folder / "splits_final.json"
    folds = json.loads(splits.read_text())
    if change == "gone":
        splits.unlink()
    else:
        folds[2]["train"].append(held_out[0])
        splits.write_text(json.dumps(folds))
    refuses(divided, [*HOLD_OUT, "-o", str(divided / "hold_out")], "splits_final.json", "without its hold-out", "split again")
