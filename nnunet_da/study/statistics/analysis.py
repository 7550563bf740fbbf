"""The answer of a study: every table, and the one answer it was made for."""

from dataclasses import dataclass

import pandas as pd

from nnunet_da.study.statistics.arms import ARM_COLUMNS, FAILURE_COLUMNS, GAP_COLUMNS, arm_rows, failure_rows, gap_rows, table
from nnunet_da.study.statistics.contrasts import CONTRAST_COLUMNS, NON_INFERIORITY_COLUMNS, contrast_rows, in_order, non_inferiority_rows
from nnunet_da.study.statistics.declaration import ORACLE, SOURCE_ONLY, ZERO_WEIGHT, Declaration
from nnunet_da.study.statistics.primary import Primary, answer_primary
from nnunet_da.study.statistics.values import Incomplete, StudyValues, read_values

FEW_RUNS, FEW_CASES = 5, 20
HARDLY_ANYTHING = 0.05  # Dice


@dataclass(frozen=True)
class StudyAnswer:
    """What a study found; docs/study_statistics.md says what each number means.

    Attributes:
        label: key of the label of the primary contrast.
        primary: None where the primary method, or the baseline, has no run to compare.
        contrasts, non_inferiority, gap, failures, arms: the columns of the CSV files.
        incomplete: runs that failed.
        warnings: what a reader has to know before the numbers.
        resamples, seed: of the bootstrap.
    """

    declaration: Declaration
    label: str
    primary: Primary | None
    contrasts: pd.DataFrame
    non_inferiority: pd.DataFrame
    gap: pd.DataFrame
    failures: pd.DataFrame
    arms: pd.DataFrame
    incomplete: tuple[Incomplete, ...]
    warnings: tuple[str, ...]
    resamples: int
    seed: int


def analyse(values: pd.DataFrame, declaration: Declaration, *, resamples: int = 9999, seed: int = 0) -> StudyAnswer:
    """Answer what a study declared.

    Args:
        values: one row per (arm, seed, fold, domain, case, label, metric), with `value` NaN where it is undefined. A trained model is an
            (arm, seed, fold).
        resamples, seed: of the bootstrap beside the primary contrast.

    Raises:
        UserError: see `read_values`.
    """
    found = read_values(values, declaration)
    label = declaration.label or found.labels(declaration.primary_target)[0]
    contrasts, margins = in_order(
        table(contrast_rows(found, declaration, label), CONTRAST_COLUMNS),
        table(non_inferiority_rows(found, declaration, label), NON_INFERIORITY_COLUMNS),
        declaration,
    )
    primary = answer_primary(found, declaration, label, resamples=resamples, seed=seed)
    arms = table(arm_rows(found, declaration), ARM_COLUMNS)
    return StudyAnswer(
        declaration,
        label,
        primary,
        contrasts,
        margins,
        table(gap_rows(found, declaration), GAP_COLUMNS),
        table(failure_rows(found, declaration), FAILURE_COLUMNS),
        arms,
        found.incomplete,
        (
            *_of_learning(arms, declaration, label),
            *_of_design(found, declaration, label),
            *_of_runs(found, primary),
            *_of_margins(margins, declaration),
        ),
        resamples,
        seed,
    )


def _of_learning(arms: pd.DataFrame, declaration: Declaration, label: str) -> list[str]:
    """Arms that do not even segment the source, where most train; the oracle does not."""
    place = (arms["domain"] == declaration.source) & (arms["label"] == label) & (arms["arm"] != ORACLE)
    lost = arms[place & (arms["metric"] == "dice") & (arms["mean"] < HARDLY_ANYTHING)]["arm"]
    if lost.empty:
        return []
    return [f"on the source itself {', '.join(lost)} found hardly anything (mean Dice below {HARDLY_ANYTHING:g}): train longer first"]


def _of_design(values: StudyValues, declaration: Declaration, label: str) -> list[str]:
    found = []
    if declaration.baseline == SOURCE_ONLY:
        found.append(
            f"no {ZERO_WEIGHT} arm is the baseline: a difference to {SOURCE_ONLY} also holds what target scans do to shared BatchNorm"
        )
    others = [key for key in values.labels(declaration.primary_target) if key != label]
    if others and not declaration.label:
        found.append(f"no label was declared: the primary contrast is of label {label}, the first; {', '.join(others)} count as secondary")
    return found


def _of_runs(values: StudyValues, primary: Primary | None) -> list[str]:
    found = [
        f"not every trained model is there, {entry.words()}: differences are over the runs that both arms have"
        for entry in values.incomplete
    ]
    if primary is None:
        return [*found, "the primary method and the baseline have no trained model in common: the study has no answer yet"]
    runs, cases = primary.estimate.n_runs, primary.estimate.n_cases
    if runs == 1:
        found.append("one trained model per arm: another seed may turn every difference round, so nothing is tested")
    elif runs < FEW_RUNS:
        found.append(f"{runs} trained models per arm: their scatter is known roughly, so the intervals are wide; five or more are better")
    if cases < FEW_CASES:
        found.append(f"{cases} cases in the primary contrast: intervals rest on few cases")
    if values.has_seeds_within_folds:
        found.append("several seeds per fold: they share its training cases and are averaged, and folds count as the trained models")
    if primary.n_left_out:
        found.append(
            f"cases without a value in some run, which are in the ranks and the failures and not in the difference: {primary.n_left_out}"
        )
    return found


def _of_margins(margins: pd.DataFrame, declaration: Declaration) -> list[str]:
    absent = [metric for metric in declaration.margins if metric not in set(margins["metric"])]
    return [f"no value of {', '.join(absent)} on the source: non-inferiority was not judged by it"] if absent else []
