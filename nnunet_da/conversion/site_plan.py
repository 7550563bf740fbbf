"""Which case goes into which site's dataset, decided before anything is written."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from nnunet_da.conversion.cases import Case
from nnunet_da.conversion.site_cases import refuse_unfit_files, test_cases, training_cases
from nnunet_da.conversion.site_checks import (
    clean_names,
    refuse_alike_patients,
    refuse_mismatch,
    refuse_shared_patients,
    refuse_unknown_sites,
)
from nnunet_da.conversion.site_table import SiteTable
from nnunet_da.conversion.splits import Split, hold_out, patient_folds
from nnunet_da.datasets import RawDataset
from nnunet_da.errors import CheckFailed, UserError


@dataclass(frozen=True)
class SplitRequest:
    """What the user asked for; see `nnunet-da convert sites -h`.

    Raises:
        UserError: ids, folds or a prefix that cannot be.
    """

    first_id: int
    prefix: str = ""
    unlabelled: tuple[str, ...] = ()
    leave_one_out: bool = False
    test: float | None = None
    folds: int = 5
    seed: int = 0
    patients_per_site: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_.-]*", self.prefix) or "__" in self.prefix:
            raise UserError(f"a prefix must be letters, digits, '-', '.' and single '_', got '{self.prefix}'")
        if self.folds != 0 and self.folds < 2:
            raise UserError(f"--folds must be 2 or more, or 0 for none, got {self.folds}")


@dataclass(frozen=True)
class CaseAtSite:
    """One case of the original with what the table says; the patient is the one that folds are made by."""

    files: Case
    site: str
    patient: str
    stratum: str


@dataclass(frozen=True)
class SiteDataset:
    """One dataset to write.

    Attributes:
        folder_name: DatasetXXX_NAME.
        training, test: cases for imagesTr and imagesTs.
        labelled: whether labelsTr is written.
        splits: for splits_final.json, None where nnU-Net shall make its own.
    """

    folder_name: str
    training: tuple[CaseAtSite, ...]
    test: tuple[CaseAtSite, ...]
    labelled: bool
    splits: list[Split] | None

    @property
    def summary(self) -> str:
        """Counts for a person."""
        patients = len({case.patient for case in self.training})
        folds = f", {len(self.splits)} folds by patient" if self.splits else ""
        labels = "" if self.labelled else ", no training labels"
        return f"{len(self.training)} training cases of {patients} patients, {len(self.test)} test cases{labels}{folds}"


def plan_sites(source: RawDataset, table: SiteTable, request: SplitRequest) -> list[SiteDataset]:
    """Sort the cases into one dataset per site, in the order of the sites' names, then the leave-one-out sources.

    Raises:
        UserError: cases and table do not match, a label is missing, a site is unknown or too small for the folds.
        CheckFailed: a patient in two sites, or in training and test of the original.
    """
    training, test = training_cases(source), test_cases(source)
    for case in (*training.values(), *test.values()):
        refuse_unfit_files(source, case)
    refuse_mismatch(source, table, [*training, *test])
    sites = sorted({row.site for row in table.rows.values()})
    names = clean_names(sites)
    refuse_unknown_sites(request.unlabelled, sites)
    if not request.patients_per_site:
        refuse_shared_patients(table)
    if table.has_patients:
        refuse_alike_patients(table, request.patients_per_site)
    kept, held = _with_hold_out(sites, _at_sites(training, table, request), _at_sites(test, table, request), request)
    members = [(names[site], [site]) for site in sites]
    if request.leave_one_out:
        labelled = [site for site in sites if site not in request.unlabelled]
        members += [(f"without_{names[site]}", [other for other in labelled if other != site]) for site in sites]
        _refuse_too_few(members, sites)
    return [
        _dataset(f"Dataset{request.first_id + index:03d}_{request.prefix}{name}", group, kept, held, request)
        for index, (name, group) in enumerate(members)
    ]


def _refuse_too_few(members: Sequence[tuple[str, Sequence[str]]], sites: Sequence[str]) -> None:
    if len(sites) < 3 or any(not group for _, group in members):
        raise UserError(f"--leave-one-out needs 3 sites or more, and others that are labelled, got {', '.join(sites)}: leave it out")


def _at_sites(cases: Mapping[str, Case], table: SiteTable, request: SplitRequest) -> list[CaseAtSite]:
    found = []
    for name, files in sorted(cases.items()):
        row = table.rows[name]
        patient = f"{row.site} {row.patient}" if request.patients_per_site else row.patient
        found.append(CaseAtSite(files, row.site, patient, row.stratum))
    return found


def _with_hold_out(
    sites: Sequence[str], training: list[CaseAtSite], test: list[CaseAtSite], request: SplitRequest
) -> tuple[list[CaseAtSite], list[CaseAtSite]]:
    """Cases to train on and to test with: the original's test cases and, in each site, the patients held out now."""
    both = sorted({case.patient for case in training} & {case.patient for case in test})
    if both:
        raise CheckFailed(f"the patient '{both[0]}' has cases in imagesTr and imagesTs of the original: move them to one of the two")
    if request.test is None:
        return training, test
    held: set[str] = set()
    for site in sites:
        of_site = [case for case in training if case.site == site]
        with _naming([site]):
            held.update(hold_out(*_columns(of_site), request.test, request.seed)[1])
    drawn = [case for case in training if case.files.name in held]
    return [case for case in training if case.files.name not in held], sorted([*test, *drawn], key=lambda case: case.files.name)


def _dataset(
    folder_name: str, sites: Sequence[str], kept: Sequence[CaseAtSite], held: Sequence[CaseAtSite], request: SplitRequest
) -> SiteDataset:
    training, test = (tuple(case for case in cases if case.site in sites) for cases in (kept, held))
    labelled = not set(sites) & set(request.unlabelled)
    if not training:
        raise UserError(
            f"a site needs a training case, {' and '.join(sites)} has test cases only: take it out of the table and the dataset"
        )
    missing = [case for case in training if labelled and case.files.label is None]
    if missing:
        raise UserError(
            f"every training case of a labelled site needs a label, missing for '{missing[0].files.name}' of {missing[0].site} "
            f"({len(missing)} in all): add them, or --unlabelled '{missing[0].site}' to make it a target"
        )
    splits = None
    if labelled and request.folds:
        with _naming(sites):
            splits = patient_folds(*_columns(training), request.folds, request.seed)
    return SiteDataset(folder_name, training, test, labelled, splits)


def _columns(cases: Sequence[CaseAtSite]) -> tuple[list[str], list[str], list[str]]:
    """Names, patients, and strata that are balanced within each site."""
    return [c.files.name for c in cases], [c.patient for c in cases], [f"{c.site} {c.stratum}" for c in cases]


@contextmanager
def _naming(sites: Sequence[str]) -> Iterator[None]:
    """Put the sites before the error."""
    try:
        yield
    except UserError as error:
        raise UserError(f"site {', '.join(sites)}: {error}") from None
