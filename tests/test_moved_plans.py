"""Plans for another dataset: same numbers, another name; folds of a merged dataset; nothing of the other dataset is overwritten."""

import json

import pytest

from nnunet_da.datasets import find_dataset, read_json, write_json
from nnunet_da.errors import UserError
from nnunet_da.merging import merge_datasets, oracle_plans, plans_of_merged, splits_of

PLANS = "UDAPlans"


@pytest.fixture
def labelled(centres_copy, add_centre):
    """The preprocessed folder of the centres, with a labelled Dataset103_C in the raw one."""
    add_centre(103, "C")
    return centres_copy / "nnUNet_preprocessed"


def plans_in(folder, dataset, name=PLANS):
    return read_json(folder / dataset / f"{name}.json", "test")


def merged_in(added=None):
    return merge_datasets(find_dataset(101), find_dataset(103), 104, "AC", cases=added)


def test_only_names_differ_in_merged_plans(labelled):
    merged = merged_in()
    assert plans_of_merged(PLANS, find_dataset(101), merged.dataset, merged.added.values()) == PLANS
    before, after = plans_in(labelled, "Dataset101_A"), plans_in(labelled, "Dataset104_AC")
    assert after["dataset_name"] == "Dataset104_AC"
    assert after["configurations"]["3d_fullres"]["nnunet_da"]["target_datasets"] == {}
    before["dataset_name"] = after["dataset_name"]
    for configuration in before["configurations"].values():
        configuration["nnunet_da"]["target_datasets"] = {}
    assert after == before
    folder = labelled / "Dataset104_AC"
    assert sorted(file.name for file in folder.iterdir()) == [
        "UDAPlans.json", "dataset.json", "dataset_fingerprint.json", "splits_final.json"
    ]  # fmt: skip
    assert read_json(folder / "dataset.json", "test") == merged.dataset.description


def test_every_fold_validates_on_the_source_alone(labelled):
    merged = merged_in(["C_01", "C_03"])
    source = find_dataset(101)
    plans_of_merged(PLANS, source, merged.dataset, merged.added.values())
    splits = json.loads((labelled / "Dataset104_AC" / "splits_final.json").read_text())
    for fold, of_source in zip(splits, splits_of(source), strict=True):
        assert fold["val"] == of_source["val"]
        assert fold["train"] == sorted([*of_source["train"], "C_01", "C_03"])


def test_folds_are_those_that_stock_training_would_make(centres_copy, make_trainer):
    (centres_copy / "nnUNet_preprocessed" / "Dataset101_A" / "splits_final.json").unlink(missing_ok=True)
    foreseen = splits_of(find_dataset(101))[2]
    train, validation = make_trainer("nnUNetTrainer_UDA_SourceOnly", PLANS, fold=2, initialize=False).do_split()
    assert foreseen == {"train": list(train), "val": list(validation)}


def test_targets_can_be_kept_but_not_the_dataset_itself(labelled):
    merged = merged_in()
    plans_of_merged(PLANS, find_dataset(101), merged.dataset, [], targets="keep")
    settings = plans_in(labelled, "Dataset104_AC")["configurations"]["3d_fullres"]["nnunet_da"]
    assert settings["target_datasets"] == {"Dataset102_B": None}
    file = labelled / "Dataset101_A" / f"{PLANS}.json"
    plans = read_json(file, "test")
    plans["configurations"]["3d_fullres"]["nnunet_da"]["target_datasets"]["Dataset104_AC"] = None
    write_json(plans, file)
    plans_of_merged(PLANS, find_dataset(101), merged.dataset, [], targets="keep")
    settings = plans_in(labelled, "Dataset104_AC")["configurations"]["3d_fullres"]["nnunet_da"]
    assert settings["target_datasets"] == {"Dataset102_B": None}


def test_one_variant_takes_its_parent_along(labelled):
    file = labelled / "Dataset101_A" / f"{PLANS}.json"
    plans = read_json(file, "test")
    plans["configurations"]["3d_fullres_v"] = {"inherits_from": "3d_fullres", "nnunet_da": {"target_datasets": {"Dataset102_B": None}}}
    write_json(plans, file)
    merged = merged_in()
    plans_of_merged(PLANS, find_dataset(101), merged.dataset, [], "3d_fullres_v")
    assert list(plans_in(labelled, "Dataset104_AC")["configurations"]) == ["3d_fullres", "3d_fullres_v"]


def test_oracle_plans_stand_beside_the_targets_own(labelled):
    own = labelled / "Dataset103_C"
    own.mkdir()
    for name in (f"{PLANS}.json", "splits_final.json", "dataset_fingerprint.json"):
        (own / name).write_text('"its own"')
    assert oracle_plans(PLANS, find_dataset(101), find_dataset(103)) == "UDAPlansFrom101"
    for name in (f"{PLANS}.json", "splits_final.json", "dataset_fingerprint.json"):
        assert (own / name).read_text() == '"its own"'
    plans = plans_in(labelled, "Dataset103_C", "UDAPlansFrom101")
    assert (plans["dataset_name"], plans["plans_name"]) == ("Dataset103_C", "UDAPlansFrom101")
    assert plans["configurations"]["3d_fullres"]["data_identifier"] == "UDAPlansFrom101_3d_fullres"
    assert plans["configurations"]["3d_fullres"]["nnunet_da"]["target_datasets"] == {}
    statistics = "foreground_intensity_properties_per_channel"
    assert plans[statistics] == plans_in(labelled, "Dataset101_A")[statistics]
    with pytest.raises(UserError, match="exist already"):
        oracle_plans(PLANS, find_dataset(101), find_dataset(103))
    oracle_plans(PLANS, find_dataset(101), find_dataset(103), overwrite=True)


def test_an_oracle_without_its_own_fingerprint_gets_one_of_its_own_scans(labelled):
    oracle_plans(PLANS, find_dataset(101), find_dataset(103))
    fingerprints = [read_json(labelled / name / "dataset_fingerprint.json", "test") for name in ("Dataset101_A", "Dataset103_C")]
    assert fingerprints[0] != fingerprints[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": {"background": 0, "hip": 1}}, "'labels'"),
        ({"file_ending": ".nrrd"}, "file_ending|needs a label|must hold images"),
        ("labels", "labelsTr"),
        ("plans", "needs the plans"),
        ("configuration", "must be one of"),
    ],
)
def test_unfit_targets_are_refused_and_nothing_is_written(labelled, change, words):
    file = labelled.parent / "nnUNet_raw" / "Dataset103_C" / "dataset.json"
    if isinstance(change, dict):
        write_json({**read_json(file, "test"), **change}, file)
    elif change == "labels":
        (file.parent / "labelsTr" / "C_02.nii.gz").unlink()
    with pytest.raises(UserError, match=words):
        oracle_plans(
            "OtherPlans" if change == "plans" else PLANS,
            find_dataset(101),
            find_dataset(103),
            "2d_x" if change == "configuration" else None,
        )
    assert not (labelled / "Dataset103_C").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [("{", "cannot be read"), ('[{"train": ["X_00"], "val": []}]', "no 'X_00'"), ('[{"train": []}]', "cannot be read")],
)
def test_damaged_folds_are_refused(labelled, content, words):
    (labelled / "Dataset101_A" / "splits_final.json").write_text(content)
    with pytest.raises(UserError, match=words):
        splits_of(find_dataset(101))


def test_too_few_cases_for_folds_are_refused(make_centre):
    make_centre(101, "A", cases=4)
    with pytest.raises(UserError, match="needs 5 cases"):
        splits_of(find_dataset(101))
