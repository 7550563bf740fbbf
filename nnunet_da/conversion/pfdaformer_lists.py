"""The case lists of the PF-DAformer release: duplicates removed and reported, leakage refused, folds written."""

import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_da.conversion.engine import Conversion
from nnunet_da.conversion.tables import read_table
from nnunet_da.errors import CheckFailed, UserError
from nnunet_da.outputs import write_whole

COLUMNS = ("data_path", "case_name")


@dataclass(frozen=True)
class CaseLists:
    """Cases to train on and to validate on, each once, none in both."""

    train: tuple[str, ...]
    validation: tuple[str, ...]

    def __contains__(self, case: str) -> bool:
        return case in self.train or case in self.validation


def read_lists(
    train_files: Sequence[Path], validation_files: Sequence[Path], root: Path, found: Collection[str], prefixes: Sequence[str]
) -> CaseLists | None:
    """Read train.csv and validation.csv, of one centre or of both, and say what was dropped.

    Args:
        train_files, validation_files: CSV files; none at all for no lists.
        root: the data folder; no data_path may leave it.
        found: cases that have files.
        prefixes: of the centres that are converted; listed cases of others are passed over.

    Raises:
        UserError: as `read_table`, a path outside the data folder, or a listed case without files.
        CheckFailed: a case in both lists.
    """
    if not train_files and not validation_files:
        return None
    if not train_files:
        raise UserError("cases to validate on need cases to train on: add --train-csv")
    train, validation = (
        [case for file in files for case in _cases(file, root) if case.startswith(tuple(prefixes))]
        for files in (train_files, validation_files)
    )
    leaked = sorted(set(train) & set(validation))
    if leaked:
        raise CheckFailed(
            f"{len(leaked)} case(s) stand in the training and in the validation list, such as '{leaked[0]}': scores on them mean nothing;"
            " remove them from one list"
        )
    missing = sorted({*train, *validation} - set(found))
    if missing:
        raise UserError(
            f"every listed case needs its files in {root}, none for '{missing[0]}' ({len(missing)} in all): complete the folder"
        )
    unlisted = sorted(set(found) - {*train, *validation})
    if unlisted:
        print(f"{len(unlisted)} cases stand in neither list and are left out, such as {unlisted[0]}")
    return CaseLists(tuple(dict.fromkeys(train)), tuple(dict.fromkeys(validation)))


def write_splits(conversion: Conversion, lists: CaseLists, *, as_test: bool) -> None:
    """Write splits_final.json, one fold, into the raw dataset: planning (stock nnU-Net's and ours) copies it to where training looks."""
    there = {*conversion.done, *conversion.skipped}
    fold = {"train": sorted(there.intersection(lists.train)), "val": sorted(there.intersection(lists.validation))}
    file = conversion.folder / "splits_final.json"
    if as_test or not fold["train"] or not fold["val"]:
        file.unlink(missing_ok=True)  # of an earlier conversion with other lists
        return
    write_whole(file, json.dumps([fold], indent=2) + "\n")
    print(f"fold 0 {file}: {len(fold['train'])} to train on, {len(fold['val'])} to validate on; planning copies it to nnUNet_preprocessed")


def _cases(file: Path, root: Path) -> list[str]:
    """Cases of one list, each once."""
    rows = read_table(file, "the case list", COLUMNS).rows
    for row in rows:
        _refuse_outside(row["data_path"], row["case_name"], root, file)
    counts = Counter(row["case_name"] for row in rows)
    if len(counts) < len(rows):
        most = counts.most_common(1)[0]
        print(f"{file}: {len(counts)} cases in {len(rows)} lines, such as '{most[0]}' in {most[1]}: each is taken once")
    return list(counts)


def _refuse_outside(data_path: str, case: str, root: Path, file: Path) -> None:
    inside = (root / data_path).resolve().is_relative_to(root.resolve())
    if not inside or Path(case).name != case:
        raise UserError(
            f"a case list must name files inside {root}, {file} names '{data_path}' for '{case}': correct it, or name another folder"
        )
