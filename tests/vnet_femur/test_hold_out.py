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
    assert names(output) == ["images", "labels"]
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


def test_a_case_that_has_left_the_dataset(divided, refuses):
    import json

    record = json.loads((divided / "nnUNet_preprocessed/Dataset301_F/vnet_femur_split.json").read_text())
    case = record["cohorts"]["all"]["hold_out"][0]
    for file in (divided / "nnUNet_raw/Dataset301_F").rglob(f"{case}*"):
        file.unlink()
    refuses(divided, [*HOLD_OUT, "-o", str(divided / "hold_out")], case, "does not")


def test_a_record_of_something_else(divided, refuses):
    (divided / "nnUNet_preprocessed/Dataset301_F/vnet_femur_split.json").write_text("{}")
    refuses(divided, [*HOLD_OUT, "-o", str(divided / "hold_out")], "split again")
