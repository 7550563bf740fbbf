import json

import pytest

from nnunet_da.errors import UserError
from nnunet_da.study.file import ScoredSet
from nnunet_da.study.layout import Layout
from nnunet_da.study.study import study_from_json


def test_everything_is_filled_in_and_survives_json(resolved, content, tmp_path):
    study = resolved(content)
    assert (study.source, study.targets, study.links) == ("Dataset101_A", ["Dataset102_B"], {})
    assert study.tests == [ScoredSet("Dataset101_A"), ScoredSet("Dataset102_B")]
    assert (study.baseline, study.primary.method, study.primary.target) == ("zero_weight", "both", "Dataset102_B")
    described = study.to_json(Layout(tmp_path))
    assert study_from_json(described) == study
    assert described["runs"][0]["trained"].startswith(
        "nnUNet_results/Dataset101_A/nnUNetTrainer_UDA_SourceOnly__UDAPlans__3d_fullres_source"
    )


@pytest.fixture
def own_centres(content, make_centre):
    """Two datasets of the user's with test scans; the study makes none itself. Returns their folders."""
    folders = []
    for dataset_id, name in ((101, "A"), (102, "B")):
        folder = make_centre(dataset_id, name, cases=5)
        for kind in ("images", "labels"):
            (folder / f"{kind}Ts").mkdir()
            file = min((folder / f"{kind}Tr").iterdir())
            (folder / f"{kind}Ts" / f"test_{file.name}").write_bytes(file.read_bytes())
        folders.append(folder)
    del content["phantom"]
    return folders


def test_the_users_datasets_are_linked(resolved, content, own_centres):
    study = resolved(content)
    assert sorted(study.links) == ["Dataset101_A", "Dataset102_B"]
    assert any(arm.kind == "oracle" for arm in study.arms)


def _of(folder, pattern):
    return min(folder.glob(pattern))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda a, b: _of(b, "labelsTs/*.nii.gz").unlink(), "none of its 1 scans has a label map"),
        (lambda a, b: _of(b, "imagesTs/*.nii.gz").rename(b / "imagesTs" / "scan.nii.gz"), "no scan CASE_0000"),
        (lambda a, b: _of(a, "labelsTr/*.nii.gz").unlink(), "every training case of the source"),
        (lambda a, b: _of(a, "imagesTr/*.nii.gz").unlink(), "needs 5 cases for nnU-Net's five folds, it has 4"),
        (lambda a, b: b.rename(b.with_name("Dataset999_B")), "Dataset999_B and Dataset999_Joint, both of this study, have the id 999"),
        (
            lambda a, b: _describe(b, labels={"background": 0, "tibia": 2}),
            r"must know the labels that models of Dataset101_A predict \(0, 1\)",
        ),
        (lambda a, b: _describe(b, channel_names={"0": "CT", "1": "CT"}), "has 1 of 2 channels"),
        (lambda a, b: _second_channel(b), r"must have 1 channel\(s\)"),
        (lambda a, b: _describe(b, dataset=[]), "'dataset' in Dataset102_B/dataset.json"),
    ],
)
def test_datasets_that_no_job_could_use_are_refused_before_any_training(resolved, content, own_centres, damage, words):
    damage(*own_centres)
    if own_centres[1].is_dir() is False:
        content["targets"] = [999]
    with pytest.raises(UserError, match=words):
        resolved(content)


def _second_channel(folder):
    _describe(folder, channel_names={"0": "CT", "1": "CT"})
    for file in [*folder.glob("images*/*_0000.nii.gz")]:
        file.with_name(file.name.replace("_0000", "_0001")).write_bytes(file.read_bytes())


def _describe(folder, **changes):
    file = folder / "dataset.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_missing_label_of_the_target_is_named_where_it_is_asked_for(resolved, content, own_centres):
    missing = _of(own_centres[1], "labelsTr/*.nii.gz")
    missing.unlink()
    assert "oracle" not in [arm.name for arm in resolved(content).arms]
    with pytest.raises(UserError, match=rf"no label map in labelsTr for '{missing.name.removesuffix('.nii.gz')}' \(1 of 5 scans\)"):
        resolved(content | {"references": ["source_only", "oracle"]})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": {"background": 0, "femur": 1, "tibia": 2}}, "'labels' of Dataset102_B"),
        ({"channel_names": {"0": "MRI"}}, "'channel_names'"),
    ],
)
def test_what_cannot_be_merged_leaves_oracle_and_joint_out(resolved, content, own_centres, changes, words):
    _describe(own_centres[1], **changes)
    study = resolved(content)
    assert {arm.name for arm in study.arms} == {"source_only", "zero_weight", "both", "mmd"}
    assert [(name, words in why) for name, why in study.left_out.items()] == [("oracle", True), ("joint", True)]
    with pytest.raises(UserError, match=f"'joint' trains on the target's labels, but {words}"):
        resolved(content | {"references": ["source_only", "joint"]})


def test_self_training_needs_a_target_that_can_be_merged(resolved, content, own_centres):
    _describe(own_centres[1], channel_names={"0": "MRI"})
    content["arms"].append({"name": "st", "self_train": "both"})
    with pytest.raises(UserError, match="self-training merges source and target, but 'channel_names'"):
        resolved(content)


def test_a_phantom_does_not_share_an_id_with_the_users_dataset(resolved, content, make_centre):
    folder = make_centre(102, "Mine", cases=5)
    for kind in ("images", "labels"):
        (folder / f"{kind}Tr").rename(folder / f"{kind}Ts")
    with pytest.raises(UserError, match="Dataset102_Mine and Dataset102_B, both of this study, have the id 102"):
        resolved(content | {"test_sets": [{"dataset": "Dataset102_Mine"}]})


def test_self_trainings_take_free_ids(resolved, content):
    """None of the study's own, and none of 980 to 999, which merged datasets have."""
    content["phantom"][1]["id"] = 900
    arms = [*content["arms"], {"name": "one", "self_train": "both"}, {"name": "two", "self_train": "mmd"}]
    study = resolved(content | {"targets": [900], "arms": arms, "seeds": list(range(10)), "folds": [0, 1, 2, 3, 4]})
    numbers = list(study.pseudo_ids.values())
    assert len(set(numbers)) == 100
    assert not set(numbers) & {101, 900, *range(980, 1000)}
    with pytest.raises(UserError, match="nnU-Net has ids for 999 datasets"):
        resolved(content | {"targets": [900], "arms": arms, "seeds": list(range(120)), "folds": [0, 1, 2, 3, 4]})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"source": 105}, ("'105'", "Dataset101_A")),
        ({"targets": [101]}, ("different datasets",)),
        ({"phantom": None}, ("'phantom'",)),
        ({"test_sets": [{"dataset": 101, "images": "imagesTr"}]}, ("cannot be its test cases",)),
        ({"test_sets": [{"dataset": 102, "images": "imagesTr"}]}, ("'oracle' trains on the labels of Dataset102_B",)),
        ({"primary": {"baseline": "nobody"}}, ("'nobody'", "zero_weight")),
        ({"primary": {"method": "mmd", "baseline": "mmd"}}, ("twice",)),
        ({"primary": {"target": 101}}, ("one of the targets",)),
        ({"primary": {"metric": "asd"}}, ("'asd'", "asd_mm")),
        ({"primary": {"metric": "volume_mm3"}}, ("'volume_mm3'",)),  # neither end is the better one
        ({"primary": {"metric": "nsd_2mm"}}, ("'nsd_2mm'", "nsd_1mm")),
        ({"primary": {"label": "femur"}}, ("one of 1", "'femur'")),
        ({"primary": {"alpha": 5.0}}, ("alpha",)),
        ({"margins": {"dise": 0.1}}, ("'dise'",)),
        ({"margins": {"dice": -1.0}}, ("margin of dice",)),
        ({"targets": [102, "Dataset102_B"]}, ("different datasets",)),
        ({"test_sets": [102]}, ("test_sets",)),
        ({"test_sets": [{"dataset": 102, "images": "imagesTr"}, {"dataset": "Dataset102_B"}]}, ("'Dataset102_B' comes twice",)),
        ({"nsd_mm": [0]}, ("'nsd_mm'", "above 0")),
        ({"field_of_view_mm": -5}, ("'field_of_view_mm'", "0 mm or more")),
        ({"folds": [0, 7]}, ("folds 0 to 4", "fold 7")),
        ({"batch_size": 1}, ("the arm 'both'", "2 samples per domain")),
        ({"patch_size": [32, 32, 32]}, ("'patch_size'", "stock networks plan theirs")),
        ({"references": [], "arms": [{"name": "one", "trainer": "nnUNetTrainer_UDA_GRL"}]}, ("beside the baseline 'one'",)),
    ],
)
def test_bad_studies_are_refused(resolved, content, changes, words):
    with pytest.raises(UserError) as error:
        resolved(content | changes)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("number", "changes", "words"),
    [
        (0, {"labels": False}, "needs label maps"),
        (0, {"train": 4}, "Dataset101_A needs 5 training scans"),
        (1, {"train": 4}, "'oracle' trains on the target's labels, but Dataset102_B needs 5 training scans"),
    ],
)
def test_a_phantom_that_cannot_be_trained_on_is_refused(resolved, content, number, changes, words):
    content["phantom"][number] |= changes
    with pytest.raises(UserError, match=words):
        resolved(content | {"references": ["source_only", "oracle"]})


def test_a_target_without_scored_scans_is_refused(resolved, content):
    content["phantom"][1]["test"] = 0
    with pytest.raises(UserError, match="Dataset102_B must have scans in imagesTs"):
        resolved(content)


def test_training_scans_of_a_target_can_be_scored_where_nobody_trains_on_their_labels(resolved, content):
    content |= {"test_sets": [{"dataset": 102, "images": "imagesTr"}], "references": ["source_only", "zero_weight"]}
    study = resolved(content)
    assert [study.transductive(test) for test in study.tests] == [False, True]


def test_the_question_is_about_arms_of_the_same_plans(resolved, content):
    content["arms"].append({"name": "pf", "trainer": "nnUNetTrainer_PFDAformer", "preset": "pf_daformer_demo"})
    content["primary"] = {"method": "both", "baseline": "pf"}
    with pytest.raises(UserError, match="same plans"):
        resolved(content)
