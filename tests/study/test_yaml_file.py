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
    with pytest.raises(UserError, match=r"nothing\.yaml does not exist"):
        read_yaml(tmp_path / "nothing.yaml")


def test_on_and_off_are_words(tmp_path):
    """The options of the phantom are called so; YAML 1.1 takes them for booleans."""
    file = tmp_path / "a.yaml"
    file.write_text("off: [kernel]\non: yes\nlabels: false\nmirroring: true\n")
    assert read_yaml(file) == {"off": ["kernel"], "on": "yes", "labels": False, "mirroring": True}
