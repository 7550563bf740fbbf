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
    ],
)
def test_bad_entries_are_one_sentence(write, content, changes, words):
    with pytest.raises(UserError) as error:
        read_study(write(content | changes))
    for word in words:
        assert word in str(error.value)


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
