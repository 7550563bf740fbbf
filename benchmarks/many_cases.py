"""What a case costs in preprocessing, scoring and the report, and whether memory grows with the number of cases.

PF-DAformer's source has 1,024 scans and its target 384: 1,408 cases. Here they are tiny volumes of noise with one bright ellipsoid, so that
what is measured is what every case costs on top of its voxels. Each stage is the command that a user gives, with its own processes; memory
is the largest of any one process and of all together (proportional set size, looked at every quarter second).

usage: python benchmarks/many_cases.py [--cases 88 352 1408] [--processes 2] [--output benchmarks/results/many_cases.md]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import SimpleITK as sitk

from nnunet_da import paths

SHAPE = (20, 28, 28)
COMMAND = [sys.executable, "-m", "nnunet_da.cli.main"]
POLL_SECONDS = 0.25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, nargs="+", default=[88, 352, 1408])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--output", type=Path, help="Markdown table to write, with a JSON beside it")
    options = parser.parse_args()
    rows = []
    for cases in options.cases:
        with tempfile.TemporaryDirectory() as name:
            rows += [{"cases": cases, **row} for row in measure(Path(name), cases, options.processes)]
            for row in rows[-4:]:
                print(line(row), flush=True)
    text = table(rows, options.processes)
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")
        options.output.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def measure(folder: Path, cases: int, processes: int) -> list[dict]:
    """Seconds and memory of every stage on so many cases."""
    write_dataset(folder / "nnUNet_raw" / "Dataset101_Many", cases)
    for name in ("nnUNet_preprocessed", "nnUNet_results"):
        (folder / name).mkdir()
    raw, evaluation = folder / "nnUNet_raw" / "Dataset101_Many", folder / "study" / "method"
    stages = {
        "plan": ["plan", "-d", "101", "--preset", "stock", "--processes", str(processes)],
        "preprocess": ["preprocess", "-d", "101", "-p", "StockPlans", "--processes", str(processes)],
        "evaluate": [
            *("evaluate", "-r", str(raw / "labelsTr"), "-p", str(folder / "predictions"), "-o", str(evaluation)),
            *("--images", str(raw / "imagesTr"), "--domain", "Many", "--processes", str(processes)),
        ],
        "report": ["report", str(folder / "study")],
    }
    return [{"stage": stage, **run([*COMMAND, *command], folder)} for stage, command in stages.items()]


def write_dataset(folder: Path, cases: int) -> None:
    """A nnU-Net dataset, and predictions beside nnUNet_raw that are a voxel off."""
    for path in (folder / "imagesTr", folder / "labelsTr", folder.parents[1] / "predictions"):
        path.mkdir(parents=True)
    rng, grid = np.random.default_rng(0), np.indices(SHAPE).astype(np.float32)
    for number in range(cases):
        centre, radii = np.array(SHAPE) / 2 + rng.uniform(-3, 3, 3), rng.uniform(4, 7, 3)
        inside = sum(((grid[axis] - centre[axis]) / radii[axis]) ** 2 for axis in range(3)) < 1
        name = f"many_{number:04d}"
        write(rng.normal(0, 30, SHAPE).astype(np.int16) + 500 * inside.astype(np.int16), folder / "imagesTr" / f"{name}_0000.nii.gz")
        write(inside.astype(np.uint8), folder / "labelsTr" / f"{name}.nii.gz")
        write(np.roll(inside, 1, 2).astype(np.uint8), folder.parents[1] / "predictions" / f"{name}.nii.gz")
    description = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "bone": 1}, "numTraining": cases, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(description))


def write(array: np.ndarray, file: Path) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((2.0, 2.0, 2.5))
    sitk.WriteImage(image, str(file), True)


def run(command: list[str], folder: Path) -> dict:
    """Run a command in the folders of nnU-Net below `folder`, watching the memory of its processes."""
    log, started = folder / "log.txt", time.perf_counter()
    with log.open("w") as stream:
        process = subprocess.Popen(command, env=paths.stock_environment(folder), stdout=stream, stderr=subprocess.STDOUT)
        largest, together = 0.0, 0.0
        while process.poll() is None:
            found = memory_mb(process.pid)
            largest, together = max([largest, *found]), max(together, sum(found))
            time.sleep(POLL_SECONDS)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}: {log.read_text()[-500:]}")
    return {"seconds": time.perf_counter() - started, "largest_process_mb": largest, "all_processes_mb": together}


def memory_mb(pid: int) -> list[float]:
    """Proportional set size of a process and of each of its children; Linux."""
    found = []
    for process in [psutil.Process(pid), *_children(pid)]:
        try:
            rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
            found.append(int(next(row.split()[1] for row in rollup.splitlines() if row.startswith("Pss:"))) / 1024)
        except (OSError, StopIteration):
            continue
    return found


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def line(row: dict) -> str:
    return f"{row['cases']} cases, {row['stage']}: {row['seconds']:.1f} s, largest process {row['largest_process_mb']:.0f} MB"


def table(rows: list[dict], processes: int) -> str:
    """Markdown: a row per stage and number of cases; the cost of a further case is the slope between the first and the last number."""
    command = f"python benchmarks/many_cases.py --cases {' '.join(str(cases) for cases in dict.fromkeys(row['cases'] for row in rows))}"
    lines = ["# Many cases", "", f"`{command} --processes {processes}`", ""]
    lines += ["| stage | cases | seconds | ms per case | largest process (MB) | all processes (MB) |", "|---|---|---|---|---|---|"]
    stages = list(dict.fromkeys(row["stage"] for row in rows))
    for stage in stages:
        for row in [row for row in rows if row["stage"] == stage]:
            memory = f"{row['largest_process_mb']:.0f} | {row['all_processes_mb']:.0f}"
            lines.append(f"| {stage} | {row['cases']} | {row['seconds']:.1f} | {1000 * row['seconds'] / row['cases']:.0f} | {memory} |")
    lines += [
        "",
        "Between the first and the last number of cases:",
        "",
        "| stage | ms per further case | memory of the largest process |",
        "|---|---|---|",
    ]
    for stage in stages:
        first, last = (row for row in rows if row["stage"] == stage and row["cases"] in (rows[0]["cases"], rows[-1]["cases"]))
        slope = 1000 * (last["seconds"] - first["seconds"]) / (last["cases"] - first["cases"])
        growth = last["largest_process_mb"] / first["largest_process_mb"]
        lines.append(f"| {stage} | {slope:.1f} | x {growth:.2f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
