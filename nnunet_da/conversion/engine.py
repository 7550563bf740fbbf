"""Turn scans into a nnU-Net dataset or a plain folder, whatever their format: in parallel, resumable, with a log and pictures.

A dataset grows in its place and counts as one only when its dataset.json is written, last. A case counts as done when its record is
written, last of its files; a second run skips it if its inputs, settings and outputs are still the same.
"""

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from nnunet_da.conversion.case import PARTS, STOP, Job, convert_case
from nnunet_da.conversion.dataset import DatasetSpecification, Output, ScanFolder, write_dataset_json
from nnunet_da.conversion.lock import locked, refuse_busy
from nnunet_da.conversion.log import write_log
from nnunet_da.conversion.records import CaseRecord, read_records, remove_case
from nnunet_da.conversion.scan import TRAINING, Loaded, Scan
from nnunet_da.conversion.standing import (
    LOG,
    PLACEMENTS,
    aside_of,
    drop_aside,
    is_finished,
    move_aside,
    remove_empty_folders,
    remove_parts,
    undo,
    write_about,
)
from nnunet_da.conversion.todo import Plan, make_plan
from nnunet_da.datasets import write_json
from nnunet_da.errors import UserError
from nnunet_da.evaluation.workers import each_in, workers


@dataclass(frozen=True)
class Conversion:
    """How a conversion ended.

    Attributes:
        folder: where it is; gone again when no case could be converted.
        done: cases converted now.
        skipped: cases that an earlier run converted and that are still the same.
        failed: case -> why it was refused.
        warned: cases a person should look at.
    """

    folder: Path
    done: tuple[str, ...]
    skipped: tuple[str, ...]
    failed: dict[str, str]
    warned: tuple[str, ...] = ()


def convert_scans(
    scans: Sequence[Scan],
    load: Callable[[Scan], Loaded],
    output: Output | Path,
    *,
    overwrite: bool = False,
    processes: int = 1,
    pictures: bool = True,
) -> Conversion:
    """Convert scans, each on its own: one that is refused does not stop the others.

    Args:
        scans: what to convert; no voxel of them has been opened yet.
        load: a function of a module (it is sent to worker processes) that reads one scan and raises UserError where it cannot. `VERSION` of
            its module, 1 if there is none, tells a second run whether the loader has changed.
        output: a dataset, or a folder of images for `nnUNetv2_predict`.
        overwrite: replace another conversion, cases whose input has changed, and remove cases whose input has vanished.
        processes: cases at a time.
        pictures: draw a picture per case and a contact sheet.

    Raises:
        UserError: repeated or bad case names, an output that is taken, in use or holds the input, a full disk, or Ctrl-C. What is done by
            then is kept, and the same command continues.
    """
    output = ScanFolder(output) if isinstance(output, Path) else output
    plan = make_plan(scans, load, output, overwrite, pictures)
    if plan.changes_nothing and is_finished(output):
        return Conversion(output.folder, (), plan.skipped, {}, _warned(read_records(output.folder)))
    for folder in (output.folder, *plan.replaced):
        refuse_busy(folder)
    failed: dict[str, str] = {}
    try:
        _begin(output, plan)
        with locked(output.folder), _stoppable(output.folder / STOP):
            _convert_all(plan.jobs, processes, failed)
            _finish(output, plan, failed, pictures)
    except KeyboardInterrupt:
        kept = len(read_records(output.folder))
        raise UserError(f"stopped: {kept} of {len(scans)} cases are done in {output.folder}; the same command continues") from None
    except OSError as error:
        raise UserError(
            f"{output.folder} cannot be written ({error.strerror or error}): choose another output, or make room there"
        ) from None
    finally:
        remove_parts(output.folder)
        if not read_records(output.folder):
            undo(output)
    done = tuple(job.scan.case for job in plan.jobs if job.scan.case not in failed)
    return Conversion(output.folder, done, plan.skipped, failed, _warned(read_records(output.folder)))


def report(conversion: Conversion) -> int:
    """Say how it went: where the result is on stdout, refused cases on stderr. Returns the exit code, 1 where a case was refused."""
    done, skipped, failed = len(conversion.done), len(conversion.skipped), conversion.failed
    if done + skipped:
        print(f"{'wrote' if done else 'kept'} {conversion.folder}: {done} converted, {skipped} already there and verified")
        print(f"log {conversion.folder / LOG}: {len(conversion.warned)} cases with warnings")
        sheets = sorted((conversion.folder / "conversion").glob("contact_sheet*.png"))
        if sheets:
            print(f"pictures {sheets[0]}" + (f" and {len(sheets) - 1} more" if len(sheets) > 1 else ""))
    for case, reason in sorted(failed.items()):
        print(f"failed {case}: {' '.join(reason.split())}", file=sys.stderr)
    if aside_of(conversion.folder).is_dir():
        print(f"what this conversion replaces is kept in {aside_of(conversion.folder)} until every case is converted")
    if failed:
        kept = "the others are kept; the same command tries them again" if done + skipped else "nothing was written"
        print(f"error: {len(failed)} of {len(failed) + done + skipped} cases could not be converted, {kept}", file=sys.stderr)
    return 1 if failed else 0


def _begin(output: Output, plan: Plan) -> None:
    """From here on the output is an unfinished conversion."""
    move_aside(output, plan.replaced)
    output.folder.mkdir(parents=True, exist_ok=True)
    (output.folder / "dataset.json").unlink(missing_ok=True)
    write_about(output, finished=False)
    remove_parts(output.folder)
    (output.folder / PARTS).mkdir()
    for record in plan.vanished:
        remove_case(output.folder, record.case, record.outputs)


def _convert_all(jobs: list[Job], processes: int, failed: dict[str, str]) -> None:
    progress = tqdm(total=len(jobs), desc="converting", unit="case", disable=None)  # silent where stderr is no terminal
    with progress as bar, workers(processes, len(jobs)) as pool:
        for job, outcome in each_in(pool, convert_case, jobs):
            try:
                reason = outcome()
            except UserError:  # no further case can be written
                (job.folder / STOP).touch()
                raise
            if reason:
                failed[job.scan.case] = reason
            bar.update()


def _finish(output: Output, plan: Plan, failed: dict[str, str], pictures: bool) -> None:
    """Write what is made of all cases, dataset.json last."""
    folder = output.folder
    for job in plan.jobs:
        if job.scan.case in failed:  # what an earlier run may have made of it
            remove_case(folder, job.scan.case, output.files(job.scan))
    records = read_records(folder)
    if not records:
        return
    write_log(folder / LOG, (row for record in records.values() for row in record.rows))
    write_json({case: record.placement for case, record in records.items()}, folder / PLACEMENTS)
    if pictures:
        from nnunet_da.conversion.contact_sheet import write_contact_sheets

        write_contact_sheets(folder, list(records.values()))
    remove_empty_folders(folder)
    if not failed:
        drop_aside(folder)
    write_about(output, failed=failed, finished=True)
    training = sum(record.made_from["split"] == TRAINING for record in records.values())
    if isinstance(output, DatasetSpecification) and training:
        write_dataset_json(output, training)


def _warned(records: dict[str, CaseRecord]) -> tuple[str, ...]:
    return tuple(case for case, record in records.items() if any(row["warnings"] for row in record.rows))


@contextmanager
def _stoppable(marker: Path) -> Iterator[None]:
    """Inside, Ctrl-C and SIGTERM tell the workers to begin no further case, and end ours; only the main thread can listen."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        marker.touch()
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
