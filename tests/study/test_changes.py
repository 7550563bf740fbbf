from dataclasses import replace

import pytest

from nnunet_da.datasets import write_json
from nnunet_da.errors import UserError
from nnunet_da.study import study as study_module
from nnunet_da.study.changes import Earlier, earlier_study, first_change, kept_arms
from nnunet_da.study.layout import Layout
from nnunet_da.study.records import Record


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


def test_a_recipe_that_changed_with_the_package_is_another_setting(described, monkeypatch):
    before, recipe = described(), study_module.load_preset("uda")
    monkeypatch.setattr(study_module, "load_preset", lambda name: replace(recipe, batch_size=7, comment="other words"))
    assert first_change(before, described()) == f"batch_size of the preset uda: {recipe.batch_size} there, 7 now"
    del before["presets"]  # of an earlier version
    assert first_change(before, described()) == ""


def test_an_arm_without_a_checkpoint_may_be_corrected_or_go(resolved, content, tmp_path):
    """A wrong setting of one arm must not cost the results of the others."""
    layout = Layout(tmp_path / "study")
    before, correct = resolved(content), content | {"arms": [content["arms"][0], {"name": "mmd", "trainer": "nnUNetTrainer_UDA_GRL"}]}
    layout.folder.mkdir()
    write_json(before.to_json(layout), layout.study)
    for arm in before.arms:
        if arm.name != "mmd":
            leave_checkpoint(before, arm, layout)
    earlier_study(resolved(correct), layout, overwrite=False)
    earlier_study(resolved(content | {"arms": content["arms"][:1]}), layout, overwrite=False)
    leave_checkpoint(before, before.arm("mmd"), layout)
    with pytest.raises(UserError, match="trainer of the arm 'mmd'"):
        earlier_study(resolved(correct), layout, overwrite=False)


def leave(layout, job, status="done"):
    Record(job, status).write(layout.record(job))


def test_what_failed_before_any_result_can_be_corrected_freely(resolved, content, tmp_path):
    layout = Layout(tmp_path / "study")
    before, now = resolved(content), resolved(content | {"patch_size": None, "mirroring": False})
    layout.folder.mkdir()
    write_json(before.to_json(layout), layout.study)
    leave(layout, "phantom/101")
    leave(layout, "prepare/uda", "failed")
    leave(layout, "merge/targets")
    assert earlier_study(now, layout, overwrite=False).goes
    assert not earlier_study(before, layout, overwrite=False).goes
    leave(layout, "prepare/uda")
    with pytest.raises(UserError, match="mirroring: True there, False now"):
        earlier_study(now, layout, overwrite=False)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("content_of_file", ["{}", '{"participants": 12}', '{"file": {}, "runs": 3, "arms": [], "tests": []}', "[1]", "{"])
def test_a_study_json_of_something_else_is_left_alone(resolved, content, tmp_path, content_of_file, overwrite):
    (tmp_path / "study.json").write_text(content_of_file)
    with pytest.raises(UserError, match=r"study\.json"):
        earlier_study(resolved(content), Layout(tmp_path), overwrite=overwrite)


def test_a_folder_that_holds_the_users_datasets_is_refused(resolved, content, tmp_path):
    study = replace(resolved(content), links={"Dataset101_A": str(tmp_path / "study" / "nnUNet_raw" / "Dataset101_A")})
    layout = Layout(tmp_path / "study")
    layout.folder.mkdir()
    with pytest.raises(UserError, match="must not hold the user's datasets"):
        earlier_study(study, layout, overwrite=True)


def test_arms_that_are_what_they_were_are_known_whatever_their_titles(described, content):
    both, mmd = content["arms"]
    references = {"source_only", "zero_weight", "oracle", "joint"}
    assert kept_arms(described(), described(arms=[both | {"title": "Both"}, mmd])) == {"both", "mmd", *references}
    now = described(arms=[both, mmd | {"settings": {"w_mmd": 1.0}}, {"name": "new", "trainer": "nnUNetTrainer_UDA_GRL"}])
    assert kept_arms(described(), now) == {"both", *references}
    earlier = described()
    for arm in earlier["arms"]:
        del arm["confidence"]  # of a version that had none
    assert kept_arms(earlier, described()) == {"both", "mmd", *references}


def test_an_entry_that_came_with_a_later_version_is_a_change(described):
    before = described()
    del before["primary"]["label"]
    assert first_change(before, described()) == "primary: label: nothing there, None now"


def leave_checkpoint(study, arm, layout):
    fold = study.trained(arm, study.runs[0], layout)
    fold.mkdir(parents=True)
    (fold / "checkpoint_latest.pth").touch()


def test_a_self_training_keeps_its_number_whatever_comes(resolved, content, tmp_path):
    both, *_ = content["arms"]
    one, two = ({"name": name, "self_train": "both"} for name in ("one", "two"))
    before = resolved(content | {"arms": [both, one], "seeds": [0, 1]})
    assert before.pseudo_ids == {"one.seed0_fold0": 900, "one.seed1_fold0": 901}
    layout = Layout(tmp_path)
    write_json(before.to_json(layout), layout.study)
    assert Earlier(before.to_json(layout), goes=True).pseudo_ids == {}
    more = resolved(content | {"arms": [both, two, one], "seeds": [2, 0, 1], "folds": [0, 1]}).numbered(
        Earlier(before.to_json(layout)).pseudo_ids
    )
    assert before.pseudo_ids.items() <= more.pseudo_ids.items()
    assert sorted(more.pseudo_ids.values()) == list(range(900, 912))
