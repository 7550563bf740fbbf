import pytest

from nnunet_da.errors import UserError
from nnunet_da.study.yaml_file import read_yaml


def test_a_name_given_twice_is_refused(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("name: x\nsettings:\n  seed: 1\n  seed: 2\n")
    with pytest.raises(UserError, match="'seed' stands twice"):
        read_yaml(file)


@pytest.mark.parametrize(("text", "words"), [("- a\n", "holds list"), ("a: [\n", "readable YAML"), ("", "holds NoneType")])
def test_what_is_no_object_is_refused(tmp_path, text, words):
    file = tmp_path / "a.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=words):
        read_yaml(file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.yaml is not"):
        read_yaml(tmp_path / "nothing.yaml")


def test_on_and_off_are_words(tmp_path):
    """The options of the phantom are called so; YAML 1.1 takes them for booleans."""
    file = tmp_path / "a.yaml"
    file.write_text("off: [kernel]\non: yes\nlabels: false\nmirroring: true\n")
    assert read_yaml(file) == {"off": ["kernel"], "on": "yes", "labels": False, "mirroring": True}


@pytest.mark.parametrize(
    ("text", "value"),
    [("010", 10), ("1e-3", 0.001), ("5e-2", 0.05), ("1:30", "1:30"), ("-5", -5), ("2.", 2.0), ("trueish", "trueish"), ("0x1F", "0x1F")],
)
def test_numbers_are_those_of_yaml_1_2(tmp_path, text, value):
    """YAML 1.1 takes 010 for 8 and 1:30 for 90, and 1e-3 for a text."""
    file = tmp_path / "a.yaml"
    file.write_text(f"a: {text}\n")
    assert read_yaml(file) == {"a": value}


def test_objects_can_be_merged(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\n")
    assert read_yaml(file)["b"] == {"x": 1, "y": 3}


@pytest.mark.parametrize("text", ["2025-02-30", "!!int abc", "9" * 5000, "[" * 3000])
def test_values_that_there_are_not_are_refused_in_one_sentence(tmp_path, text):
    file = tmp_path / "a.yaml"
    file.write_text(f"a: {text}\n")
    with pytest.raises(UserError, match="must be readable YAML"):
        read_yaml(file)
