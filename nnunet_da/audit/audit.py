"""Audit two or more datasets: measure every scan, look for leaks, probe for the site."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nnunet_da.audit.duplicates import Candidate, Match, candidates, lay_over
from nnunet_da.audit.leakage import PATIENT, SCAN, Leak, folds_of, in_both_parts, leaks_of, same_patient
from nnunet_da.audit.measure import Job, Measured, is_ct, measure
from nnunet_da.audit.preprocessed import Preprocessing, from_grids, from_plans
from nnunet_da.audit.probing import SiteProbe, probe_sites
from nnunet_da.audit.protocol import LabelDifference, label_differences
from nnunet_da.audit.scans import TRAIN, AuditScan, Grid, find_datasets, find_scans, read_grid
from nnunet_da.audit.sides import Flips, flips_by_content, orientations, sides_noted
from nnunet_da.audit.words import some
from nnunet_da.datasets import RawDataset
from nnunet_da.errors import UserError
from nnunet_da.evaluation.workers import default_processes, each

STEPS_ACROSS = 80  # of the fingerprint's grid over an ordinary scan
RAW, AFTER, GRID, NOISE = "scans", "preprocessed", "grid", "noise"  # the sets of features that are probed


@dataclass(frozen=True)
class Options:
    """What the user chose; see the command's help."""

    source: str
    targets: tuple[str, ...]
    patients: Path | None = None
    plans: str | None = None
    configuration: str = "3d_fullres"
    target_labels: bool = False
    permutations: int = 200
    seed: int = 0
    processes: int | None = None


@dataclass(frozen=True)
class Audit:
    """Everything found.

    Attributes:
        scans: every scan, readable or not.
        measured: the readable ones, in the same order.
        unreadable: (scan, reason), for the scan or its label map.
        leaks: what must not be; the command ends with 1.
        repeats: duplicates and shared patients that stay on one side.
        compared: how many pairs of scans were laid over each other, of how many that there are.
        folds_from: where the folds are known from.
        probes: target -> set of features -> outcome.
        flips, orientations, orientation_warning, sides: see `nnunet_da.audit.sides`.
        labels: differences in how labels were drawn.
        step_mm: of the search for duplicates.
        channels: the source's names.
        notes: what the datasets leave open, in sentences.
    """

    options: Options
    source: str
    targets: list[str]
    scans: list[AuditScan]
    measured: list[Measured]
    unreadable: list[tuple[AuditScan, str]]
    leaks: list[Leak]
    repeats: list[tuple[str, AuditScan, AuditScan, str]]
    compared: tuple[int, int]
    folds_from: str
    preprocessing: Preprocessing
    probes: dict[str, dict[str, SiteProbe]]
    flips: list[Flips]
    orientations: dict[str, dict[str, int]]
    orientation_warning: str
    sides: dict[str, dict[str, int]]
    labels: list[LabelDifference]
    step_mm: float
    channels: list[str]
    notes: list[str] = field(default_factory=list)

    @property
    def datasets(self) -> list[str]:
        return [self.source, *self.targets]

    @property
    def without_patient(self) -> list[str]:
        """Scans whose patient is not known."""
        return [scan.name for scan in self.scans if not scan.patient]

    def of(self, dataset: str) -> list[Measured]:
        return [one for one in self.measured if one.scan.dataset == dataset]


def audit(options: Options) -> Audit:
    """Run an audit.

    Raises:
        UserError: datasets, plans or patients that do not fit, or no readable scan in a dataset.
    """
    source, targets = find_datasets(options.source, options.targets)
    scans = find_scans(source, targets, options.target_labels, options.patients)
    folds, folds_from = folds_of(source)
    grids, unreadable = _grids(scans)
    _refuse_nothing({scan.dataset for scan in grids}, [source, *targets], unreadable)
    preprocessing = from_plans(source, options.plans, options.configuration) if options.plans else from_grids(list(grids.values()))
    step_mm = _step(list(grids.values()))
    jobs = [_job(scan, grids[scan], source, targets, step_mm, preprocessing) for scan in scans if scan in grids]
    processes = options.processes or default_processes(len(jobs))
    measured, failed = _in_parallel(measure, jobs, processes, "measuring scans")
    unreadable += [(jobs[place].scan, reason) for place, reason in failed.items()]
    found = [measured[place] for place in sorted(measured)]
    unreadable += [(one.scan, one.label_problem) for one in found if one.label_problem]
    _refuse_nothing({one.scan.dataset for one in found}, [source, *targets], unreadable)
    same, laid, more_unreadable = _duplicates(found, step_mm, processes)
    borders = {source.name: folds}
    leaks, repeats = leaks_of(SCAN, same, borders)
    twice = {frozenset((leak.first, leak.second)) for leak in leaks}
    shared, others = leaks_of(PATIENT, [pair for pair in same_patient(scans) if frozenset(pair[:2]) not in twice], borders)
    turned, warning = orientations(
        {name: [one.grid.orientation for one in found if one.scan.dataset == name] for name in _names(source, targets)}
    )
    return Audit(
        options=options,
        source=source.name,
        targets=[target.name for target in targets],
        scans=scans,
        measured=found,
        unreadable=unreadable + more_unreadable,
        leaks=leaks + shared + in_both_parts(scans, borders),
        repeats=[(SCAN, *pair) for pair in repeats] + [(PATIENT, *pair) for pair in others],
        compared=(laid, len(found) * (len(found) - 1) // 2),
        folds_from=folds_from,
        preprocessing=preprocessing,
        probes=_probes(found, source, targets, options, preprocessing),
        flips=flips_by_content([one.fingerprint.thumbnail for one in found], [one.scan.dataset == source.name for one in found]),
        orientations=turned,
        orientation_warning=warning,
        sides=sides_noted({dataset.name: dataset.folder for dataset in (source, *targets)}),
        labels=label_differences(found, source.name, [target.name for target in targets]),
        step_mm=step_mm,
        channels=_channels(source),
        notes=list(_notes(scans, source, targets)),
    )


def _names(source: RawDataset, targets: list[RawDataset]) -> list[str]:
    return [source.name, *(target.name for target in targets)]


def _grids(scans: list[AuditScan]) -> tuple[dict[AuditScan, Grid], list[tuple[AuditScan, str]]]:
    grids, unreadable = {}, []
    for scan in scans:
        try:
            grids[scan] = read_grid(scan)
        except UserError as error:
            unreadable.append((scan, str(error)))
    return grids, unreadable


def _step(grids: list[Grid]) -> float:
    """One grid for all scans: fine enough for the smaller kind of them."""
    longest = [max(grid.field_mm) for grid in grids]
    return float(np.percentile(longest, 25)) / STEPS_ACROSS if longest else 1.0


def _job(scan: AuditScan, grid: Grid, source: RawDataset, targets: list[RawDataset], step_mm: float, preprocessing: Preprocessing) -> Job:
    dataset = next(one for one in (source, *targets) if one.name == scan.dataset)
    declared = {name: value for name, value in dataset.description["labels"].items() if name != "ignore" and value != 0}
    labels = {tuple(value) if isinstance(value, list) else value: name for name, value in declared.items()}
    return Job(scan, grid, tuple(_channels(source)), is_ct(_channels(dataset)[0]), labels, step_mm, preprocessing)


def _channels(dataset: RawDataset) -> list[str]:
    """Names in the order of the files."""
    names = dataset.description["channel_names"]
    return [str(names[key]) for key in sorted(names, key=int)]


def _notes(scans: list[AuditScan], source: RawDataset, targets: list[RawDataset]) -> Iterator[str]:
    for target in targets:
        if [name.casefold() for name in _channels(target)] != [name.casefold() for name in _channels(source)]:
            theirs, ours = (", ".join(_channels(dataset)) for dataset in (target, source))
            yield f"Whether channels belong together: {target.name} has {theirs}, {source.name} has {ours}; their places were taken for it."
    bare = [scan.name for scan in scans if scan.dataset == source.name and scan.split == TRAIN and scan.label is None]
    if bare:
        yield f"How {some(bare)} would be trained on: no label map was found."


def _in_parallel(function: Callable[[Any], Any], items: Sequence[Any], processes: int, title: str) -> tuple[dict[int, Any], dict[int, str]]:
    """Results and reasons of failure by position, with a progress bar."""
    from tqdm import tqdm

    done: dict[int, Any] = {}
    failed: dict[int, str] = {}
    numbered = list(enumerate(items))
    for (place, _), result in tqdm(
        each(partial(_numbered, function), numbered, processes), total=len(items), desc=title, unit="scan", disable=None
    ):
        try:
            done[place] = result()
        except UserError as error:
            failed[place] = str(error)
    return done, failed


def _numbered(function: Callable[[Any], Any], item: tuple[int, Any]) -> Any:
    return function(item[1])


def _refuse_nothing(readable: set[str], datasets: list[RawDataset], unreadable: list[tuple[AuditScan, str]]) -> None:
    for dataset in datasets:
        if dataset.name not in readable:
            reason = next((text for scan, text in unreadable if scan.dataset == dataset.name), "none found")
            raise UserError(f"{dataset.name} must have readable scans, it has none ({reason}): convert them again")


def _duplicates(
    found: list[Measured], step_mm: float, processes: int
) -> tuple[list[tuple[AuditScan, AuditScan, str]], int, list[tuple[AuditScan, str]]]:
    """Pairs that hold one acquisition, how many pairs were laid over each other, and files that could not be read for it."""
    exact = _exact(found)
    laid = [one for one in candidates([one.fingerprint for one in found], step_mm) if (one.first, one.second) not in exact]
    matches, failed = _in_parallel(
        _lay_over, [(found[one.first].scan, found[one.second].scan, one) for one in laid], processes, "comparing pairs"
    )
    same = [(found[a].scan, found[b].scan, "identical voxels") for a, b in sorted(exact)]
    for place in sorted(matches):
        match: Match = matches[place]
        if match.same:
            detail = f"local correlation {match.correlation:.2f} over {match.overlap:.0%} of the smaller scan" + _flip_text(laid[place])
            same.append((found[laid[place].first].scan, found[laid[place].second].scan, detail))
    return same, len(laid) + len(exact), [(found[laid[place].first].scan, reason) for place, reason in failed.items()]


def _exact(found: list[Measured]) -> set[tuple[int, int]]:
    by_hash: dict[str, list[int]] = {}
    for place, one in enumerate(found):
        by_hash.setdefault(one.fingerprint.exact, []).append(place)
    return {(a, b) for places in by_hash.values() for i, a in enumerate(places) for b in places[i + 1 :]}


def _lay_over(pair: tuple[AuditScan, AuditScan, Candidate]) -> Match:
    first, second, candidate = pair
    return lay_over(first.images[0], second.images[0], candidate)


def _flip_text(candidate: Candidate) -> str:
    flipped = [name for name, sign in zip(("left-right", "front-back", "head-feet"), candidate.flip, strict=True) if sign < 0]
    return f", flipped {' and '.join(flipped)}" if flipped else ""


def feature_tables(found: list[Measured], preprocessing: Preprocessing) -> dict[str, pd.DataFrame]:
    """Set of features -> (scans, features), indexed by the scan's name."""
    index = [one.scan.name for one in found]
    grids = [{**one.grid.facts(), **({"patch_padding": one.padding} if preprocessing.plans else {})} for one in found]
    rows = {
        RAW: [{**one.raw, **one.quality} for one in found],
        AFTER: [one.after for one in found],
        GRID: grids,
        NOISE: [one.noise for one in found],
    }
    return {name: pd.DataFrame(values, index=index, dtype=float) for name, values in rows.items()}


def _probes(
    found: list[Measured], source: RawDataset, targets: list[RawDataset], options: Options, preprocessing: Preprocessing
) -> dict[str, dict[str, SiteProbe]]:
    tables = feature_tables(found, preprocessing)
    units = {one.scan.name: one.scan.patient or one.scan.name for one in found}
    rows = {name: [one.scan.name for one in found if one.scan.dataset == name] for name in _names(source, targets)}
    return {
        target.name: {
            name: probe_sites(
                table.loc[rows[source.name]], table.loc[rows[target.name]], units, permutations=options.permutations, seed=options.seed
            )
            for name, table in tables.items()
        }
        for target in targets
    }
