"""What a study's arms cost: time, memory, iterations, parameters."""

import numpy as np
import pandas as pd

from nnunet_da.report.cells import Cell, Row, Table

JOBS = {"train": "Training", "adapt": "Adaptation after training", "predict": "Prediction"}


def cost_table(cost: pd.DataFrame) -> Table | None:
    """One row per arm: mean time of a trained model by kind of job, the largest memory, iterations and parameters; None without rows."""
    if cost.empty:
        return None
    jobs = [job for job in [*JOBS, *sorted(set(cost["job"]) - set(JOBS))] if job in set(cost["job"])]
    on_gpu = bool(cost["gpu_peak_mb"].notna().any())
    rows = [_row(str(arm), part, jobs, on_gpu) for arm, part in cost.groupby("arm", sort=False)]
    columns = [
        "Arm",
        "Trained models",
        *(JOBS.get(job, job) for job in jobs),
        "All together",
        "Peak memory (GB)",
        *(["Peak GPU memory (GB)"] if on_gpu else []),
        "Iterations",
        "Parameters",
    ]
    return Table("study_cost", "Compute: mean time per trained model", columns, [("", rows)], numbers=cost)


def duration(seconds: float) -> str:
    """A time in the two units that matter; an en dash where it is not known."""
    if not np.isfinite(seconds):
        return "–"
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    hours = minutes // 60
    return f"{hours} h {minutes % 60:02d} min" if hours else f"{minutes} min"


def _row(arm: str, part: pd.DataFrame, jobs: list[str], on_gpu: bool) -> Row:
    runs = part[["seed", "fold"]].drop_duplicates()
    per_job = {job: part.loc[part["job"] == job].groupby(["seed", "fold"])["seconds"].sum(min_count=1) for job in jobs}
    times = [Cell(duration(float(per_job[job].mean()))) for job in jobs]
    return Row(
        Cell(arm),
        [
            Cell(str(len(runs))),
            *times,
            Cell(duration(float(part["seconds"].sum(min_count=1)))),
            *(Cell(_gigabytes(part[column])) for column in ("peak_mb", *(["gpu_peak_mb"] if on_gpu else []))),
            Cell(_span(part["iterations"])),
            Cell(_span(part["parameters"])),
        ],
    )


def _gigabytes(peaks_mb: pd.Series) -> str:
    peak = peaks_mb.max() / 1024
    return f"{peak:.1f}" if np.isfinite(peak) else "–"


def _span(values: pd.Series) -> str:
    """One number, or the lowest to the highest."""
    found = sorted({int(value) for value in values.dropna()})
    shown = [f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}") for value in found]
    return "–" if not shown else shown[0] if len(shown) == 1 else f"{shown[0]} to {shown[-1]}"
