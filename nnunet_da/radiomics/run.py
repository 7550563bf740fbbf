"""Measure every case of a cohort in parallel, keep each as soon as it is done, and go on after a stop."""

import contextlib
import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tqdm import tqdm

from nnunet_da.errors import UserError
from nnunet_da.evaluation.label_maps import UnreadableError
from nnunet_da.evaluation.labels import Labels
from nnunet_da.evaluation.workers import CASES_PER_PROCESS, default_processes, each
from nnunet_da.outputs import versions_of, write_whole
from nnunet_da.radiomics.cases import Cohort, RadiomicsCase
from nnunet_da.radiomics.features import FeatureExtractor
from nnunet_da.radiomics.measure import CaseValues, MaskValues, MeasureSettings, check_grids, measure_case

LAYOUT = 1  # of the files of single cases
MEASURED_BY = ("pyradiomics", "numpy", "scipy", "SimpleITK", "edt", "PyWavelets")


@dataclass(frozen=True)
class Radiomics:
    """Everything measured, and what could not be."""

    method: str
    labels: Labels
    settings: MeasureSettings
    pyradiomics_settings: dict[str, Any]
    cases: list[tuple[RadiomicsCase, CaseValues]]
    failed: dict[str, str] = field(default_factory=dict)  # case -> reason
    reused: int = 0  # cases that an earlier run had measured

    def undefined(self) -> list[tuple[RadiomicsCase, str, str, str]]:
        """(case, label, mask, reason) of every mask without features."""
        return [
            (case, label, mask, measured.undefined)
            for case, values in self.cases
            for label, masks in values.labels.items()
            for mask, measured in masks.items()
            if measured.undefined is not None
        ]


def measure_cohort(
    cohort: Cohort, settings: MeasureSettings, work_folder: Path, *, processes: int | None = None, progress: bool = True
) -> Radiomics:
    """Measure every case that the work folder does not hold yet.

    Each case is one file of the work folder, written whole or not at all. It counts as long as settings, versions, labels and the size
    and time of the three files are those it was measured with. A damaged file is listed in `failed`, and the other cases are measured.

    Args:
        cohort: cases and labels.
        settings: what to measure.
        work_folder: made where it is missing.
        processes: cases at a time; default one per core up to 8.
        progress: show a progress bar on a terminal.

    Raises:
        UserError: pyradiomics is missing, the settings are wrong, grids differ, or no case could be measured.
    """
    extractor = FeatureExtractor(settings.settings_file)
    task = _Task(cohort.labels, settings, work_folder, _basis(extractor, cohort.labels, settings))
    done = {place_of(case): values for case in cohort.cases if (values := task.stored(case)) is not None}
    todo = [case for case in cohort.cases if place_of(case) not in done]
    for case in todo:
        _refuse_other_grids(case)
    failed = dict(cohort.failed)
    reused = len(done)
    work_folder.mkdir(parents=True, exist_ok=True)
    workers = processes or default_processes(len(todo) * CASES_PER_PROCESS)  # a case takes seconds: a process pays
    with tqdm(total=len(cohort.cases), initial=reused, desc="cases", unit="case", disable=None if progress else True) as bar:
        for case, result in each(partial(_measure_and_store, task), todo, workers):
            try:
                done[place_of(case)] = result()
            except UnreadableError as error:
                failed["/".join(place_of(case))] = str(error)
            bar.update()
    if not done:
        raise UserError(f"no case could be measured; the first of {len(failed)} reasons: {next(iter(failed.values()))}")
    measured = [(case, done[place_of(case)]) for case in cohort.cases if place_of(case) in done]
    return Radiomics(cohort.method, cohort.labels, settings, extractor.settings, measured, dict(sorted(failed.items())), reused)


def place_of(case: RadiomicsCase) -> tuple[str, str]:
    """What names a case among all: two sites may use one name."""
    return case.domain, case.case


def versions() -> dict[str, str]:
    """Versions of what decides a value."""
    return versions_of(*MEASURED_BY)


@dataclass(frozen=True)
class _Task:
    """What a worker process needs beside the case."""

    labels: Labels
    settings: MeasureSettings
    folder: Path
    basis: str

    def file(self, case: RadiomicsCase) -> Path:
        return self.folder / quote(case.domain, safe=" ") / f"{quote(case.case, safe=' ')}.json"

    def stored(self, case: RadiomicsCase) -> CaseValues | None:
        """Values of an earlier run that still hold."""
        try:
            content = json.loads(self.file(case).read_text(encoding="utf-8"))
            return _from_json(content) if content["key"] == self.key(case) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def key(self, case: RadiomicsCase) -> str:
        """Changes with anything that could change a value."""
        stamps = [(file.resolve().as_posix(), status.st_size, status.st_mtime_ns) for file in case.files for status in [file.stat()]]
        return hashlib.sha256(json.dumps([self.basis, stamps]).encode()).hexdigest()


def _measure_and_store(task: _Task, case: RadiomicsCase) -> CaseValues:
    missing = next((file for file in case.files if not file.is_file()), None)
    if missing is not None:
        raise UnreadableError(f"{missing} was expected and is not there.")
    key = task.key(case)  # of the files as they were read
    values = measure_case(case, task.labels, task.settings)
    file = task.file(case)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, json.dumps({"key": key, "case": case.case, "domain": case.domain} | _to_json(values)))
    return values


def _refuse_other_grids(case: RadiomicsCase) -> None:
    """Before any case is measured: one wrong folder should not cost an hour."""
    with contextlib.suppress(UnreadableError):  # listed when its turn comes
        if all(file.is_file() for file in case.files):
            check_grids(case)


def _basis(extractor: FeatureExtractor, labels: Labels, settings: MeasureSettings) -> str:
    """What all cases are measured with, as one text."""
    plain = [extractor.settings, labels.keys, labels.ignore, dataclasses.asdict(settings.bone), settings.nulls_mm, versions(), LAYOUT]
    return json.dumps(plain, sort_keys=True, default=str)


def _to_json(values: CaseValues) -> dict[str, Any]:
    """JSON knows no NaN: None."""
    content = dataclasses.asdict(values)
    for masks in content["labels"].values():
        for measured in masks.values():
            for kind in ("features", "endpoints"):
                measured[kind] = {name: None if math.isnan(value) else value for name, value in measured[kind].items()}
    return content


def _from_json(content: Mapping[str, Any]) -> CaseValues:
    return CaseValues(
        {
            label: {
                name: MaskValues(_floats(measured["features"]), _floats(measured["endpoints"]), measured["undefined"])
                for name, measured in masks.items()
            }
            for label, masks in content["labels"].items()
        },
        content["seconds"],
    )


def _floats(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: math.nan if value is None else value for name, value in values.items()}
