"""Write a centre's patients as a nnU-Net dataset."""

import csv
import json
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nnunet_da.errors import UserError
from nnunet_da.phantom.cohort import Centre, PhantomCase, Window, scan_case


@dataclass(frozen=True)
class _Job:
    """One case to write."""

    centre: Centre
    case: str
    split: str
    seed: int
    window: Window
    folder: Path
    with_label: bool


def write_dataset(
    raw_folder: Path,
    dataset_id: int,
    dataset_name: str,
    centre: Centre,
    n_train: int,
    n_test: int,
    seed: int,
    labels: bool = True,
    processes: int = 1,
    *,
    window: Window | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> Path:
    """Write `Dataset<ID>_<name>` with imagesTr, labelsTr (if labels), imagesTs, labelsTs, dataset.json and phantom.csv.

    Args:
        raw_folder: nnU-Net's raw folder.
        dataset_id: 1 to 999.
        dataset_name: letters, digits and underscores.
        centre: who is scanned on what.
        n_train, n_test: cases in each split; test cases always have labels.
        seed: of everything. The same seed gives other patients at another centre.
        labels: write labelsTr.
        processes: how many cases at a time.
        window: size of the cases.
        overwrite: replace an existing dataset of that name.
        progress: show a progress bar.

    Returns:
        The dataset's folder.

    Raises:
        UserError: bad input, or the dataset exists.
    """
    target = _checked_target(raw_folder, dataset_id, dataset_name, n_train, n_test, seed, processes, overwrite)
    with tempfile.TemporaryDirectory(dir=raw_folder, prefix=".phantom_") as temporary:
        folder = Path(temporary) / target.name
        for name in ("imagesTr", "imagesTs", "labelsTs", *(["labelsTr"] if labels else [])):
            (folder / name).mkdir(parents=True)
        jobs = list(_jobs(folder, centre, n_train, n_test, seed, labels, window or Window()))
        rows = _run(jobs, processes, progress)
        _write_table(folder / "phantom.csv", rows)
        _write_description(folder / "dataset.json", centre, dataset_name, n_train, seed)
        if target.exists():
            shutil.rmtree(target)
        folder.rename(target)
    return target


def write_case(job: _Job) -> dict[str, object]:
    """Scan one case, write its image and label, return its row of phantom.csv."""
    case = scan_case(job.centre, job.seed, window=job.window)
    _write_image(case.image, case, job.folder / f"images{job.split}" / f"{job.case}_0000.nii.gz")
    if job.with_label:
        _write_image(case.label, case, job.folder / f"labels{job.split}" / f"{job.case}.nii.gz")
    return _row(job, case)


def _checked_target(
    raw_folder: Path, dataset_id: int, name: str, n_train: int, n_test: int, seed: int, processes: int, overwrite: bool
) -> Path:
    if not raw_folder.is_dir():
        raise UserError(f"the raw folder must exist, got {raw_folder}: create it or correct nnUNet_raw")
    if not 1 <= dataset_id <= 999:
        raise UserError(f"the dataset id must be 1 to 999, got {dataset_id}")
    if not name or not all(c.isalnum() or c == "_" for c in name):
        raise UserError(f"the dataset name must be letters, digits and underscores, got {name!r}")
    if n_train < 0 or n_test < 0 or n_train + n_test == 0:
        raise UserError(f"the numbers of cases must be 0 or more and not both 0, got {n_train} and {n_test}")
    if seed < 0:
        raise UserError(f"the seed must be 0 or more, got {seed}")
    if processes < 1:
        raise UserError(f"processes must be 1 or more, got {processes}")
    target = raw_folder / f"Dataset{dataset_id:03d}_{name}"
    others = [f.name for f in raw_folder.glob(f"Dataset{dataset_id:03d}_*") if f != target]
    if others:
        raise UserError(f"dataset id {dataset_id} must be free, but {others[0]} has it: choose another id")
    if target.exists() and not overwrite:
        raise UserError(f"the dataset must not exist yet, but {target.name} does: choose another id or pass --overwrite")
    return target


def _jobs(folder: Path, centre: Centre, n_train: int, n_test: int, seed: int, labels: bool, window: Window) -> Iterator[_Job]:
    for i in range(n_train + n_test):
        split = "Tr" if i < n_train else "Ts"
        state = np.random.SeedSequence([seed, zlib.crc32(centre.name.encode()), i]).generate_state(1)[0]
        yield _Job(centre, f"{centre.name}_{i + 1:04d}", split, int(state >> 1), window, folder, labels or split == "Ts")


def _run(jobs: list[_Job], processes: int, progress: bool) -> list[dict[str, object]]:
    from tqdm import tqdm

    bar = tqdm(total=len(jobs), desc="phantom", unit="case", disable=not progress)
    rows = []
    with bar:
        for row in _results(jobs, processes):
            rows.append(row)
            bar.update()
    return sorted(rows, key=lambda row: str(row["case"]))


def _results(jobs: list[_Job], processes: int) -> Iterator[dict[str, object]]:
    if processes == 1:
        yield from map(write_case, jobs)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(write_case, job) for job in jobs]):
            yield future.result()


def _write_image(array: NDArray, case: PhantomCase, path: Path) -> None:
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(array)
    image.SetSpacing(case.spacing_mm[::-1])
    image.SetOrigin(case.origin_mm)
    image.SetDirection(case.direction)
    sitk.WriteImage(image, str(path), useCompression=True, compressionLevel=1)


def _row(job: _Job, case: PhantomCase) -> dict[str, object]:
    patient, pose, scanner = case.patient, case.pose, case.scanner
    skeleton = ("head_radius_mm", "neck_shaft_angle_deg", "anteversion_deg", "joint_space_mm", "osteophyte_mm", "fat_thickness_mm")
    cortex = ("cortex_head_mm", "cortex_superior_neck_mm", "cortex_inferior_neck_mm", "cortex_shaft_mm")
    settings = ("kernel", "kilovolt", "noise_hu", "streak_hu", "offset_hu", "slope", "cupping_hu", "contrast_hu")
    return {
        "case": job.case,
        "split": job.split,
        "site": job.centre.name,
        "seed": job.seed,
        "sex": case.sex,
        "age_years": case.age_years,
        **{f"{name}_mg_cm3": value for name, value in case.densities.items()},
        **{name: round(getattr(patient, name), 3) for name in (*cortex, *skeleton)},
        "flexion_deg": round(pose.flexion_deg, 2),
        "rotation_deg": round(pose.rotation_deg, 2),
        "pixel_mm": case.spacing_mm[2],
        "slice_mm": case.spacing_mm[0],
        **{name: getattr(scanner, name) for name in settings},
        "label_volume_mm3": round(float(case.label.sum() * np.prod(case.spacing_mm)), 1),
    }


def _write_table(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _write_description(path: Path, centre: Centre, name: str, n_train: int, seed: int) -> None:
    made_by = {"centre": centre.name, "severity": centre.severity, "differs": sorted(centre.differs), "people": centre.people, "seed": seed}
    description = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "femur": 1},
        "numTraining": n_train,
        "file_ending": ".nii.gz",
        "name": name,
        "description": "synthetic left proximal femora of nnunet_da's phantom",
        "phantom": made_by,
    }
    path.write_text(json.dumps(description, indent=2) + "\n")
