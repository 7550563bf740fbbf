"""The hold-out as folders that stock `nnUNetv2_predict` reads."""

import os
import shutil
from pathlib import Path

from nnunet_da.datasets import RawDataset, find_dataset
from nnunet_da.errors import UserError
from nnunet_da.outputs import check_output
from nnunet_da.vnet_femur.split import WHOLE, cohort_of, read_record

IMAGES, LABELS = "images", "labels"


def write_hold_out(dataset_id: str, output: Path, cohort: str = WHOLE, overwrite: bool = False) -> tuple[list[str], list[int]]:
    """Link (or, on another disk, copy) the hold-out's scans into `images` and its label maps into `labels`.

    Returns:
        Its cases, and the folds of the cohort.

    Raises:
        UserError: no split, no such cohort, a case that has left the dataset, or an output that holds such folders already.
    """
    dataset = find_dataset(dataset_id)
    part = cohort_of(read_record(dataset), cohort)
    check_output(output, (IMAGES, LABELS), overwrite)
    files = _files(dataset, part["hold_out"])
    for name, sources in files.items():
        unfinished = output / f".{name}.part"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        for source in sources:
            _link(source, unfinished / source.name)
        shutil.rmtree(output / name, ignore_errors=True)
        unfinished.replace(output / name)
    return part["hold_out"], part["folds"]


def _files(dataset: RawDataset, cases: list[str]) -> dict[str, list[Path]]:
    images, labels = dataset.training_images(), dataset.training_labels()
    gone = [case for case in cases if case not in images]
    if gone:
        raise UserError(
            f"every case of the hold-out must stand in {dataset.name}, '{gone[0]}' does not: restore it, or split again with --overwrite"
        )
    return {IMAGES: [file for case in cases for file in images[case]], LABELS: [labels[case] for case in cases]}


def _link(source: Path, name: Path) -> None:
    try:
        os.link(source.resolve(), name)
    except OSError:
        shutil.copyfile(source, name)
