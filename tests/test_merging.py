"""Two datasets to one: names, links, labels, and what is refused with nothing left behind."""

import csv
import os
from dataclasses import replace

import pytest
import SimpleITK as sitk

from nnunet_da.datasets import find_dataset
from nnunet_da.errors import UserError
from nnunet_da.merging import merge_datasets


def names(folder, subfolder):
    return sorted(file.name for file in (folder / subfolder).iterdir())


@pytest.fixture
def pair(make_centre):
    make_centre(101, "A", cases=2, seed=1)
    make_centre(102, "B", cases=2, seed=2)
    return find_dataset(101), find_dataset(102)


def test_all_cases_of_both_are_linked(pair, nnunet_folders):
    source, other = pair
    merged = merge_datasets(source, other, 103, "AB")
    folder = nnunet_folders / "nnUNet_raw" / "Dataset103_AB"
    assert merged.dataset.folder == folder
    assert merged.source_cases == ("A_00", "A_01")
    assert merged.added == {"B_00": "B_00", "B_01": "B_01"}
    assert not merged.symbolic
    assert names(folder, "imagesTr") == ["A_00_0000.nii.gz", "A_01_0000.nii.gz", "B_00_0000.nii.gz", "B_01_0000.nii.gz"]
    assert names(folder, "labelsTr") == ["A_00.nii.gz", "A_01.nii.gz", "B_00.nii.gz", "B_01.nii.gz"]
    for dataset, file in ((source, "imagesTr/A_00_0000.nii.gz"), (other, "labelsTr/B_01.nii.gz")):
        assert os.path.samefile(dataset.folder / file, folder / file)
    assert merged.dataset.description["numTraining"] == 4
    assert merged.dataset.description["name"] == "AB"
    assert merged.dataset.training_labels().keys() == merged.dataset.training_images().keys()
    with (folder / "merging.csv").open() as stream:
        assert list(csv.reader(stream))[3] == ["B_00", "Dataset102_B", "B_00"]


def test_names_that_clash_get_the_dataset_in_front(make_centre, nnunet_folders):
    make_centre(101, "A", cases=2, seed=1)
    other = make_centre(102, "B", cases=3, seed=2)
    for file in [*(other / "imagesTr").iterdir(), *(other / "labelsTr").iterdir()]:
        file.rename(file.with_name(file.name.replace("B_", "A_")))
    merged = merge_datasets(find_dataset(101), find_dataset(102), 103, "AB")
    assert merged.added == {f"A_{i:02d}": f"Dataset102_B_A_{i:02d}" for i in range(3)}
    assert len(merged.dataset.training_images()) == 5


def test_given_labels_are_copied_and_chosen_cases_taken(make_centre, nnunet_folders, tmp_path):
    make_centre(101, "A", cases=2)
    target = find_dataset(make_centre(102, "B", cases=3, labels=False).name)
    source = find_dataset(101)
    labels = tmp_path / "labels"
    labels.mkdir()
    image = sitk.ReadImage(str(source.folder / "labelsTr" / "A_00.nii.gz"))
    sitk.WriteImage(image, str(labels / "B_02.nii.gz"))
    merged = merge_datasets(source, target, 103, "AB", labels=labels, cases=["B_02"])
    assert merged.added == {"B_02": "B_02"}
    copied = merged.dataset.folder / "labelsTr" / "B_02.nii.gz"
    assert not os.path.samefile(copied, labels / "B_02.nii.gz")
    assert copied.read_bytes() == (labels / "B_02.nii.gz").read_bytes()


def test_symbolic_links_where_hard_ones_are_impossible(pair, monkeypatch):
    def impossible(*_):
        raise OSError("another disk")

    monkeypatch.setattr(os, "link", impossible)
    merged = merge_datasets(*pair, 103, "AB")
    assert merged.symbolic
    file = merged.dataset.folder / "imagesTr" / "B_00_0000.nii.gz"
    assert file.is_symlink()
    assert sitk.ReadImage(str(file)).GetSize() == (28, 28, 20)


def test_replacing_takes_what_was_preprocessed_along(pair, nnunet_folders):
    merge_datasets(*pair, 103, "AB")
    stale = nnunet_folders / "nnUNet_preprocessed" / "Dataset103_AB" / "UDAPlans_3d_fullres"
    stale.mkdir(parents=True)
    with pytest.raises(UserError, match="there already"):
        merge_datasets(*pair, 103, "AB")
    assert stale.is_dir()
    merged = merge_datasets(*pair, 103, "AB", cases=["B_01"], overwrite=True)
    assert not stale.exists()
    assert set(merged.dataset.training_images()) == {"A_00", "A_01", "B_01"}


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (None, {"new_id": 102}, "in use by"),
        (None, {"new_id": 1000}, "between 1 and 999"),
        (None, {"new_name": "A__B"}, "single '_'"),
        (None, {"cases": ["B_07"]}, "'B_07'"),
        (None, {"cases": []}, "at least one"),
        ({"labels": {"background": 0, "hip": 1}}, {}, "must have the 'labels'"),
        ({"channel_names": {"0": "MR"}}, {}, "must have the 'channel_names'"),
        ("label", {}, "'B_01' of Dataset102_B has none"),
        ("same", {}, "twice"),
    ],
)
def test_unfit_datasets_are_refused_and_nothing_is_left(pair, nnunet_folders, change, options, words):
    source, other = pair
    if isinstance(change, dict):
        other = replace(other, description={**other.description, **change})
    elif change == "label":
        (other.folder / "labelsTr" / "B_01.nii.gz").unlink()
    elif change == "same":
        other = source
    with pytest.raises(UserError, match=words):
        merge_datasets(source, other, **{"new_id": 103, "new_name": "AB", **options})
    assert names(nnunet_folders, "nnUNet_raw") == ["Dataset101_A", "Dataset102_B"]


def test_a_dataset_that_was_not_merged_is_never_replaced(pair, make_centre, nnunet_folders):
    make_centre(103, "AB")
    with pytest.raises(UserError, match="no merged dataset"):
        merge_datasets(*pair, 103, "AB", overwrite=True)


def test_what_is_replaced_stays_until_the_new_one_is_complete(pair, nnunet_folders):
    merge_datasets(*pair, 103, "AB")
    plans = nnunet_folders / "nnUNet_preprocessed" / "Dataset103_AB" / "UDAPlans.json"
    plans.parent.mkdir()
    plans.write_text("{}")

    def fail(merged):
        (nnunet_folders / "nnUNet_preprocessed" / merged.dataset.name).mkdir()  # nothing stands there
        raise UserError("disk full")

    with pytest.raises(UserError, match="disk full"):
        merge_datasets(*pair, 103, "AB", cases=["B_01"], overwrite=True, finish=fail)
    assert plans.read_text() == "{}"
    assert set(find_dataset(103).training_images()) == {"A_00", "A_01", "B_00", "B_01"}
    with pytest.raises(UserError, match="disk full"):
        merge_datasets(*pair, 104, "Other", finish=fail)
    assert names(nnunet_folders, "nnUNet_raw") == ["Dataset101_A", "Dataset102_B", "Dataset103_AB"]


def test_what_is_merged_is_never_replaced(pair, make_centre, nnunet_folders):
    merged, other = merge_datasets(*pair, 103, "AB").dataset, find_dataset(make_centre(105, "C").name)
    for one, another in ((merged, other), (other, merged)):
        with pytest.raises(UserError, match="merged itself"):
            merge_datasets(one, another, 103, "AB", overwrite=True)
    assert len(find_dataset(103).training_images()) == 4


def test_no_case_comes_twice(pair, make_centre, nnunet_folders):
    merged = merge_datasets(*pair, 103, "AB").dataset
    more = merge_datasets(merged, find_dataset(make_centre(105, "C").name), 106, "ABC").dataset
    for one, another in ((merged, pair[1]), (more, pair[1]), (pair[0], more)):
        with pytest.raises(UserError, match="twice"):
            merge_datasets(one, another, 107, "Twice")
    assert not (nnunet_folders / "nnUNet_raw" / "Dataset107_Twice").exists()


def test_a_file_that_cannot_be_linked_leaves_nothing(pair, nnunet_folders):
    source, other = pair
    (other.folder / "imagesTr" / "B_01_0000.nii.gz").unlink()
    (other.folder / "imagesTr" / "B_01_0000.nii.gz").symlink_to("/nowhere")
    with pytest.raises(UserError, match="not there"):
        merge_datasets(source, other, 103, "AB")
    assert names(nnunet_folders, "nnUNet_raw") == ["Dataset101_A", "Dataset102_B"]
