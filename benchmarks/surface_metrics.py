"""Surface distances against MedPy, MONAI and surface-distance: the same pairs of 192^3 masks, one core, one run; then 1 and 2 processes.

Ours computes every metric of `metrics.csv`; MedPy hd, hd95 and assd; MONAI hd95 and the symmetric assd; surface-distance its distances,
hd95 and both averages. medpy (GPL) and surface-distance-based-measures come with the extra `dev` and are used here alone.

usage: python benchmarks/surface_metrics.py [--rounds 3] [--size 192] [--cases 400]
"""

import argparse
import contextlib
import datetime
import importlib.metadata
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from scipy import ndimage
from table import Case, Row
from timing import interleaved
from workload import Setup

SPACING_MM = (2.5, 0.8, 0.9)  # Z, Y, X
LIMITS = {"MedPy": 10.0, "MONAI": 4.0}  # times faster at least
SHOWN = ("close (", "poor")  # in `make bench`
Pair = tuple[np.ndarray, np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="of every comparison")
    parser.add_argument("--size", type=int, default=192, help="voxels per axis")
    parser.add_argument("--cases", type=int, default=400, help="files scored by 1 and 2 processes")
    options = parser.parse_args()
    names = ("nnunet-da", "edt", "medpy", "monai", "surface-distance-based-measures", "numpy", "scipy")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    print(f"{options.size}^3 voxels of {SPACING_MM} mm, one core, {options.rounds} rounds; {versions}; {datetime.date.today()}\n")
    pairs, measured = make_pairs(options.size), dict[str, Measured]()
    with one_core():
        _print(chain(speed_lines(pairs, measured, options.rounds), [""], value_lines(measured), [""]))
    _print(scaling_lines(pairs, options.cases, options.rounds))


def cases(setup: Setup) -> list[Case]:
    """Rows for `make bench`."""
    return [Case("surface metrics", partial(_rows, 64 if setup.size == "tiny" else 192))]


def make_pairs(size: int) -> dict[str, Pair]:
    """Reference and prediction of what a femur-like label meets in practice, and of what is hard for a method."""
    rng = np.random.default_rng(0)
    axes = np.meshgrid(*(np.linspace(-1, 1, size, dtype=np.float32),) * 3, indexing="ij", sparse=True)
    smooth = [_noise(rng, size, scale) for scale in (size / 12, size / 40)]
    body = 0.55 - np.sqrt(axes[0] ** 2 / 2.2 + axes[1] ** 2 + axes[2] ** 2)
    reference = body + 0.06 * smooth[0] > 0
    close = body + 0.06 * smooth[0] + 0.012 * smooth[1] > 0
    outlier = close.copy()
    outlier[2:9, 2:9, 2:9] = True
    tissue = smooth[1] > 0.3
    return {
        "close (a good prediction)": (reference, close),
        "close, with an island in a far corner": (reference, outlier),
        "poor (moved by 5 %)": (reference, np.roll(reference, size // 20, (0, 1, 2))),
        "far apart": (ndimage.shift(reference, -size / 3.2, order=0), ndimage.shift(reference, size / 3.2, order=0)),
        "spongy, large surface": (tissue, smooth[1] + 0.1 * _noise(rng, size, 1.0) > 0.3),
    }


def ours(pair: Pair) -> dict[str, float]:
    from nnunet_da.evaluation import overlap, surface_distances

    return overlap(*pair, SPACING_MM).metrics() | surface_distances(*pair, SPACING_MM).metrics((1.0,))


def medpy(pair: Pair) -> dict[str, float]:
    from medpy.metric import binary

    found = {"hd_mm": binary.hd, "hd95_mm": binary.hd95, "asd_mm": binary.assd}
    return {name: float(metric(pair[1], pair[0], voxelspacing=SPACING_MM)) for name, metric in found.items()}


def monai(pair: Pair) -> dict[str, float]:
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

    reference, prediction = (torch.from_numpy(mask)[None, None] for mask in pair)
    options = {"include_background": True, "spacing": list(SPACING_MM)}
    return {
        "hd95_mm": float(compute_hausdorff_distance(prediction, reference, percentile=95, **options)),
        "asd_mm": float(compute_average_surface_distance(prediction, reference, symmetric=True, **options)),
    }


def surface_distance(pair: Pair) -> dict[str, float]:
    import surface_distance as library

    found = library.compute_surface_distances(*pair, SPACING_MM)
    directed = library.compute_average_surface_distance(found)
    return {"hd95_mm": float(library.compute_robust_hausdorff(found, 95)), "asd_mm": float(np.mean(directed))}


SIDES: dict[str, Callable[[Pair], dict[str, float]]] = {"ours": ours, "MedPy": medpy, "MONAI": monai, "surface-distance": surface_distance}


def speed_lines(pairs: dict[str, Pair], measured: dict[str, "Measured"], rounds: int) -> Iterator[str]:
    """Measures pair by pair; the fewest seconds of every side, and how many times more the others need, with the range over the rounds."""
    others = [name for name in SIDES if name != "ours"]
    yield "| pair | Dice | " + " | ".join(f"{name} (s)" for name in SIDES) + " | " + " | ".join(f"{name} / ours" for name in others) + " |"
    yield "|---" * (2 + len(SIDES) + len(others)) + "|"
    measure(make_pairs(16)["close (a good prediction)"], 1)  # imports count for nobody
    for name, pair in pairs.items():
        found = measured[name] = measure(pair, rounds)
        seconds = " | ".join(f"{min(taken):.3f}" for taken in found.seconds.values())
        yield f"| {name} | {found.values['ours']['dice']:.3f} | {seconds} | " + " | ".join(map(found.share, others)) + " |"


def value_lines(measured: dict[str, "Measured"]) -> Iterator[str]:
    """Every side's values: equal by definition or not."""
    yield "| pair | metric | " + " | ".join(SIDES) + " |"
    yield "|---" * (2 + len(SIDES)) + "|"
    for name, found in measured.items():
        for metric in ("hd_mm", "hd95_mm", "asd_mm"):
            cells = (f"{values[metric]:.6f}" if metric in values else "" for values in found.values.values())
            yield f"| {name} | {metric} | " + " | ".join(cells) + " |"


@dataclass(frozen=True)
class Measured:
    """One pair by every side: processor seconds of each round, and the values."""

    seconds: dict[str, list[float]]
    values: dict[str, dict[str, float]]

    def share(self, other: str) -> str:
        """Times our seconds, by the best rounds, and from the smallest to the largest of single rounds."""
        rounds = [theirs / own for theirs, own in zip(self.seconds[other], self.seconds["ours"], strict=True)]
        return f"**{min(self.seconds[other]) / min(self.seconds['ours']):.1f}** ({min(rounds):.1f} to {max(rounds):.1f})"


def measure(pair: Pair, rounds: int) -> Measured:
    """Rounds interleaved, every other one backwards. Processor time: each side has one thread, and other programs do not count."""
    measured = Measured({side: [] for side in SIDES}, {})
    for number in range(rounds):
        for name in list(SIDES)[:: -1 if number % 2 else 1]:
            start = time.process_time()
            measured.values[name] = SIDES[name](pair)
            measured.seconds[name].append(time.process_time() - start)
    return Measured(measured.seconds, {name: measured.values[name] for name in SIDES})


def scaling_lines(pairs: dict[str, Pair], cases: int, rounds: int) -> Iterator[str]:
    """The whole command on files, by one process and by two. Wall time needs two free cores; processor time tells what sharing costs."""
    yield f"`nnunet-da evaluate` on {cases} cases of the first pair, start and reading included, best of {rounds} rounds:\n"
    yield "| processes | wall (s) | processor, all together (s) |"
    yield "|---|---|---|"
    with tempfile.TemporaryDirectory() as folder:
        _write_files(next(iter(pairs.values())), Path(folder), cases)
        taken = [[_evaluate(folder, processes) for processes in (1, 2)] for _ in range(rounds)]
    (wall_1, used_1), (wall_2, used_2) = (map(min, zip(*runs, strict=True)) for runs in zip(*taken, strict=True))
    yield f"| 1 | {wall_1:.1f} | {used_1:.1f} |"
    yield f"| 2 | {wall_2:.1f} | {used_2:.1f} |"
    yield f"\n**{wall_1 / wall_2:.2f}** times as fast here; {2 * used_1 / used_2:.2f} by what they compute."
    yield f"{os.getloadavg()[0]:.1f} programs wanted the {os.cpu_count()} cores meanwhile, ours included."


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Hold this process and torch to one core."""
    threads, cores = torch.get_num_threads(), os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else None
    torch.set_num_threads(1)
    if cores:
        os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if cores:
            os.sched_setaffinity(0, cores)


def _rows(size: int) -> list[Row]:
    """The pair that suits us best and the one that suits us least."""
    pairs = make_pairs(size)
    return [row for name, pair in pairs.items() if name.startswith(SHOWN) for row in _rows_of(f"{size}^3, {name}", pair)]


def _rows_of(name: str, pair: Pair) -> list[Row]:
    with one_core():
        taken = dict(
            zip(SIDES, interleaved([partial(side, pair) for side in SIDES.values()], torch.device("cpu"), 0, (3, 3), 1), strict=True)
        )
    on = f"{name}, one core"
    return [
        Row.compare(f"surface metrics / {other}", on, taken["ours"], taken[other], 1 / LIMITS[other] if other in LIMITS else None)
        for other in SIDES
        if other != "ours"
    ]


def _evaluate(folder: str, processes: int) -> tuple[float, float]:
    """Seconds, and processor seconds of all processes."""
    paths = ("-r", f"{folder}/r", "-p", f"{folder}/p", "-o", f"{folder}/out")
    command = [sys.executable, "-m", "nnunet_da.cli.main", "evaluate", *paths, "--processes", str(processes), "--overwrite"]
    began, used = time.perf_counter(), _children_seconds()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began, _children_seconds() - used


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _noise(rng: np.random.Generator, size: int, scale: float) -> np.ndarray:
    field = ndimage.gaussian_filter(rng.normal(size=(size,) * 3).astype(np.float32), scale)
    return field / field.std()


def _write_files(pair: Pair, folder: Path, cases: int) -> None:
    for name, mask in zip("rp", pair, strict=True):
        (folder / name).mkdir()
        image = sitk.GetImageFromArray(mask.astype(np.uint8))
        image.SetSpacing(SPACING_MM[::-1])
        sitk.WriteImage(image, str(folder / name / "case_000.nii.gz"), True)
        description = {"labels": {"background": 0, "bone": 1}, "channel_names": {"0": "CT"}, "file_ending": ".nii.gz"}
        (folder / name / "dataset.json").write_text(json.dumps(description))  # as nnUNetv2_predict leaves it
        for number in range(1, cases):
            os.link(folder / name / "case_000.nii.gz", folder / name / f"case_{number:03}.nii.gz")


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    main()
