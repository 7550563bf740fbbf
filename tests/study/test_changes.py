import pytest

from nnunet_da.study.changes import first_change
from nnunet_da.study.layout import Layout


@pytest.fixture
def described(resolved, content, tmp_path):
    return lambda **changes: resolved(content | changes).to_json(Layout(tmp_path))


def test_nothing_changed(described):
    assert first_change(described(), described()) == ""


def test_arms_seeds_words_and_resources_may_come(described, content):
    more = [*content["arms"], {"name": "grl", "trainer": "nnUNetTrainer_UDA_GRL"}]
    now = described(arms=more, seeds=[0, 1, 2], folds=[0, 1], title="other", note="n", resources={"train": {"threads": 1}})
    assert first_change(described(), now) == ""
    assert first_change(now, described()) != ""  # but they may not go


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"settings": {"num_epochs": 3, "iterations_per_epoch": 2, "w_mmd": 1.0}}, "settings"),
        ({"seeds": [1, 2]}, "seeds: 0"),
        ({"margins": {"dice": 0.01}}, "margins"),
        ({"mirroring": False}, "mirroring"),
        ({"primary": {"metric": "dice"}}, "primary"),
        ({"preset": "uda_resenc"}, "preset"),
        ({"arms": [{"name": "both", "trainer": "nnUNetTrainer_UDA_GRL_MMD"}]}, "'mmd' is not in the study now"),
        (
            {"arms": [{"name": "both", "trainer": "nnUNetTrainer_UDA_GRL_MMD"}, {"name": "mmd", "trainer": "nnUNetTrainer_UDA_GRL"}]},
            "trainer of the arm 'mmd'",
        ),
    ],
)
def test_what_results_depend_on_may_not_change(described, changes, words):
    assert words in first_change(described(), described(**changes))


def test_a_self_training_may_not_be_renumbered(described, content):
    """Its dataset's number follows the order of arms, seeds and folds: what comes must come at the end."""
    both, *_ = content["arms"]
    one, two = ({"name": name, "self_train": "both"} for name in ("one", "two"))
    before = described(arms=[both, one], seeds=[0])
    assert first_change(before, described(arms=[both, one, two], seeds=[0])) == ""
    assert first_change(before, described(arms=[both, one], seeds=[0, 1])) == ""
    assert "self-training of 'one'" in first_change(before, described(arms=[both, two, one], seeds=[0]))
