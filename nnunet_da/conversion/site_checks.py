"""Do the table and the dataset fit, are the sites told apart, and is nobody in two places."""

import re
from collections.abc import Iterable, Sequence

from nnunet_da.conversion.site_table import SiteTable
from nnunet_da.datasets import RawDataset
from nnunet_da.errors import CheckFailed, UserError


def refuse_mismatch(source: RawDataset, table: SiteTable, cases: Sequence[str]) -> None:
    """Raises UserError unless the table has exactly the dataset's cases, each in training or test."""
    twice = {case for case in cases if cases.count(case) > 1} if len(set(cases)) < len(cases) else set()
    if twice:
        raise UserError(f"a case must be in imagesTr or imagesTs, '{min(twice)}' of {source.name} is in both: remove one")
    for names, text in (
        (set(cases) - table.rows.keys(), f"every case of {source.name} needs a line in {table.path}, missing for"),
        (table.rows.keys() - set(cases), f"every line of {table.path} needs a case of {source.name}, there is none for"),
    ):
        if names:
            raise UserError(f"{text} '{min(names)}' ({len(names)} in all): correct the table")


def clean_names(sites: Iterable[str]) -> dict[str, str]:
    """Site -> what can stand in a dataset's name; UserError where none is left of it, or two become one."""
    names: dict[str, str] = {}
    for site in sites:
        name = re.sub(r"[^A-Za-z0-9]+", "_", site).strip("_")
        if not name:
            raise UserError(f"a site's name needs letters or digits, got '{site}': rename it in the table")
        same = [other for other, taken in names.items() if taken.lower() == name.lower()]
        if same:
            raise UserError(f"the sites '{same[0]}' and '{site}' would get one name, {name}: are they one site? Rename one in the table")
        names[site] = name
    return names


def refuse_unknown_sites(asked: Iterable[str], sites: Sequence[str]) -> None:
    """Raises UserError for a site that is not in the table."""
    for site in asked:
        if site not in sites:
            raise UserError(f"--unlabelled must name a site of the table, got '{site}': there are {', '.join(sites)}")


def refuse_shared_patients(table: SiteTable) -> None:
    """Raises CheckFailed for a patient in two sites."""
    sites_of: dict[str, set[str]] = {}
    for row in table.rows.values():
        sites_of.setdefault(row.patient, set()).add(row.site)
    shared = sorted(patient for patient, sites in sites_of.items() if len(sites) > 1)
    if shared:
        raise CheckFailed(
            f"a patient must be in one site, '{shared[0]}' is in {' and '.join(sorted(sites_of[shared[0]]))} ({len(shared)} such in all): "
            "the same person would be in source and target; correct the table, or add --patients-per-site if each site counts its own"
        )


def refuse_alike_patients(table: SiteTable, per_site: bool) -> None:
    """Raises CheckFailed for patients spelled as `A07`, `a07` and `A7`: that is one person more likely than three.

    Args:
        table: with a column of patients.
        per_site: whether equal names in two sites are two persons.
    """
    spelled: dict[str, str] = {}
    for row in table.rows.values():
        alike = re.sub(r"(?<!\d)0+(?=\d)", "", (f"{row.site} {row.patient}" if per_site else row.patient).casefold())
        other = spelled.setdefault(alike, row.patient)
        if other != row.patient:
            raise CheckFailed(
                f"one patient must be spelled in one way, {table.path} has '{other}' and '{row.patient}': the same person could be"
                " trained on and tested; write one of them like the other, or let them differ by more than case and leading zeros"
            )
