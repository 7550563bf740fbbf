"""Folds and hold-outs by patient: a patient is dealt to one side as a whole, so none can be on both."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import ceil, isfinite

import numpy as np

from nnunet_da.errors import UserError

Split = dict[str, list[str]]  # one fold as in nnU-Net's splits_final.json: {"train": cases, "val": cases}


def patient_folds(cases: Sequence[str], patients: Sequence[str], strata: Sequence[str] | None, folds: int, seed: int) -> list[Split]:
    """Deal patients to folds: patients per fold, and per fold and stratum, differ by one at most.

    Args:
        cases: names, each once.
        patients: who each case is from.
        strata: what to balance, such as the sex, the same for all cases of a patient; None for nothing.
        folds: 2 or more.
        seed: the same cases, patients, strata and seed give the same folds, in whatever order they come.

    Returns:
        One dictionary per fold, each patient's cases in "val" exactly once. Cases are sorted.

    Raises:
        UserError: fewer patients than folds, a patient in two strata, or a case twice.
    """
    groups = _cases_of_patients(cases, patients)
    dealt = _dealing_order(_stratum_of_patients(patients, strata), seed)
    if folds < 2:
        raise UserError(f"folds must be 2 or more, got {folds}")
    if folds > len(groups):
        raise UserError(f"{folds} folds need as many patients, got {len(groups)}: choose fewer --folds, or hold out fewer")
    fold_of = {patient: place % folds for place, patient in enumerate(dealt)}
    return [_split(groups, {patient for patient, fold in fold_of.items() if fold == chosen}) for chosen in range(folds)]


def hold_out(
    cases: Sequence[str], patients: Sequence[str], strata: Sequence[str] | None, amount: float, seed: int
) -> tuple[list[str], list[str]]:
    """Draw patients to hold out, from each stratum in proportion (largest remainders).

    Args:
        cases, patients, strata, seed: as in `patient_folds`.
        amount: below 1 a fraction of the patients, rounded up; from 1 on a number of patients.

    Returns:
        Cases that stay and cases held out, each sorted.

    Raises:
        UserError: nobody would stay or be held out, or as in `patient_folds`.
    """
    groups = _cases_of_patients(cases, patients)
    count = 0 if not isfinite(amount) else ceil(round(amount * len(groups), 9)) if amount < 1 else int(amount)
    if not 0 < count < len(groups) or (amount >= 1 and amount != count):
        raise UserError(
            f"a hold-out must be a fraction below 1 or a whole number below the {len(groups)} patients there are, got {amount:g}"
        )
    stratum_of = _stratum_of_patients(patients, strata)
    dealt = _dealing_order(stratum_of, seed)
    quota = _proportional(Counter(stratum_of.values()), count)
    held = {patient for stratum, size in quota.items() for patient in [p for p in dealt if stratum_of[p] == stratum][:size]}
    split = _split(groups, held)
    return split["train"], split["val"]


def _cases_of_patients(cases: Sequence[str], patients: Sequence[str]) -> dict[str, list[str]]:
    repeated = [case for case, count in Counter(cases).items() if count > 1]
    if repeated:
        raise UserError(f"every case must come once, got '{repeated[0]}' more often: keep one")
    groups: dict[str, list[str]] = {}
    for case, patient in zip(cases, patients, strict=True):
        groups.setdefault(patient, []).append(case)
    return groups


def _stratum_of_patients(patients: Sequence[str], strata: Sequence[str] | None) -> dict[str, str]:
    stratum_of: dict[str, str] = {}
    for patient, stratum in zip(patients, strata if strata is not None else [""] * len(patients), strict=True):
        if stratum_of.setdefault(patient, stratum) != stratum:
            raise UserError(
                f"a patient must be in one stratum, '{patient}' is in '{stratum_of[patient]}' and '{stratum}': correct the table"
            )
    return stratum_of


def _dealing_order(stratum_of: Mapping[str, str], seed: int) -> list[str]:
    """Shuffled patients, one stratum after the other, so that dealing them round balances all strata."""
    names = sorted(stratum_of)
    shuffled = [names[index] for index in np.random.default_rng(seed).permutation(len(names))]
    return sorted(shuffled, key=lambda patient: stratum_of[patient])


def _proportional(sizes: Mapping[str, int], count: int) -> dict[str, int]:
    """Share a count among strata by size; what is left after rounding down goes to the largest remainders."""
    exact = {stratum: count * size / sum(sizes.values()) for stratum, size in sizes.items()}
    shares = {stratum: int(share) for stratum, share in exact.items()}
    by_remainder = sorted(exact, key=lambda stratum: (shares[stratum] - exact[stratum], stratum))
    for stratum in by_remainder[: count - sum(shares.values())]:
        shares[stratum] += 1
    return shares


def _split(groups: Mapping[str, list[str]], held: set[str]) -> Split:
    return {
        "train": sorted(case for patient, cases in groups.items() if patient not in held for case in cases),
        "val": sorted(case for patient, cases in groups.items() if patient in held for case in cases),
    }
