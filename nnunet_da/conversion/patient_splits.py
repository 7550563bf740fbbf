"""Folds that keep what is of one patient together, in the raw dataset, from where planning copies them to where training looks."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path

from nnunet_da.conversion.splits import patient_folds
from nnunet_da.outputs import write_whole

SPLITS = "splits_final.json"


def write_patient_splits(dataset: Path, patient_of: Mapping[str, str], folds: int) -> int:
    """Write splits_final.json; none where a single patient leaves nothing to split, and one of an earlier run goes.

    Args:
        dataset: folder in nnUNet_raw.
        patient_of: training case -> whom it is from.
        folds: as many as there are patients at most.

    Returns:
        Number of folds, 0 where none were written.
    """
    folds = min(folds, len(set(patient_of.values())))
    if folds < 2:
        (dataset / SPLITS).unlink(missing_ok=True)
        return 0
    cases = sorted(patient_of)
    splits = patient_folds(cases, [patient_of[case] for case in cases], None, folds, seed=0)
    write_whole(dataset / SPLITS, json.dumps(splits, indent=2) + "\n")
    return folds


def drop_stale_splits(dataset: Path, cases: Collection[str]) -> None:
    """Remove a splits_final.json that names cases the dataset has no longer: training would stop at them."""
    path = dataset / SPLITS
    if path.is_file() and any(case not in cases for split in json.loads(path.read_text()) for case in (*split["train"], *split["val"])):
        path.unlink()
