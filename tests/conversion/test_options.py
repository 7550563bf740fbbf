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


def test_no_pictures(raw, scans):
    assert main(["convert", "nifti", "-i", str(scans / "images"), "-o", str(scans / "new"), "--no-pictures", "--processes", "1"]) == 0
    assert not list((scans / "new").rglob("*.png"))
