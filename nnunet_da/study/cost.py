"""What the arms cost: time and memory of their jobs, from the records."""

from functools import cache
from pathlib import Path

import pandas as pd

from nnunet_da.checkpoints import read_checkpoint
from nnunet_da.study.arms import Arm
from nnunet_da.study.layout import Layout, Run
from nnunet_da.study.records import read_record
from nnunet_da.study.study import Study

KINDS = ("train", "adapt", "pseudo", "predict")
COLUMNS = ("arm", "seed", "fold", "job", "seconds", "peak_mb", "gpu_peak_mb", "iterations", "parameters")
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def cost_table(study: Study, layout: Layout) -> pd.DataFrame:
    """One row per job that ran for an arm: seconds of all its tries, peak memory of its processes, in MB."""
    rows = []
    for arm in study.arms:
        for run in study.runs:
            for kind in KINDS:
                record = read_record(layout.record(f"{kind}/{arm.name}.{run.name}"))
                if record is not None and record.status == "done":
                    parameters = _parameters(_checkpoint(study, arm, run, layout))
                    used = (record.seconds, record.peak_mb, record.gpu_peak_mb)
                    rows.append((arm.name, run.seed, run.fold, kind, *used, arm.iterations, parameters))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _checkpoint(study: Study, arm: Arm, run: Run, layout: Layout) -> Path:
    """Any run of an arm has as many parameters as its first."""
    first = study.runs[0] if study.trained(arm, study.runs[0], layout).is_dir() else run
    return study.trained(study.trained_arm(arm), first, layout) / "checkpoint_final.pth"


@cache
def _parameters(checkpoint: Path) -> int | None:
    """Trained numbers of a model, None where there is no checkpoint. nnU-Net's networks name many of their weights several times."""
    if not checkpoint.is_file():
        return None
    weights = read_checkpoint(checkpoint)["network_weights"]
    trained = {value.data_ptr(): value.numel() for name, value in weights.items() if not name.endswith(BUFFERS)}
    return sum(trained.values())
