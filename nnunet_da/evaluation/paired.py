"""Match the scores of several methods on (domain, case, label)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from nnunet_da.errors import UserError
from nnunet_da.evaluation.metric_files import UNIT, Run, read_run
from nnunet_da.evaluation.statistics import Array

LISTED = 5


@dataclass(frozen=True)
class Method:
    """One method of a comparison: a name, and one run per seed."""

    name: str
    runs: tuple[Run, ...]

    def values(self, rows: pd.MultiIndex, metric: str) -> Array:
        """(S, N): S seeds by the N (domain, case, label) of `rows`."""
        return np.stack([run.values.loc[rows, metric].to_numpy(float) for run in self.runs])


@dataclass(frozen=True)
class Pairs:
    """Methods matched row by row.

    Attributes:
        rows: the (domain, case, label) that every run of every method has.
        left_out: those that some run lacks; empty unless common cases were asked for.
    """

    methods: tuple[Method, ...]
    rows: pd.MultiIndex
    left_out: tuple[tuple[str, str, str], ...] = ()


def read_methods(arguments: Sequence[str]) -> tuple[Method, ...]:
    """FOLDER, NAME=FOLDER, or NAME=FOLDER_seed0,FOLDER_seed1 each, as on the command line.

    Without a name the method's name of evaluation.json is taken, and the folders' own names where two share one.

    Raises:
        UserError: fewer than two methods, one name twice, one folder twice as two seeds, or a folder `read_run` refuses.
    """
    if len(arguments) < 2:
        raise UserError(f"two or more methods were expected, got {len(arguments)}: name a folder of metrics for each.")
    given = [_split(argument) for argument in arguments]
    runs = [tuple(read_run(folder) for folder in folders) for _, folders in given]
    for found in runs:
        _check_seeds(found)
    names = [name or found[0].method or found[0].folder.resolve().name for (name, _), found in zip(given, runs, strict=True)]
    if len(set(names)) < len(names):
        names = [name or found[0].folder.resolve().name for (name, _), found in zip(given, runs, strict=True)]
    if len(set(names)) < len(names):
        raise UserError(f"every method needs a name of its own, got {', '.join(names)}: write NAME=FOLDER.")
    return tuple(Method(name, found) for name, found in zip(names, runs, strict=True))


def pair(methods: Sequence[Method], *, common_cases: bool = False) -> Pairs:
    """Match all runs of all methods.

    Raises:
        UserError: a run lacks what another has (named), unless `common_cases`; nothing is common; or cases of one name are not the same.
    """
    runs = [(method, run) for method in methods for run in method.runs]
    everything = list(dict.fromkeys(unit for _, run in runs for unit in run.values.index))
    lacking = {unit: [(method, run) for method, run in runs if unit not in run.values.index] for unit in everything}
    left_out = tuple(unit for unit, without in lacking.items() if without)
    if left_out and not common_cases:
        raise UserError(_unpaired(runs, lacking))
    common = [unit for unit in everything if not lacking[unit]]
    if not common:
        names = ", ".join(method.name for method in methods)
        raise UserError(f"common cases were expected in {names}, got none: compare methods scored on the same cases, domains and labels.")
    rows = pd.MultiIndex.from_tuples(common, names=UNIT)
    _check_references([run for _, run in runs], rows)
    return Pairs(tuple(methods), rows, left_out)


def listed(units: Iterable[tuple[str, str, str]]) -> str:
    """The first few (domain, case, label) in words."""
    units = list(units)
    shown = ", ".join(f"{case} of {domain} (label {label})" for domain, case, label in units[:LISTED])
    return shown + (f" and {len(units) - LISTED} more" if len(units) > LISTED else "")


def _unpaired(runs: list[tuple[Method, Run]], lacking: dict[tuple[str, str, str], list[tuple[Method, Run]]]) -> str:
    total = len(lacking)
    lines = []
    for method, run in runs:
        missing = [unit for unit, without in lacking.items() if any(other is run for _, other in without)]
        if missing:
            lines.append(f"{method.name} ({run.folder}) lacks {len(missing)} of {total}: {listed(missing)}")
    return (
        f"the same cases were expected for every method, but {'; '.join(lines)}. Score the missing ones, "
        "or compare what is common with --common-cases."
    )


def _check_references(runs: Sequence[Run], rows: pd.MultiIndex) -> None:
    """Volume minus volume error is the reference's volume: where it differs, one name stands for two cases."""
    if not all(metric in run.values for run in runs for metric in ("volume_mm3", "volume_error_mm3")):
        return
    volumes = np.stack([(run.values["volume_mm3"] - run.values["volume_error_mm3"]).loc[rows].to_numpy(float) for run in runs])
    differ = ~np.isclose(volumes, volumes[0], rtol=1e-6, atol=1e-3, equal_nan=True).all(axis=0)
    if differ.any():
        raise UserError(
            f"the same references were expected for every method, but their volumes differ for {listed(rows[differ])}: "
            "score all predictions against one folder of references."
        )


def _split(argument: str) -> tuple[str, list[Path]]:
    """Name ("" where none is given) and folders of one argument; what exists as it stands is a path, whatever is in it."""
    if argument and Path(argument).exists():
        return "", [Path(argument)]
    name, named, folders = argument.partition("=")
    parts = (folders if named else argument).split(",")
    paths = [Path(folders)] if folders and Path(folders).exists() else [Path(part) for part in parts if part]
    absent = [f", where {path} does not exist" for path in paths if not path.exists()]
    if absent or not paths or not name:
        raise UserError(
            "a folder that evaluate wrote, NAME=FOLDER, or NAME=FOLDER,FOLDER with one per seed was expected, "
            f"got {argument!r}{absent[0] if absent else ''}: correct it."
        )
    return name if named else "", paths


def _check_seeds(runs: tuple[Run, ...]) -> None:
    folders = [run.folder.resolve() for run in runs]
    repeated = next((folder for folder in folders if folders.count(folder) > 1), None)
    if repeated:
        raise UserError(f"every seed needs a folder of its own, got {repeated} twice: the same model counted twice proves nothing.")
