import pytest

from nnunet_da.diagnosis.runs import differences, find_source_only, load_run, network_differences, source_only_trainers
from nnunet_da.errors import UserError


def test_a_run_is_matched_with_its_source_only_run(runs):
    run, source_only = load_run(runs["adapted"]), load_run(runs["source_only"])
    assert find_source_only(run) == runs["source_only"].resolve()
    assert differences(run, source_only) == network_differences(run, source_only) == []
    assert (run.is_source_only, source_only.is_source_only) == (False, True)
    assert run.name.endswith("nnUNetTrainer_PFDAformer__PFDAformerDemoPlans__3d_fullres/fold_0")


def test_names_of_source_only_trainers():
    assert source_only_trainers("nnUNetTrainer_UDA_GRL_MMD")[-1] == "nnUNetTrainer_UDA_SourceOnly"


def setting(name, value):
    return lambda content: content["nnunet_da"]["settings"].update({name: value})


def architecture(content):
    content["init_args"]["plans"]["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["depth"] = 9


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (setting("seed", 8), "seed is 7 here and 8 there"),
        (setting("num_epochs", 9), "num_epochs is 2 here and 9 there"),
        (setting("initial_lr", 0.5), "initial_lr"),
        (lambda content: content["init_args"].update(fold=3), "fold is 0 here and 3 there"),
        (lambda content: content["nnunet_da"].update(version="0.0.1"), "nnunet_da version"),
        (lambda content: content.update(current_epoch=77), "trained epochs"),
        (architecture, "architecture"),
        (lambda content: content.update(trainer_name="nnUNetTrainer_PFDAformer_GRL"), "no source-only trainer"),
    ],
)
def test_what_makes_runs_incomparable_is_named(runs, edit_checkpoint, change, words):
    edit_checkpoint(runs["source_only"], change)
    found = differences(load_run(runs["adapted"]), load_run(runs["source_only"]))
    assert len(found) == 1
    assert words in found[0]


def test_alignment_settings_may_differ(runs, edit_checkpoint):
    edit_checkpoint(runs["source_only"], setting("w_mmd", 9.0))
    edit_checkpoint(runs["source_only"], setting("target_datasets", {}))
    for name, value in {
        "shuffle_domains": True,
        "classifier_input": "standardised",
        "restyle_probability": 0.1,
        "fourier_window": 0.2,
        "fourier_mix": 0.3,
        "l2_weight": 1.0,
    }.items():
        edit_checkpoint(runs["source_only"], setting(name, value))
    assert differences(load_run(runs["adapted"]), load_run(runs["source_only"])) == []


def test_unseeded_runs_are_not_compared(runs, edit_checkpoint):
    for folder in runs.values():
        edit_checkpoint(folder, setting("seed", None))
    assert "not seeded" in differences(load_run(runs["adapted"]), load_run(runs["source_only"]))[0]


def test_another_network_cannot_see_the_same_scans(runs, edit_checkpoint):
    edit_checkpoint(runs["source_only"], architecture)
    assert network_differences(load_run(runs["adapted"]), load_run(runs["source_only"])) == ["the networks differ"]


def test_bad_runs_are_refused(runs, tmp_path, edit_checkpoint):
    with pytest.raises(UserError, match="must be a fold"):
        load_run(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"found checkpoint_final\.pth"):
        load_run(runs["adapted"], "best")
    edit_checkpoint(runs["adapted"], lambda content: content.pop("nnunet_da"))
    with pytest.raises(UserError, match="trainer of nnunet_da"):
        load_run(runs["adapted"])
