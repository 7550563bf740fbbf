from pathlib import Path

import pytest

from nnunet_da import paths
from nnunet_da.errors import UserError
from nnunet_da.study.file import Primary, Resources, ScoredSet, find_study, read_study


def test_a_file_is_read_with_its_defaults(write, content):
    content |= {"resources": {"train": {"threads": 1}}, "test_sets": [{"dataset": 102, "images": "imagesTr"}]}
    study = read_study(write(content))
    assert study.title == "tiny"
    assert [arm.name for arm in study.arms] == ["both", "mmd"]
    assert study.phantom[1].dataset == "Dataset102_B"
    assert study.resources == {"train": Resources(threads=1)}
    assert study.test_sets == [ScoredSet("102", "imagesTr")]
    assert study.primary == Primary()
    assert study.margins == {"dice": 0.001, "hd95_mm": 0.2}  # 0.1 Dice points


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "two words"}, ("'name'", "two words")),
        ({"colour": 1}, ("'colour' is unknown", "targets")),
        ({"arms": []}, ("at least one arm",)),
        ({"arms": {"a": {}}}, ("must be a list",)),
        ({"arms": [{"name": "a__b", "trainer": "x"}]}, ("a__b",)),
        ({"arms": [{"name": "a", "trainer": "x"}, {"name": "a", "trainer": "y"}]}, ("'a' comes twice",)),
        ({"arms": [{"name": "a", "trainer": 1}]}, ("'arms', entry 1", "'trainer'")),
        ({"arms": [{"name": "a", "settings": {"seed": 3}}]}, ("'seed'", "itself")),
        ({"seeds": [0, 0]}, ("'seeds'", "different")),
        ({"seeds": [-1]}, ("0 or more",)),
        ({"folds": []}, ("'folds'",)),
        ({"references": ["orakel"]}, ("'orakel'", "oracle")),
        ({"primary": {"metrik": "dice"}}, ("'metrik'", "metric")),
        ({"phantom": [{"id": 1}]}, ("'name'", "entry 1")),
        ({"resources": {"train": {"cores": 1}}}, ("'cores'", "threads")),
        ({"targets": 102}, ("'targets'", "a list")),
        ({"arms": [{"name": "comparison", "trainer": "x"}]}, ("'comparison'", "rename")),
        ({"seeds": [2**31]}, ("0 to 2147483647",)),
        ({"nsd_mm": []}, ("'nsd_mm'",)),
        ({"margins": {"dice": "x"}}, ("'margins'", "a number each")),
        ({"patch_size": [32, 32]}, ("'patch_size'", "three")),
        ({"spacing_mm": [0, 1, 1]}, ("'spacing_mm'", "above 0")),
        ({"batch_size": 0}, ("'batch_size'",)),
        ({"resources": {"train": {"threads": 0}}}, ("'train'", "'threads'", "1 or more")),
        ({"resources": {"train": {"gpu": -1}}}, ("'gpu'", "0 or more")),
    ],
)
def test_bad_entries_are_one_sentence(write, content, changes, words):
    with pytest.raises(UserError) as error:
        read_study(write(content | changes))
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"id": 1000}, "1 to 999"),
        ({"name": "../../x"}, "one word"),
        ({"centre": "atlantis"}, "atlantis"),
        ({"severity": 9}, "severity"),
        ({"train": 0}, "'train'"),
        ({"seed": -1}, "'seed'"),
        ({"on": ["colour"]}, "colour"),
        ({"on": ["noise"], "off": ["noise"]}, "both for noise"),
        ({"window_mm": [100.0, 100.0]}, "three sizes"),
        ({"window_mm": []}, "three sizes"),
        ({"pixel_mm": 0}, "pixel_mm"),
        ({"slice_scale": 0}, "slice_scale"),
    ],
)
def test_a_phantom_that_cannot_be_made_is_refused_before_anything_runs(write, content, changes, words):
    content["phantom"][1] |= changes
    with pytest.raises(UserError, match=words):
        read_study(write(content))


def test_a_label_may_be_written_as_a_number(write, content):
    assert read_study(write(content | {"primary": {"label": 1}})).primary.label == "1"


def test_studies_that_ship_are_listed_where_none_is_found():
    with pytest.raises(UserError, match=r"'?nosuch.* is none.*smoke"):
        find_study(Path("nosuch"))


def test_a_missing_entry_is_named(write, content):
    del content["preset"]
    with pytest.raises(UserError, match="must hold 'preset'"):
        read_study(write(content))


def test_packaged_studies_are_found_by_name_and_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("smoke").mkdir()  # the folder of an earlier run is no study file
    assert find_study(Path("smoke")) == paths.plans_dir() / "studies" / "smoke.yaml"
    for file in sorted((paths.plans_dir() / "studies").glob("*.yaml")):
        assert read_study(Path(file.stem)).name == file.stem
