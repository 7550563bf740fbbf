"""A training that is stopped, by whatever and wherever, and continued with `--c` ends as if nothing had happened."""

import os
import resource
import signal
from pathlib import Path

import pytest
import torch

from nnunet_da.errors import UserError

TRANSUNET, STOCK = "PFDAformerDemoPlans", "UDAPlans"
UNBROKEN = pytest.StashKey[dict]()
RUN = {"num_epochs": 3, "iterations_per_epoch": 3, "val_iterations_per_epoch": 2, "save_every": 1}


@pytest.fixture
def begin(make_trainer, tmp_path, monkeypatch):
    """A trainer as `nnUNetv2_train` makes it, with results in a folder of this test; with `resume` as `--c` does."""
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))

    def make(name="nnUNetTrainer_PFDAformer", plans=TRANSUNET, resume=False, **changes):
        from nnunetv2.run.run_training import maybe_load_checkpoint

        trainer = make_trainer(name, plans, initialize=False, resume=resume, **(RUN | changes))
        maybe_load_checkpoint(trainer, resume, False, None)
        return trainer

    return make


def interrupt(trainer, method, calls, action):
    """Do `action` instead of the call number `calls` + 1 of a method."""
    original, count = getattr(trainer, method), [0]

    def counted(*arguments):
        count[0] += 1
        if count[0] > calls:
            action()
        return original(*arguments)

    setattr(trainer, method, counted)
    return trainer


def crash():
    raise KeyboardInterrupt


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def trained(trainer):
    trainer.run_training()
    return trainer


def everything(trainer):
    """All that a training leaves: weights, heads, optimisers, curves without the clock."""
    curves = {key: values for key, values in trainer.logger.get_checkpoint().items() if "timestamps" not in key}
    optimizers = [trainer.optimizer, *([trainer.heads_optimizer] if trainer.heads_optimizer else [])]
    states = [state for optimizer in optimizers for state in optimizer.state_dict()["state"].values()]
    return {
        "weights": [*trainer.network.state_dict().values(), *trainer.heads.state_dict().values()],
        "optimizers": [value for state in states for value in state.values() if value is not None],
        "curves": curves,
        "best": trainer._best_ema,
        "best_file": saved(trainer, "best"),
    }


def saved(trainer, name):
    """Epochs and weights of a checkpoint."""
    checkpoint = torch.load(Path(trainer.output_folder) / f"checkpoint_{name}.pth", weights_only=False)
    return checkpoint["current_epoch"], list(checkpoint["network_weights"].values())


@pytest.fixture
def unbroken(begin, request, tmp_path):
    """name, plans -> `everything` of the run that was never stopped, trained once per module in a folder of its own."""
    known = request.config.stash.setdefault(UNBROKEN, {})

    def run(name="nnUNetTrainer_PFDAformer", plans=TRANSUNET):
        if (name, plans) not in known:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("nnUNet_results", str(tmp_path / "unbroken"))
                known[name, plans] = everything(trained(begin(name, plans)))
        return known[name, plans]

    return run


def assert_same(trainer, other):
    one = everything(trainer)
    for kind in ("weights", "optimizers"):
        assert len(one[kind]) == len(other[kind]) > 0
        assert all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in zip(one[kind], other[kind], strict=True)), kind
    assert repr(one["curves"]) == repr(other["curves"])  # to the bit, and NaN equals NaN
    assert one["best"] == other["best"]
    assert one["best_file"][0] == other["best_file"][0]
    assert all(torch.equal(a, b) for a, b in zip(one["best_file"][1], other["best_file"][1], strict=True))
    folder = Path(trainer.output_folder)
    assert sorted(file.name for file in folder.glob("checkpoint_*")) == ["checkpoint_best.pth", "checkpoint_final.pth"]
    assert not list(folder.glob(".*"))
    assert all(len(values) == RUN["num_epochs"] for values in one["curves"].values())


@pytest.mark.parametrize("workers", ["0", pytest.param("1", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("name", "plans"),
    [pytest.param("nnUNetTrainer_PFDAformer", TRANSUNET, marks=pytest.mark.slow), ("nnUNetTrainer_UDA_SourceOnly", STOCK)],
)
def test_a_crash_within_an_epoch_leaves_no_trace(begin, unbroken, monkeypatch, name, plans, workers):
    monkeypatch.setenv("nnUNet_n_proc_DA", workers)
    with pytest.raises(KeyboardInterrupt):
        trained(interrupt(begin(name, plans), "train_step", 4, crash))
    resumed = begin(name, plans, resume=True)
    assert resumed.steps_done == 3
    trained(resumed)
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")  # the number of workers makes no difference
    assert_same(resumed, unbroken(name, plans))


def test_running_statistics_of_the_classifier_go_on(begin, tmp_path, monkeypatch):
    settings = {"name": "nnUNetTrainer_UDA_GRL", "plans": STOCK, "classifier_input": "standardised"}
    with pytest.raises(KeyboardInterrupt):
        trained(interrupt(begin(**settings), "train_step", 4, crash))
    resumed = trained(begin(**settings, resume=True))
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "unbroken"))
    unbroken = trained(begin(**settings))
    assert unbroken.heads["standardisation"].batches == unbroken.steps_done > 4
    assert_same(resumed, everything(unbroken))


@pytest.mark.parametrize(
    ("method", "calls", "steps"), [("train_step", 4, 5), ("validation_step", 3, 6)], ids=["in training", "in validation"]
)
def test_sigterm_saves_the_very_step(begin, unbroken, method, calls, steps):
    stopped = interrupt(begin(), method, calls, terminate)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as left:
        stopped.run_training()
    assert left.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == before
    resumed = begin(resume=True)
    assert (resumed.current_epoch, resumed.steps_done) == (1, steps)
    trained(resumed)
    assert_same(resumed, unbroken())


def leave_while_workers_start(trainer):
    """SIGTERM to the process group ends the workers that `get_dataloaders` waits for: it looks why."""

    def stop():
        terminate()
        trainer._explain(None)

    with pytest.raises(SystemExit) as left:
        trained(interrupt(trainer, "get_dataloaders", 0, stop))
    assert left.value.code == 143


def test_sigterm_while_the_first_workers_start(begin, unbroken):
    leave_while_workers_start(begin())
    resumed = begin(resume=True)
    assert (resumed.current_epoch, resumed.steps_done) == (0, 0)
    assert_same(trained(resumed), unbroken())


def test_sigterm_while_the_workers_of_a_continued_run_start(begin, unbroken):
    with pytest.raises(SystemExit):
        trained(interrupt(begin(), "train_step", 4, terminate))
    leave_while_workers_start(begin(resume=True))
    resumed = begin(resume=True)
    assert (resumed.current_epoch, resumed.steps_done) == (1, 5)
    assert_same(trained(resumed), unbroken())


def test_sigterm_while_the_last_epoch_ends(begin, unbroken):
    trainer = interrupt(begin(), "on_train_end", 0, terminate)
    with pytest.raises(SystemExit):  # else a long final validation would follow, until SIGKILL
        trainer.run_training()
    assert_same(trainer, unbroken())


def test_sigterm_without_checkpointing_just_ends(begin):
    trainer = interrupt(begin(), "train_step", 1, terminate)
    trainer.disable_checkpointing = True
    with pytest.raises(SystemExit):
        trainer.run_training()
    assert not list(Path(trainer.output_folder).glob("checkpoint*"))


def cut_in_half(file):
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def test_a_checkpoint_cut_in_half_is_reported_and_the_one_before_used(begin, unbroken, capsys):
    with pytest.raises(KeyboardInterrupt):
        trained(interrupt(begin(), "train_step", 7, crash))
    stopped = begin()
    cut_in_half(Path(stopped.output_folder) / "checkpoint_latest.pth")
    resumed = begin(resume=True)
    assert "checkpoint_latest.pth cannot be read as a checkpoint" in capsys.readouterr().out
    assert resumed.current_epoch == 1
    trained(resumed)
    assert_same(resumed, unbroken())


def test_the_checkpoint_that_was_fallen_back_on_is_not_lost_at_the_next_save(begin):
    with pytest.raises(KeyboardInterrupt):
        trained(interrupt(begin(), "train_step", 7, crash))
    cut_in_half(Path(begin().output_folder) / "checkpoint_latest.pth")
    resumed = begin(resume=True)
    for _ in range(2):
        assert saved(resumed, "previous")[0] == 1
        resumed.save_checkpoint(str(Path(resumed.output_folder) / "checkpoint_latest.pth"))


def falling_scores(trainer):
    """Its best epoch is the first: 0.5, then 0.1, then 0.2."""
    original = trainer.on_validation_epoch_end

    def scored(outputs):
        original(outputs)
        scores = trainer.logger.get_checkpoint()["ema_fg_dice"]
        scores[-1] = [0.5, 0.1, 0.2][len(scores) - 1]

    trainer.on_validation_epoch_end = scored
    return trainer


@pytest.mark.parametrize(("method", "calls"), [("train_step", 4), ("train_step", 7), ("save_checkpoint", 1)])
def test_the_best_checkpoint_is_that_of_an_unbroken_run(begin, method, calls):
    """The last case is a crash between the latest checkpoint of epoch 0 and its best one."""
    with pytest.raises(KeyboardInterrupt):
        trained(interrupt(falling_scores(begin()), method, calls, crash))
    resumed = trained(falling_scores(begin(resume=True)))
    assert resumed._best_ema == 0.5
    assert saved(resumed, "best")[0] == 1


def test_training_anew_is_not_mistaken_for_the_training_before(begin):
    trained(begin(num_epochs=1))
    with pytest.raises(KeyboardInterrupt):
        trained(interrupt(begin(), "train_step", 4, crash))
    again = begin(resume=True)
    assert again.current_epoch == 1
    assert (Path(again.output_folder) / "checkpoint_final_before.pth").is_file()


def test_without_any_readable_checkpoint_the_user_is_told(begin):
    folder = Path(begin().output_folder)
    for name in ("latest", "previous"):
        (folder / f"checkpoint_{name}.pth").write_bytes(b"half a checkp")
    with pytest.raises(UserError, match="without --c"):
        begin(resume=True)


def test_only_continuing_falls_back(begin):
    """`--val` of a damaged final checkpoint must not validate another one."""
    folder = Path(begin().output_folder)
    (folder / "checkpoint_final.pth").write_bytes(b"half a checkp")
    with pytest.raises(UserError, match="damaged"):
        begin().load_checkpoint(str(folder / "checkpoint_final.pth"))


def test_a_finished_run_stays_as_it_is(begin):
    finished = everything(trained(begin()))
    assert_same(trained(begin(resume=True)), finished)


def test_a_changed_setting_is_refused_with_both_values(begin):
    trainer = begin(w_mmd=0.1)
    trainer.initialize()
    trainer.save_checkpoint(str(Path(trainer.output_folder) / "checkpoint_latest.pth"))
    with pytest.raises(UserError, match=r"'w_mmd' was 0.1 and is 0.2"):
        begin(resume=True, w_mmd=0.2)


# --- what is no checkpoint of this run


@pytest.fixture
def damaged(begin):
    """change -> continuing from a checkpoint after `change` was done to its content."""

    def resume(change):
        trainer = begin()
        trainer.initialize()
        file = Path(trainer.output_folder) / "checkpoint_final.pth"
        trainer.save_checkpoint(str(file))
        checkpoint = torch.load(file, weights_only=False)
        change(checkpoint)
        torch.save(checkpoint, file)
        return begin(resume=True)

    return resume


class Payload:
    def __reduce__(self):
        return (Path.touch, (Path(os.environ["nnUNet_results"]) / "executed",))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["network_weights"].pop("encoder.stages.0.0.weight"), "1 missing: encoder.stages.0.0.weight"),
        (lambda c: c["network_weights"].update(other=torch.zeros(1)), "1 unexpected: other"),
        (lambda c: c["nnunet_da"]["heads"].clear(), "missing: domain_classifier.0.weight"),
        (lambda c: c["nnunet_da"].update(format=99, version="9.9"), "format 1.* is of 99 by nnunet_da 9.9"),
        (lambda c: c.pop("nnunet_da"), "checkpoint of nnunet_da, it is one of nnUNetTrainer_PFDAformer"),
        (lambda c: c.update(trainer_name="nnUNetTrainer_UDA_GRL"), "is one of nnUNetTrainer_UDA_GRL"),
        (lambda c: c["init_args"]["plans"]["configurations"]["3d_fullres"].update(batch_size=9), "'batch_size' was 9 and is 2"),
        (lambda c: c["init_args"]["plans"].update(transpose_forward=[2, 1, 0]), r"'transpose_forward' was \[2, 1, 0\] and is \[0, 1, 2\]"),
        (lambda c: c["init_args"]["plans"].pop("foreground_intensity_properties_per_channel"), "per_channel' was None and is .*mean"),
        (lambda c: c["init_args"]["dataset_json"].update(labels={"background": 0, "hip": 1}), "'labels' was .*hip.* and is"),
    ],
)
def test_checkpoints_of_other_runs_are_refused(damaged, change, words):
    with pytest.raises(UserError, match=words):
        damaged(change)


def test_another_version_with_the_same_format_goes_on_with_a_warning(damaged, capsys):
    damaged(lambda checkpoint: checkpoint["nnunet_da"].update(version="9.9"))
    assert "WARNING: nnunet_da 9.9 began this run" in capsys.readouterr().out


def test_a_checkpoint_with_a_payload_is_refused_before_it_runs(damaged):
    with pytest.raises(UserError, match="can be read"):
        damaged(lambda checkpoint: checkpoint.update(payload=Payload()))
    assert not (Path(os.environ["nnUNet_results"]) / "executed").exists()


# --- trouble while training


def test_a_full_disk_keeps_the_checkpoints_of_before(begin, unbroken):
    trainer = begin()

    def full():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    interrupt(trainer, "save_checkpoint", 2, full)  # after the latest and the best of epoch 0
    try:
        with pytest.raises(UserError, match=r"checkpoint_latest.pth could not be written .*free disk space"):
            trainer.run_training()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(Path(trainer.output_folder).glob(".*"))
    resumed = begin(resume=True)
    assert resumed.current_epoch == 1
    trained(resumed)
    assert_same(resumed, unbroken())


def spoilt(function, after):
    """The function, its result turned infinite after so many calls."""
    calls = [0]

    def call(*arguments):
        calls[0] += 1
        return function(*arguments) * (float("inf") if calls[0] > after else 1)

    return call


@pytest.mark.parametrize("term", ["seg", "mmd"])
def test_a_bad_loss_stops_with_its_name_and_keeps_the_last_good_checkpoint(begin, term):
    trainer = begin()
    trainer.initialize()
    if term == "seg":
        trainer.loss = spoilt(trainer.loss, 7)  # five steps, two of validation
    else:
        losses, mmd = trainer.adaptation_losses, spoilt(lambda loss: loss, 5)
        trainer.adaptation_losses = lambda *domains: {name: mmd(loss) if name == "mmd" else loss for name, loss in losses(*domains).items()}
    with pytest.raises(UserError, match=rf"epoch 1, step 2 got {term} = -?(nan|inf) \(cases A_"):
        trainer.run_training()
    assert all(torch.isfinite(weight).all() for weight in trainer.network.state_dict().values())
    assert begin(resume=True).current_epoch == 1


def test_a_target_of_two_scans_is_enough_to_train(begin):
    scans = ["B_00", "B_02"]
    trainer = begin(target_datasets={"Dataset102_B": scans})
    seen, step = set(), trainer.train_step

    def watched(batch):
        seen.update(batch["keys_target"])
        return step(batch)

    trainer.train_step = watched
    curves = everything(trained(trainer))["curves"]
    assert seen == {f"Dataset102_B/{scan}" for scan in scans}
    assert all(torch.isfinite(torch.tensor(curves[term])).all() for term in ("loss_adv", "loss_mmd", "gradient_mmd"))


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_target_cache_deleted_in_training_is_named(centres_copy, begin, monkeypatch, workers):
    monkeypatch.setenv("nnUNet_n_proc_DA", workers)
    many = {"iterations_per_epoch": 5, "num_epochs": 6}  # more than wait in a worker's queue
    trainer = begin(**many)
    cache = Path(trainer.preprocessed_dataset_folder_base) / f"{TRANSUNET}_3d_fullres_target_Dataset102_B"

    def delete():
        for file in cache.glob("*.b2nd"):
            file.unlink()

    interrupt(trainer, "train_step", 6, delete)
    with pytest.raises(UserError, match=r"B_0\d must stay as it is during training.*nnunet-da preprocess"):
        trainer.run_training()
    assert begin(resume=True, **many).current_epoch >= 1
