import sys
from pathlib import Path

import pytest

from nnunet_da.study.jobs import plan_jobs, resources
from nnunet_da.study.layout import Layout


@pytest.fixture
def jobs_of(resolved, tmp_path):
    return lambda content: {job.name: job for job in plan_jobs(resolved(content), Layout(tmp_path / "out"), cores=2)}


def before(jobs, name):
    """Everything that a job waits for, itself included."""
    return {name}.union(*(before(jobs, need) for need in jobs[name].needs))


def test_every_arm_and_run_is_trained_predicted_and_scored(jobs_of, content):
    jobs = jobs_of(content)
    for kind in ("train", "predict", "evaluate"):
        names = [job.name for job in jobs.values() if job.kind == kind]
        arms = ("source_only", "zero_weight", "oracle", "joint", "both", "mmd")
        assert names == [f"{kind}/{arm}.seed{seed}_fold0" for arm in arms for seed in (0, 1)]
    assert all(need in jobs for job in jobs.values() for need in job.needs)
    assert list(jobs)[-1] == "report/report"
    assert set(jobs) == before(jobs, "report/report")


def test_jobs_before_others_stand_before_them(jobs_of, content):
    jobs, seen = jobs_of(content), set()
    for job in jobs.values():
        assert set(job.needs) <= seen
        seen.add(job.name)


def test_a_training_is_stock_and_its_arm_the_only_difference(jobs_of, content, tmp_path):
    jobs = jobs_of(content)
    configure, command = jobs["train/mmd.seed1_fold0"].commands
    assert configure[-3:] == ["configure", "mmd", "seed1_fold0"]
    assert command[0] == str(Path(sys.executable).parent / "nnUNetv2_train")
    assert command[1:4] == ["Dataset101_A", "3d_fullres_mmd_seed1", "0"]
    assert command[4:] == ["-tr", "nnUNetTrainer_UDA_MMD", "-p", "UDAPlans", "-device", "cpu"]
    _, oracle = jobs["train/oracle.seed0_fold0"].commands
    assert oracle[1] == "Dataset102_B"
    _, joint = jobs["train/joint.seed0_fold0"].commands
    assert joint[1] == "Dataset999_Joint"
    assert jobs["predict/mmd.seed1_fold0"].remakes == [
        str(tmp_path / f"out/predictions/mmd/seed1_fold0/{name}") for name in ("Dataset101_A", "Dataset102_B")
    ]


def test_a_prediction_is_stock_in_whatever_way_the_model_stands(jobs_of, content):
    content["preset"] = "uda_small_bn"
    content["arms"].append({"name": "adabn", "adapt_bn": "source_only"})
    jobs = jobs_of(content)
    source, target = jobs["predict/mmd.seed1_fold0"].commands
    assert Path(source[0]).name == "nnUNetv2_predict"
    assert source[1:5] == ["-d", "Dataset101_A", "-c", "3d_fullres_mmd_seed1"]
    assert target[target.index("-i") + 1].endswith("nnUNet_raw/Dataset102_B/imagesTs")
    assert source[-4:] == ["-npp", "0", "-nps", "0"]
    adapted, _ = jobs["predict/adabn.seed0_fold0"].commands
    assert adapted[0] == "env"
    assert adapted[1].endswith("out/adapted/adabn/seed0_fold0")
    assert Path(adapted[2]).name == "nnUNetv2_predict"
    assert adapted[3:7] == ["-d", "Dataset101_A", "-c", "3d_fullres_source_only_seed0"]


def test_no_arm_waits_for_another_but_those_that_start_from_one(jobs_of, content):
    content["preset"] = "uda_small_bn"
    content["arms"] += [{"name": "adabn", "adapt_bn": "source_only"}, {"name": "pseudo", "self_train": "mmd"}]
    jobs = jobs_of(content)
    for name in jobs:
        arm = jobs[name].arm
        others = {jobs[need].arm for need in before(jobs, name)} - {arm, ""}
        if arm:
            assert others == {"adabn": {"source_only"}, "pseudo": {"mmd"}}.get(arm, set()), name
    assert jobs["adapt/adabn.seed0_fold0"].needs == ["train/source_only.seed0_fold0"]
    assert jobs["train/pseudo.seed1_fold0"].needs == ["pseudo/pseudo.seed1_fold0"]
    assert jobs["pseudo/pseudo.seed1_fold0"].needs == ["train/mmd.seed1_fold0"]
    datasets = {jobs[f"train/pseudo.seed{seed}_fold0"].commands[1][1] for seed in (0, 1)}
    assert datasets == {"Dataset900_Pseudo", "Dataset901_Pseudo"}


def test_a_preset_that_cannot_be_prepared_stops_no_other(jobs_of, content):
    content["arms"].append({"name": "resenc", "trainer": "nnUNetTrainer_UDA_GRL", "preset": "uda_resenc"})
    jobs = jobs_of(content)
    assert jobs["prepare/uda"].needs == jobs["prepare/uda_resenc"].needs == ["phantom/101", "phantom/102"]


def test_several_targets_are_merged_once_for_oracle_and_joint(jobs_of, content):
    content["phantom"].append({"id": 103, "name": "C", "centre": "rochester", "train": 6, "test": 2})
    jobs = jobs_of({**content, "targets": [102, 103]})
    assert jobs["merge/targets"].needs == ["phantom/101", "phantom/102", "phantom/103"]
    assert jobs["merge/oracle"].needs == jobs["merge/joint"].needs == ["prepare/uda", "merge/targets"]
    assert jobs["train/oracle.seed0_fold0"].commands[1][1] == "Dataset998_TargetLabels"


def test_resources_are_the_defaults_or_the_files(resolved, content):
    study = resolved(content)
    assert resources(study, "train", 2) == {"threads": 2, "gpu": 0, "mem_mb": 24000, "runtime": 2880}
    content |= {"device": "cuda", "resources": {"train": {"threads": 6, "mem_mb": 1000, "runtime_minutes": 5}, "predict": {"gpu": 0}}}
    study = resolved(content)
    assert resources(study, "train", 16) == {"threads": 6, "gpu": 1, "mem_mb": 1000, "runtime": 5}
    assert resources(study, "predict", 16)["gpu"] == 0
    assert resources(study, "evaluate", 16)["gpu"] == 0


def test_unknown_kinds_of_job_are_refused(resolved, content):
    from nnunet_da.errors import UserError

    with pytest.raises(UserError, match="'trian' is no kind of job"):
        resolved(content | {"resources": {"trian": {"threads": 1}}})
