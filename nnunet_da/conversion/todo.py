"""What a conversion has to do, found out before anything is written: what is bad, what is done, what is left."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from nnunet_da.conversion.case import Job
from nnunet_da.conversion.dataset import DatasetSpecification, Output
from nnunet_da.conversion.records import CaseRecord, made_from, outputs_intact, read_records
from nnunet_da.conversion.scan import TRAINING, Loaded, Scan
from nnunet_da.conversion.standing import aside_of, find_standing, refuse_overlap
from nnunet_da.errors import UserError

CASE_NAME = r"(?!contact_sheet)\w[\w.-]*"  # a case's picture stands beside the contact sheet
MOST_NAMED = 3  # cases in one line of error
VERIFYING_THREADS = 4


@dataclass(frozen=True)
class Plan:
    """What is to do: jobs, cases that stay as they are, cases to remove, folders to move out of the way."""

    jobs: list[Job]
    skipped: tuple[str, ...]
    vanished: tuple[CaseRecord, ...] = ()
    replaced: list[Path] = field(default_factory=list)
    unfinished: bool = False  # a replaced conversion still waits for this one to be whole

    @property
    def changes_nothing(self) -> bool:
        return not (self.jobs or self.vanished or self.replaced or self.unfinished)


def make_plan(scans: Sequence[Scan], load: Callable[[Scan], Loaded], output: Output, overwrite: bool, pictures: bool) -> Plan:
    """Compare the scans with what stands in the output; nothing is written.

    Raises:
        UserError: bad scans, an output that is taken, or changes that need `overwrite`.
    """
    _refuse_bad_scans(scans, output)
    replaced = find_standing(output, overwrite)
    folder = output.folder
    refuse_overlap((source for scan in scans for source in (*scan.images, *([scan.label] if scan.label else []))), (folder, *replaced))
    records = {} if folder in replaced else read_records(folder)
    jobs = {scan.case: Job(scan, load, output, folder, made_from(scan, load), pictures) for scan in scans}
    vanished = {case: record for case, record in records.items() if case not in jobs}
    changed = {case: record for case, record in records.items() if case in jobs and record.made_from != jobs[case].made_from}
    if not overwrite:
        _refuse_changes(folder, vanished, changed, jobs)
    same = [record for case, record in records.items() if case in jobs and case not in changed and _has_picture(record) >= pictures]
    with ThreadPoolExecutor(VERIFYING_THREADS) as threads:
        intact = list(
            tqdm(threads.map(lambda record: outputs_intact(folder, record), same), total=len(same), desc="verifying", disable=None)
        )
    skipped = tuple(record.case for record, is_intact in zip(same, intact, strict=True) if is_intact)
    return Plan(
        [job for case, job in jobs.items() if case not in skipped], skipped, tuple(vanished.values()), replaced, aside_of(folder).is_dir()
    )


def _refuse_changes(folder: Path, vanished: dict[str, CaseRecord], changed: dict[str, CaseRecord], jobs: dict[str, Job]) -> None:
    if vanished:
        raise UserError(f"{folder} holds cases that are no longer among the scans, {_few(vanished)}: add --overwrite to remove them")
    if changed:
        case, record = next(iter(changed.items()))
        what = [key for key, value in jobs[case].made_from.items() if record.made_from.get(key) != value]
        raise UserError(
            f"{folder} holds cases converted from something else, {_few(changed)} (changed: {', '.join(what)}): add --overwrite to convert"
            " them again"
        )


def _refuse_bad_scans(scans: Sequence[Scan], output: Output) -> None:
    is_dataset = isinstance(output, DatasetSpecification)
    training = [scan for scan in scans if scan.split == TRAINING]
    if not (training if is_dataset else scans):
        raise UserError("a dataset needs at least one training case, got none" if is_dataset else "no scan was found")
    bad = [scan.case for scan in scans if not re.fullmatch(CASE_NAME, scan.case)]
    if bad:
        raise UserError(f"a case name must be letters, digits, '_', '-' and '.', got {_few(bad)}: rename the files or folders")
    repeated = [case for case, count in Counter(scan.case for scan in scans).items() if count > 1]
    if repeated:
        raise UserError(f"every case needs a name of its own, repeated (perhaps in training and test): {_few(repeated)}")
    unlabelled = [scan.case for scan in training if scan.label is None]
    if 0 < len(unlabelled) < len(training):
        raise UserError(
            f"either all training cases have a label or none, missing for {_few(unlabelled)}: add them, or leave out all labels"
        )
    for scan in scans:
        if scan.label is not None:
            output.label_file(scan)  # a plain folder refuses it


def _has_picture(record: CaseRecord) -> bool:
    return any(name.endswith(".png") for name in record.outputs)


def _few(cases: Sequence[str] | dict[str, CaseRecord]) -> str:
    names = sorted(cases)
    return ", ".join(f"'{name}'" for name in names[:MOST_NAMED]) + (
        f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    )
