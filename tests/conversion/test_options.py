import pytest

from nnunet_da.cli.main import main


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ([], "say where the result goes"),
        (["-d", "101"], "--name"),
        (["--name", "A"], "-d ID"),
        (["-d", "101", "--name", "A", "-o", "folder"], "got both"),
        (["-o", "folder", "--name", "A"], "got both"),
    ],
)
def test_the_output_is_a_dataset_or_a_folder(raw, scans, capsys, output, words):
    assert main(["convert", "nifti", "-i", str(scans / "images"), *output]) == 2
    assert words in capsys.readouterr().err
    assert list(raw.iterdir()) == []


def test_plain_folder_takes_no_labels(raw, scans, capsys):
    command = ["convert", "nifti", "-i", str(scans / "images"), "-l", str(scans / "labels"), "--label", "femur=1"]
    assert main([*command, "-o", str(scans / "new")]) == 2
    assert "takes no labels" in capsys.readouterr().err
    assert not (scans / "new").exists()


@pytest.mark.parametrize("declared", [["--label", "femur=1"], ["--labels-json", "labels.json"]])
def test_label_names_mean_nothing_in_a_plain_folder(raw, scans, capsys, declared):
    (scans / "labels.json").write_text('{"femur": 1}')
    declared = [str(scans / word) if word.endswith(".json") else word for word in declared]
    assert main(["convert", "nifti", "-i", str(scans / "images"), *declared, "-o", str(scans / "new")]) == 2
    assert f"takes no labels: leave out {declared[0]}" in capsys.readouterr().err
    assert not (scans / "new").exists()


@pytest.mark.parametrize("output", ["images", "images/new", "images/deeper/new"])
def test_output_among_the_scans_is_refused(scans, capsys, output):
    before = sorted((scans / "images").iterdir())
    assert main(["convert", "nifti", "-i", str(scans / "images"), "-o", str(scans / output)]) == 2
    assert "must lie outside the folders of scans" in capsys.readouterr().err
    assert sorted((scans / "images").iterdir()) == before


def test_dataset_among_the_scans_is_refused(scans, capsys, monkeypatch):
    monkeypatch.setenv("nnUNet_raw", str(scans / "images"))
    assert main(["convert", "nifti", "-i", str(scans / "images"), "-d", "101", "--name", "A"]) == 2
    assert "must lie outside the folders of scans" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["0", "-1", "many"])
def test_processes_must_be_a_number_above_0(raw, scans, capsys, number):
    assert main(["convert", "nifti", "-i", str(scans / "images"), "-o", str(scans / "new"), "--processes", number]) == 2
    assert "1 or more" in capsys.readouterr().err


def test_no_pictures(raw, scans):
    assert main(["convert", "nifti", "-i", str(scans / "images"), "-o", str(scans / "new"), "--no-pictures", "--processes", "1"]) == 0
    assert not list((scans / "new").rglob("*.png"))
