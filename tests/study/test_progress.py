import inspect
import re

import pytest
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_da.study.jobs import Job
from nnunet_da.study.layout import Layout
from nnunet_da.study.progress import Progress, covered, line
from nnunet_da.study.records import Record, failures


def test_a_line_says_how_a_job_ended():
    assert line(Record("train/mmd.seed0_fold1", "done", seconds=61.4, peak_mb=812.3)) == "train mmd seed0_fold1: done in 61 s, 812 MB"
    assert line(Record("train/a.x", "failed", "ended with code 1: no")) == "train a x: FAILED: ended with code 1: no"


@pytest.mark.parametrize(
    ("spans", "seconds"), [([], 0), ([(0, 2), (1, 3)], 3), ([(0, 1), (2, 4)], 3), ([(0, 5), (1, 2)], 5), ([(3, 4), (0, 1)], 2)]
)
def test_time_in_which_a_job_runs_counts_once(spans, seconds):
    assert covered(spans) == seconds


@pytest.fixture
def progress(tmp_path):
    layout = Layout(tmp_path)
    jobs = [Job(f"{kind}/{arm}.x", [], [], arm, "x") for arm in ("a", "b") for kind in ("train", "predict")]
    return layout, Progress(layout, jobs)


def test_ended_jobs_are_printed_once_in_the_order_of_their_ends(progress, capsys):
    layout, shown = progress
    Record("train/b.x", "done", ended=20.0).write(layout.record("train/b.x"))
    Record("train/a.x", "failed", "no", ended=10.0).write(layout.record("train/a.x"))
    Record("predict/a.x", "skipped", "no", ended=20.0).write(layout.record("predict/a.x"))
    shown.update()
    shown.update()
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["[1/4] train a x: FAILED: no", "[3/4] train b x: done in 0 s, 0 MB"]


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("2026: Mean Validation Dice:  0.92345\n", ", validation Dice 0.923"),
        (
            "2026: Mean Validation Dice:  0.5\nagain\n2026: Mean Validation Dice:  0.0\n",
            ", validation Dice 0.000: IT FOUND NOTHING, train longer",
        ),
        ("2026: Mean Validation Dice:  nan\n", ""),  # no case had anything to find
        ("no validation", ""),
    ],
)
def test_a_training_says_what_it_learnt(progress, capsys, log, words):
    layout, shown = progress
    layout.log("train/a.x").parent.mkdir(parents=True)
    layout.log("train/a.x").write_text(log)
    Record("train/a.x", "done").write(layout.record("train/a.x"))
    shown.update()
    assert capsys.readouterr().out == f"[1/4] train a x: done in 0 s, 0 MB{words}\n"


def test_nnunet_still_writes_what_is_read_of_its_logs():
    assert "Mean Validation Dice: " in inspect.getsource(nnUNetTrainer.perform_actual_validation)
    assert "Epoch {self.current_epoch}" in inspect.getsource(nnUNetTrainer.on_train_epoch_start)


def test_the_table_shows_arms_by_kinds_with_the_epoch_of_what_runs(progress):
    layout, shown = progress
    layout.log("train/a.x").parent.mkdir(parents=True)
    layout.log("train/a.x").write_text("2026: Epoch 6\n2026: Epoch time: 3 s\n2026: Epoch 7 \n2026: Current learning rate: 0.1\n")
    Record("train/b.x", "done", ended=1.0).write(layout.record("train/b.x"))
    shown.update()
    cells = [list(column.cells) for column in shown.table().columns]
    assert cells == [["a", "b"], ["0/1, epoch 7", "1/1"], ["0/1", "0/1"]]


def test_failures_are_named_by_arm_run_and_kind(tmp_path):
    layout = Layout(tmp_path)
    layout.jobs.write_text('{"jobs": {"train/a.seed0_fold0": {"arm": "a", "run": "seed0_fold0"}, "phantom/101": {"arm": "", "run": ""}}}')
    for job in ("train/a.seed0_fold0", "phantom/101"):
        Record(job, "failed", "why").write(layout.record(job))
    assert failures(layout) == {"a seed0 fold0: train": "why", "phantom 101": "why"}


def test_the_end_says_the_time_without_a_job_and_a_stop_how_far_it_came(progress, capsys):
    layout, shown = progress
    with shown:
        shown.started -= 100
        Record("train/a.x", "done", started=shown.started, ended=shown.started + 60).write(layout.record("train/a.x"))
        shown.update()
    assert re.search(r"of which 4\d\.\d s \(4\d\.\d %\) no job ran$", capsys.readouterr().out.rstrip())
    with pytest.raises(KeyboardInterrupt), shown:
        raise KeyboardInterrupt
    assert capsys.readouterr().out.splitlines()[-1].endswith("1 of 4 jobs ended: the same command goes on from there")
