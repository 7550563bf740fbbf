import shutil

import pytest

from nnunet_da.cli.main import main
from nnunet_da.errors import UserError
from nnunet_da.study.leakage import refuse_trained_tests, same_content


@pytest.fixture
def centres(make_centre):
    """Two datasets whose test scans are scans of their own."""
    folders = {}
    for dataset_id, name in ((101, "A"), (102, "B")):
        folders[name] = make_centre(dataset_id, name, cases=5, seed=dataset_id)
        spare = make_centre(dataset_id + 100, f"{name}spare", cases=1, seed=dataset_id + 7)
        for kind in ("images", "labels"):
            shutil.move(str(spare / f"{kind}Tr"), str(folders[name] / f"{kind}Ts"))
        shutil.rmtree(spare)
    return folders


def test_tests_apart_from_training_pass(centres, resolved, content):
    del content["phantom"]
    refuse_trained_tests(resolved(content))


def test_a_training_scan_under_another_name_is_named(centres, resolved, content):
    del content["phantom"]
    shutil.copy(centres["A"] / "imagesTr" / "A_01_0000.nii.gz", centres["B"] / "imagesTs" / "new_0000.nii.gz")
    shutil.copy(centres["A"] / "labelsTr" / "A_01.nii.gz", centres["B"] / "labelsTs" / "new.nii.gz")
    with pytest.raises(UserError, match=r"Dataset102_B/imagesTs/new_0000\.nii\.gz holds the same scan as Dataset101_A/imagesTr/A_01_0000"):
        refuse_trained_tests(resolved(content))


def test_scans_of_the_target_that_are_scored_on_purpose_are_no_finding(centres, resolved, content):
    del content["phantom"]
    content |= {"test_sets": [{"dataset": 102, "images": "imagesTr"}], "references": []}
    refuse_trained_tests(resolved(content))


def test_only_bytes_count(tmp_path):
    files = [tmp_path / name for name in "abc"]
    for file, text in zip(files, ("same", "same", "sAme"), strict=True):
        file.write_text(text)
    assert list(same_content(files[:1], files[1:])) == [(files[0], files[1])]


def test_a_labelled_scan_is_found_among_scans_that_are_scored_on_purpose(centres, resolved, content):
    del content["phantom"]
    content |= {"test_sets": [{"dataset": 102, "images": "imagesTr"}], "references": []}
    shutil.copy(centres["A"] / "imagesTr" / "A_01_0000.nii.gz", centres["B"] / "imagesTr" / "B_00_0000.nii.gz")
    with pytest.raises(UserError, match=r"Dataset102_B/imagesTr/B_00_0000\.nii\.gz holds the same scan as Dataset101_A/imagesTr/A_01_0000"):
        refuse_trained_tests(resolved(content))


def test_only_datasets_that_are_there_are_looked_at(resolved, content):
    refuse_trained_tests(resolved(content), datasets={})  # two phantoms that nobody has made yet


def test_nothing_is_written_before_a_training_scan_is_refused(centres, nnunet_folders, write, content, tmp_path, capsys):
    del content["phantom"]
    shutil.copy(centres["A"] / "imagesTr" / "A_01_0000.nii.gz", centres["B"] / "imagesTs" / "new_0000.nii.gz")
    shutil.copy(centres["A"] / "labelsTr" / "A_01.nii.gz", centres["B"] / "labelsTs" / "new.nii.gz")
    assert main(["study", str(write(content)), "-o", str(tmp_path / "out"), "--cores", "2"]) == 2
    assert "holds the same scan as" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
