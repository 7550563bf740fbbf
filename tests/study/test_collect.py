"""From scored runs to the report's folder: means, what failed, what was equal, what it cost."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from nnunet_da.errors import CheckFailed
from nnunet_da.evaluation.results import COLUMNS
from nnunet_da.study.collect import collect_results, mean_over_runs
from nnunet_da.study.conditions import check_conditions
from nnunet_da.study.cost import cost_table
from nnunet_da.study.jobs import plan_jobs
from nnunet_da.study.layout import Layout
from nnunet_da.study.records import Record

SHIFT = {"source_only": 0.0, "zero_weight": 0.1, "oracle": 1.0, "joint": 0.9, "both": 0.6, "mmd": 0.2}  # mm that ASD falls by
CASES = 8


@pytest.fixture
def finished(resolved, content, tmp_path):
    """A study all of whose jobs are done, with made-up scores: ASD = 3 - what the arm gains, plus what case and run add."""
    study, layout = resolved(content), Layout(tmp_path / "out")
    layout.folder.mkdir()
    jobs = plan_jobs(study, layout, 2)
    layout.jobs.write_text(json.dumps({"jobs": {job.name: {"arm": job.arm, "run": job.run} for job in jobs}}))
    for job in jobs:
        Record(job.name, "done", seconds=10.0, peak_mb=100.0, gpu_peak_mb=50.0).write(layout.record(job.name))
    rng = np.random.default_rng(0)
    of_case = rng.normal(0, 0.5, CASES)
    for arm in study.arms:
        for run in study.runs:
            for test in study.tests:
                gain = SHIFT[arm.name] if test.dataset == study.targets[0] else 0.0
                asd = 3 - gain + of_case + rng.normal(0, 0.05) + rng.normal(0, 0.05, CASES)
                write_evaluation(layout.evaluation(arm.name, run, test.dataset), arm.name, test.dataset, asd)
            fold = study.trained(arm, run, layout)
            fold.mkdir(parents=True)
            write_training(fold, study, arm, run)
    return study, layout


def write_evaluation(folder, arm, dataset, asd):
    folder.mkdir(parents=True)
    values = {"asd_mm": asd, "hd95_mm": 2 * asd, "dice": 1 - asd / 50}
    rows = [
        (f"case_{case}", dataset, "1", metric, value, "fraction" if metric == "dice" else "mm")
        for metric, found in values.items()
        for case, value in enumerate(found)
    ]
    pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(folder / "metrics.csv", index=False)
    case = {"case": "case_0", "domain": dataset, "reference": "../ref.nii.gz", "prediction": "../../pred.nii.gz", "image": None}
    manifest = {"layout": 1, "method": arm, "labels": {"1": "femur"}, "failed": {}, "cases": [case]}
    (folder / "evaluation.json").write_text(json.dumps(manifest))


def write_training(fold, study, arm, run):
    plans = {
        "dataset_name": study.dataset(arm, run),
        "plans_name": study.plans(arm),
        "configurations": {
            "3d_fullres": {"patch_size": [32, 32, 32], "nnunet_da": {"seed": 0}},
            study.configuration(arm, run): {"inherits_from": "3d_fullres", "nnunet_da": {"seed": run.seed, "mirror_axes": [0, 1]}},
        },
    }
    (fold.parent / "plans.json").write_text(json.dumps(plans))
    (fold / "validation").mkdir()
    (fold / "validation" / "case_7.nii.gz").touch()
    (fold / "curves.csv").write_text("epoch,term,value\n" + "".join(f"{epoch},train_loss,1\n" for epoch in range(3)))


def test_runs_are_averaged_case_by_case_and_one_failure_fails_the_case():
    tables = [
        pd.DataFrame([(case, "D", "1", "dice", value, "fraction") for case, value in values.items()], columns=list(COLUMNS))
        for values in ({"a": 0.5, "b": 0.9}, {"a": 0.7, "b": np.nan})
    ]
    means = mean_over_runs(tables).set_index("case")["value"]
    assert means["a"] == pytest.approx(0.6)
    assert np.isnan(means["b"])


def test_the_reports_folder_holds_everything(finished):
    study, layout = finished
    collect_results(study, layout)
    answer = json.loads((layout.results / "study_answer.json").read_text())
    assert "study_contrasts.csv" in {file.name for file in layout.results.iterdir()}
    assert answer["declaration"]["baseline"] == "zero_weight"
    assert answer["declaration"]["primary_method"] == "both"
    assert answer["kind"] == "helped"  # 0.6 mm against 0.1 mm
    shown = json.loads((layout.results / "report.json").read_text())
    assert list(shown["arms"]) == ["zero_weight", "source_only", "oracle", "joint", "both", "mmd"]  # the baseline first
    assert shown["roles"] == {"Dataset101_A": "source", "Dataset102_B": "target"}
    manifest = json.loads((layout.results / "both" / "Dataset102_B" / "evaluation.json").read_text())
    assert manifest["cases"][0]["prediction"] == "../../../evaluation/both/pred.nii.gz"
    comparison = pd.read_csv(layout.results / "comparison" / "comparison.csv")
    assert set(comparison["first"]) == {"zero_weight"}
    assert set(comparison["n_seeds"]) == {2}
    notes = json.loads((layout.results / "study_notes.json").read_text())
    assert notes["transductive"] == {"Dataset102_B": False}
    assert notes["failed"] == {}
    assert any("all 6 trained arms had the same plans" in note for note in notes["notes"])


@pytest.mark.slow
def test_the_collected_study_can_be_reported(finished):
    from nnunet_da.report.build import write_report

    study, layout = finished
    collect_results(study, layout)
    for file in layout.results.rglob("evaluation.json"):
        file.unlink()  # no scan to draw
    page = write_report(layout.results, layout.report, progress=False).read_text()
    assert "The study" in page
    assert "target forwarded, weights 0" in page


def test_a_failed_arm_is_named_and_left_out(finished):
    study, layout = finished
    for run in study.runs:
        Record(f"train/mmd.{run.name}", "failed", "no memory").write(layout.record(f"train/mmd.{run.name}"))
        Record(f"evaluate/mmd.{run.name}", "skipped", "needs train").write(layout.record(f"evaluate/mmd.{run.name}"))
    Record("evaluate/joint.seed1_fold0", "failed", "x").write(layout.record("evaluate/joint.seed1_fold0"))
    (layout.results / "mmd").mkdir(parents=True)  # of a collection before
    collect_results(replace(study, left_out={"oracle": "B has no label map"}), layout)
    assert not (layout.results / "mmd").exists()
    notes = json.loads((layout.results / "study_notes.json").read_text())
    assert notes["failed"]["mmd seed0 fold0: train"] == "no memory"
    assert "joint: trained on both centres' labels: 1 of 2 runs were scored, missing seed1_fold0." in notes["notes"]
    assert "The arm 'oracle' was left out: B has no label map." in notes["notes"]


def test_a_failed_primary_method_is_not_replaced_by_another(finished):
    study, layout = finished
    for run in study.runs:
        Record(f"evaluate/both.{run.name}", "failed", "x").write(layout.record(f"evaluate/both.{run.name}"))
    collect_results(study, layout)
    answer = json.loads((layout.results / "study_answer.json").read_text())
    assert answer["kind"] not in ("helped", "harmed")
    assert answer["declaration"]["primary_method"] == "both"


def test_nothing_scored_is_an_error(finished):
    study, layout = finished
    shutil.rmtree(layout.folder / "jobs" / "evaluate")
    with pytest.raises(CheckFailed, match="no arm was scored"):
        collect_results(study, layout)


def words(study, layout):
    return " ".join(check_conditions(study, layout, [(arm, study.runs) for arm in study.arms]))


def changed_plans(study, layout, name, change, run=0):
    file = study.model(study.arm(name), study.runs[run], layout) / "plans.json"
    plans = json.loads(file.read_text())
    change(plans["configurations"])
    file.write_text(json.dumps(plans))


def test_other_plans_are_noticed(finished):
    study, layout = finished
    changed_plans(study, layout, "mmd", lambda found: found["3d_fullres"].update(patch_size=[48, 48, 48]))
    assert "mmd was trained on other plans than target forwarded, weights 0" in words(study, layout)


@pytest.mark.parametrize(
    ("setting", "value", "usual"), [("mirror_axes", [0], [0, 1]), ("initial_lr", 0.1, None), ("deep_supervision", False, None)]
)
def test_another_augmentation_or_optimiser_is_noticed(finished, setting, value, usual):
    study, layout = finished
    name = study.configuration(study.arm("mmd"), study.runs[0])
    changed_plans(study, layout, "mmd", lambda found: found[name]["nnunet_da"].update({setting: value}))
    assert f"mmd, seed0_fold0, has {setting} = {value}, target forwarded, weights 0 {usual}" in words(study, layout)


def test_other_folds_and_short_trainings_are_noticed(finished):
    study, layout = finished
    curves = study.trained(study.arm("both"), study.runs[1], layout) / "curves.csv"
    curves.write_text("epoch,term,value\n0,train_loss,1\n")
    assert "both, seed1_fold0: 1 epochs were trained, 3 were planned." in words(study, layout)
    curves.unlink()
    assert "both, seed1_fold0: how long it was trained cannot be told" in words(study, layout)
    validation = study.trained(study.arm("mmd"), study.runs[1], layout) / "validation"
    (validation / "case_7.nii.gz").rename(validation / "case_8.nii.gz")
    assert "mmd, seed1_fold0, was validated on other cases than target forwarded, weights 0" in words(study, layout)
    shutil.rmtree(validation)
    assert "mmd, seed1_fold0: on which cases it was validated cannot be told" in words(study, layout)


def test_every_run_is_looked_at_and_not_the_first_alone(finished):
    study, layout = finished
    assert "Checked after training, for every run: all 6 trained arms" in words(study, layout)
    name = study.configuration(study.arm("mmd"), study.runs[1])
    changed_plans(study, layout, "mmd", lambda found: found[name]["nnunet_da"].update(iterations_per_epoch=9), run=1)
    found = words(study, layout)
    assert "mmd, seed1_fold0, has iterations_per_epoch = 9" in found
    assert "Checked after training" not in found


def test_time_memory_and_parameters_are_listed(finished, monkeypatch):
    study, layout = finished
    weight = torch.zeros(3, 4)
    weights = {"a.weight": weight, "decoder.a.weight": weight, "bn.running_mean": torch.zeros(9), "bn.num_batches_tracked": torch.tensor(0)}
    monkeypatch.setattr("nnunet_da.study.cost.read_checkpoint", lambda file: {"network_weights": weights})
    for arm in study.arms:
        (study.trained(arm, study.runs[0], layout) / "checkpoint_final.pth").touch()
    table = cost_table(study, layout)
    assert set(table["job"]) == {"train", "predict"}
    row = table[(table["arm"] == "both") & (table["seed"] == 1) & (table["job"] == "train")].iloc[0]
    assert (row["seconds"], row["peak_mb"], row["gpu_peak_mb"], row["iterations"], row["parameters"]) == (10.0, 100.0, 50.0, 6, 12)


def test_a_run_that_lacks_a_case_is_left_out_and_named(finished):
    study, layout = finished
    file = layout.evaluation("mmd", study.runs[1], study.targets[0]) / "metrics.csv"
    table = pd.read_csv(file)
    table[table["case"] != "case_3"].to_csv(file, index=False)
    collect_results(study, layout)
    notes = json.loads((layout.results / "study_notes.json").read_text())["notes"]
    assert any("mmd, seed1_fold0, was left out: it lacks asd_mm of case_3" in note for note in notes)
    assert json.loads((layout.results / "study_answer.json").read_text())["kind"] == "helped"


def test_without_the_baseline_failures_and_cost_are_still_told_and_no_old_answer_stays(finished):
    study, layout = finished
    collect_results(study, layout)
    for run in study.runs:
        Record(f"evaluate/zero_weight.{run.name}", "failed", "no memory").write(layout.record(f"evaluate/zero_weight.{run.name}"))
    collect_results(study, layout)
    assert json.loads((layout.results / "study_answer.json").read_text())["primary"] is None
    assert (layout.results / "study_cost.csv").is_file()
    assert "zero_weight seed0 fold0: evaluate" in json.loads((layout.results / "study_notes.json").read_text())["failed"]
