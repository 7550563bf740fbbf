"""The hold-out as folders that stock `nnUNetv2_predict` reads."""

import shutil
from pathlib import Path

from nnunet_da.datasets import RawDataset, find_dataset, write_json
from nnunet_da.errors import UserError
from nnunet_da.links import link
from nnunet_da.outputs import check_output
from nnunet_da.vnet_femur.split import WHOLE, cohort_of, read_record

IMAGES, LABELS, RECORD = "images", "labels", "vnet_femur_hold_out.json"


def write_hold_out(dataset_id: str, output: Path, cohort: str = WHOLE, overwrite: bool = False) -> tuple[list[str], list[int]]:
    """Link the hold-out's scans into `images` and its label maps into `labels`, and record that both are ours to replace.

    Returns:
        Its cases, and the folds of the cohort.

    Raises:
        UserError: no split, no such cohort, a case that has left the dataset, or an output that holds such folders already.
    """
    dataset = find_dataset(dataset_id)
    part = cohort_of(read_record(dataset), cohort)
    _check_output(output, overwrite)
    files = _files(dataset, part["hold_out"])
    output.mkdir(parents=True, exist_ok=True)
    write_json({"dataset": dataset.name, "cohort": cohort, "hold_out": part["hold_out"]}, output / RECORD)
    for folder, sources in files.items():
        unfinished = output / f".{folder}.part"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        for name, source in sources.items():
            link(source, unfinished / name, output / folder / name)
        shutil.rmtree(output / folder, ignore_errors=True)
        unfinished.replace(output / folder)
    return part["hold_out"], part["folds"]


def _check_output(output: Path, overwrite: bool) -> None:
    """Only folders that this step wrote may be replaced."""
    there = [name for name in (IMAGES, LABELS) if (output / name).exists()]
    if there and not (output / RECORD).is_file():
        raise UserError(f"{output} holds '{there[0]}', which `vnet-femur hold-out` did not write: choose another folder with -o")
    check_output(output, there, overwrite)


def _files(dataset: RawDataset, cases: list[str]) -> dict[str, dict[str, Path]]:
    """Folder -> name as nnU-Net wants it -> file of the dataset."""
    images, labels = dataset.training_images(), dataset.training_labels()
    gone = [case for case in cases if case not in images]
    if gone:
        raise UserError(
            f"every case of the hold-out must stand in {dataset.name}, '{gone[0]}' does not: restore it, or split again with --overwrite"
        )
    ending = dataset.file_ending
    return {
        IMAGES: {f"{case}_{channel:04d}{ending}": file for case in cases for channel, file in enumerate(images[case])},
        LABELS: {f"{case}{ending}": labels[case] for case in cases},
    }
