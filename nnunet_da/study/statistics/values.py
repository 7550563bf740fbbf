"""The values of a study: one per trained model, case, label and metric, checked and stacked."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from nnunet_da.errors import UserError
from nnunet_da.evaluation.statistics import Array
from nnunet_da.study.statistics.declaration import Declaration

COLUMNS = ("arm", "seed", "fold", "domain", "case", "label", "metric", "value")
Run = tuple[str, str]  # seed, fold
RUN, SCORED = ["seed", "fold"], ["case", "label", "metric"]
LISTED = 5


@dataclass(frozen=True)
class Block:
    """Values of one metric: one row per (arm, seed, fold), one column per case."""

    values: Array
    rows: dict[tuple[str, str, str], int]
    cases: tuple[str, ...]


@dataclass(frozen=True)
class Cube:
    """One metric of one label in one domain, complete.

    Attributes:
        values: (K, R, N), K arms with the same R runs on the same N cases; NaN where undefined.
        runs: (seed, fold) of each run; run r of one arm and of another have seed and fold in common.
        cases: their names.
    """

    values: Array
    runs: tuple[Run, ...]
    cases: tuple[str, ...]

    @property
    def defined(self) -> Array:
        """(K, R, M): the cases in which every run of every arm has a value."""
        return self.values[:, :, ~np.isnan(self.values).any(axis=(0, 1))]

    @property
    def paired(self) -> bool:
        """Whether runs of one number belong together: with several folds they share their training cases."""
        return len({fold for _, fold in self.runs}) > 1

    @property
    def by_fold(self) -> "Cube":
        """What is compared: with several folds the mean over each fold's seeds, which share its training cases; else the runs themselves.

        A value that one of the seeds lacks is undefined.
        """
        folds = _in_order(fold for _, fold in self.runs)
        if len(folds) in (1, len(self.runs)):
            return self
        members = [[number for number, (_, fold) in enumerate(self.runs) if fold == one] for one in folds]
        means = np.stack([self.values[:, numbers].mean(axis=1) for numbers in members], axis=1)
        named = tuple(("+".join(self.runs[number][0] for number in numbers), fold) for numbers, fold in zip(members, folds, strict=True))
        return Cube(means, named, self.cases)


@dataclass(frozen=True)
class Incomplete:
    """Runs that an arm lacks in a domain."""

    arm: str
    domain: str
    runs: tuple[Run, ...]

    def words(self) -> str:
        """In a sentence."""
        return f"{self.arm} lacks {run_words(self.runs)} in {self.domain}"


@dataclass(frozen=True)
class StudyValues:
    """Every value of a study, see `read_values`.

    Attributes:
        blocks: (domain, label, metric) -> values of every run.
        incomplete: runs that an arm lacks.
    """

    blocks: dict[tuple[str, str, str], Block]
    incomplete: tuple[Incomplete, ...]

    def labels(self, domain: str) -> list[str]:
        """Keys, in the order of the table."""
        return _in_order(label for place, label, _ in self.blocks if place == domain)

    def metrics(self, domain: str, label: str) -> list[str]:
        """Those of one label, in the order of the table."""
        return [metric for place, key, metric in self.blocks if (place, key) == (domain, label)]

    @property
    def has_seeds_within_folds(self) -> bool:
        """Whether some fold has several seeds and is not the only one."""
        runs = {row[1:] for block in self.blocks.values() for row in block.rows}
        return 1 < len({fold for _, fold in runs}) < len(runs)

    def cube(self, arms: Sequence[str], domain: str, label: str, metric: str) -> Cube | None:
        """The values of some arms over the runs that all of them have; None where there are none."""
        found = self.blocks.get((domain, label, metric))
        if found is None:
            return None
        own = [{(seed, fold) for name, seed, fold in found.rows if name == arm} for arm in arms]
        runs = _sorted_runs(run for run in own[0] if all(run in other for other in own))
        if not runs:
            return None
        rows = [[found.rows[(arm, *run)] for run in runs] for arm in arms]
        return Cube(found.values[np.array(rows)], runs, found.cases)


def read_values(values: pd.DataFrame, declaration: Declaration) -> StudyValues:
    """Check the long table of a study.

    A run that an arm lacks altogether in a domain has failed, and is recorded; a run that lacks single cases was scored wrongly.

    Args:
        values: columns `COLUMNS`, NaN where a value is undefined; arms that the declaration does not name are refused.

    Raises:
        UserError: a column, arm or domain is missing or unknown, two values stand for one, or runs differ in cases, labels or metrics.
    """
    table = _typed(values)
    _check_names(table, declaration)
    repeated = table[table.duplicated(["arm", *RUN, "domain", *SCORED])]
    if len(repeated):
        row = repeated.iloc[0]
        raise UserError(
            f"one value per arm, run, domain, case, label and metric was expected, got two of {row['metric']} for case {row['case']} of "
            f"{row['domain']} in {row['arm']}, {run_words([(row['seed'], row['fold'])])}: leave out what is out of date."
        )
    for domain, part in table.groupby("domain", sort=False):
        _check_same_cases(str(domain), part)
    groups = table.groupby(["domain", "label", "metric"], sort=False)
    blocks = {(str(domain), str(label), str(metric)): _block(part) for (domain, label, metric), part in groups}
    return StudyValues(blocks, tuple(_incomplete(table, declaration)))


def run_words(runs: Iterable[Run]) -> str:
    """Runs as a reader knows them: the first few, then how many more."""
    named = [f"seed {seed} fold {fold}" for seed, fold in runs]
    return ", ".join(named[:LISTED]) + (f" and {len(named) - LISTED} more" if len(named) > LISTED else "")


def _typed(values: pd.DataFrame) -> pd.DataFrame:
    missing = [column for column in COLUMNS if column not in values]
    if missing or values.empty:
        got = f"no column {', '.join(missing)}" if missing else "no row"
        raise UserError(f"values of a study with the columns {', '.join(COLUMNS)} were expected, got {got}: evaluate the arms first.")
    table = values[list(COLUMNS)].reset_index(drop=True).astype({column: str for column in COLUMNS[:-1]})
    try:
        table["value"] = table["value"].astype(float)
    except (TypeError, ValueError) as error:
        raise UserError(f"numbers were expected as values, got: {error}. Evaluate again.") from error
    if np.isinf(table["value"]).any():
        raise UserError("finite values were expected, or none where a value is undefined, got an infinite one: evaluate again.")
    return table


def _check_names(table: pd.DataFrame, declaration: Declaration) -> None:
    expected = {"arm": declaration.arms, "domain": (declaration.source, *declaration.targets)}
    for column, names in expected.items():
        unknown = [name for name in _in_order(table[column]) if name not in names]
        if unknown:
            raise UserError(f"the {column}s {', '.join(names)} were declared, got values of {', '.join(unknown)}: declare or leave out.")
    for needed in (declaration.primary_target, declaration.source):
        if needed not in set(table["domain"]):
            raise UserError(f"values of the domain {needed} were expected, got none: without them the study has no answer.")
    target = table[table["domain"] == declaration.primary_target]
    for column, needed in (("metric", declaration.endpoint), ("label", declaration.label)):
        if needed and needed not in set(target[column]):
            got = ", ".join(_in_order(target[column]))
            raise UserError(f"the declared {column} {needed} was expected in {declaration.primary_target}, got {got}: score it.")


def _check_same_cases(domain: str, part: pd.DataFrame) -> None:
    """Every run that was scored in a domain must have every case, label and metric of it."""
    counts = part.groupby(["arm", *RUN], sort=False).size()
    everything = part[SCORED].drop_duplicates()
    lacking = counts[counts < len(everything)]
    if lacking.empty:
        return
    arm, seed, fold = lacking.index[0]
    own = part[(part["arm"] == arm) & (part["seed"] == seed) & (part["fold"] == fold)][SCORED]
    absent = everything.merge(own, how="left", indicator=True).query("_merge == 'left_only'")
    shown = ", ".join(f"{row.metric} of {row.case} (label {row.label})" for row in absent.head(LISTED).itertuples())
    more = f" and {len(absent) - LISTED} more" if len(absent) > LISTED else ""
    raise UserError(
        f"the same cases, labels and metrics were expected of every trained model in {domain}, but {arm}, {run_words([(seed, fold)])} "
        f"lacks {shown}{more}: score all predictions alike (an undefined value has a row too)."
    )


def _incomplete(table: pd.DataFrame, declaration: Declaration) -> Iterable[Incomplete]:
    runs = _runs(table)
    for domain in (declaration.source, *declaration.targets):
        part = table[table["domain"] == domain]
        for arm in declaration.arms:
            own = set(_runs(part[part["arm"] == arm]))
            missing = tuple(run for run in runs if run not in own)
            if missing and len(part):
                yield Incomplete(arm, domain, missing)


def _block(part: pd.DataFrame) -> Block:
    wide = part.pivot(index=["arm", *RUN], columns="case", values="value")[_in_order(part["case"])]
    return Block(wide.to_numpy(float), {run: row for row, run in enumerate(wide.index)}, tuple(wide.columns))


def _runs(table: pd.DataFrame) -> tuple[Run, ...]:
    """Distinct (seed, fold), numbers by size."""
    return _sorted_runs(table[RUN].drop_duplicates().itertuples(index=False, name=None))


def _sorted_runs(runs: Iterable[Run]) -> tuple[Run, ...]:
    return tuple(sorted(runs, key=lambda run: [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in run]))


def _in_order(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
