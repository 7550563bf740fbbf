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


def test_the_users_datasets_are_linked(resolved, content, make_centre):
    for dataset_id, name in ((101, "A"), (102, "B")):
        folder = make_centre(dataset_id, name, cases=2)
        for kind in ("images", "labels"):
            (folder / f"{kind}Ts").mkdir()
            for file in (folder / f"{kind}Tr").iterdir():
                (folder / f"{kind}Ts" / f"test_{file.name}").write_bytes(file.read_bytes())
    del content["phantom"]
    study = resolved(content)
    assert sorted(study.links) == ["Dataset101_A", "Dataset102_B"]
    assert any(arm.kind == "oracle" for arm in study.arms)


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
    ],
)
def test_bad_studies_are_refused(resolved, content, changes, words):
    with pytest.raises(UserError) as error:
        resolved(content | changes)
    for word in words:
        assert word in str(error.value)


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
