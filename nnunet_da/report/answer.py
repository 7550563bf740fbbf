"""The answer of a study, as `nnunet-da study` leaves it beside the arms: the declared question, its tables, its cost and its gaps."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from nnunet_da.errors import UserError
from nnunet_da.report.files import read_json, read_json_if_there, read_table

ANSWER_FILE, COST_FILE, NOTES_FILE, LAYOUT = "study_answer.json", "study_cost.csv", "study_notes.json", 1
WRITER = "nnunet-da study"
PLACE = ("domain", "label", "metric", "unit")
TABLES = {  # name -> (file, columns of text, columns of numbers)
    "contrasts": (
        "study_contrasts.csv",
        ("arm", "baseline", "role", *PLACE, "better", "claim", "note"),
        (
            *("n_runs", "n_cases", "n_left_out", "mean_baseline", "mean_arm", "difference", "ci_low", "ci_high", "p", "p_holm", "family"),
            *("ci_low_cases", "ci_high_cases", "superiority", "superiority_low", "superiority_high", "p_ranks"),
        ),
    ),
    "non_inferiority": (
        "study_non_inferiority.csv",
        ("arm", "baseline", "role", *PLACE, "verdict", "claim", "note"),
        ("n_runs", "n_cases", "n_left_out", "loss", "ci_low", "ci_high", "margin", "p", "p_holm"),
    ),
    "gap": (
        "study_gap.csv",
        ("arm", "source_only", "oracle", *PLACE, "note"),
        ("n_runs", "n_cases", "n_left_out", "gap", "gap_low", "gap_high", "ratio", "ci_low", "ci_high"),
    ),
    "failures": (
        "study_failures.csv",
        ("arm", "baseline", "domain", "label", "metric"),
        (
            *("n", "failed_baseline", "failed_arm", "only_baseline", "only_arm", "p_mcnemar", "cases_worse", "cases_better", "p_cases"),
            *("rate_difference", "ci_low", "ci_high"),
        ),
    ),
    "arms": (
        "study_arms.csv",
        ("arm", *PLACE, "runs", "run_means"),
        ("mean", "sd_runs", "sd_cases", "n_runs", "n_cases", "failures", "lowest_run", "highest_run"),
    ),
}
COST_TEXT, COST_NUMBERS = ("arm", "seed", "fold", "job"), ("seconds", "peak_mb", "gpu_peak_mb", "iterations", "parameters")
SENTENCES = {"kind": str, "answer": str, "claims": str, "supporting": list, "source": list, "gap": list, "warnings": list}


@dataclass(frozen=True)
class Answer:
    """study_answer.json and the tables beside it; arms by the names the report shows.

    Attributes:
        declaration: what the study declared before it ran.
        label: key of the label of the primary contrast.
        kind: "helped", "harmed", "did not help" or "cannot tell".
        answer: the sentence that says so.
        supporting, source, gap: further sentences.
        claims: what may be said of the rest.
        tables: contrasts, non_inferiority, gap, failures, arms.
    """

    declaration: dict[str, Any]
    label: str
    kind: str
    answer: str
    supporting: list[str]
    source: list[str]
    gap: list[str]
    claims: str
    warnings: list[str]
    tables: dict[str, pd.DataFrame]
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def level(self) -> str:
        """ "95 %" for an alpha of 0.05."""
        return f"{100 * (1 - float(self.declaration.get('alpha', 0.05))):g} %"


@dataclass(frozen=True)
class Notes:
    """study_notes.json, all optional.

    Attributes:
        transductive: target -> whether its test cases were seen, without labels, in training.
        failed: job -> why.
    """

    title: str = ""
    notes: list[str] = field(default_factory=list)
    transductive: dict[str, bool] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kinds = {"title": str, "notes": list, "transductive": dict, "failed": dict}
        wrong = [name for name, kind in kinds.items() if not isinstance(getattr(self, name), kind)]
        wrong += ["transductive"] if not wrong and not all(isinstance(seen, bool) for seen in self.transductive.values()) else []
        if wrong:
            raise UserError(
                f"{NOTES_FILE}: title must be a text, notes a list, failed and transductive dictionaries, the latter with true or false; "
                f"got {wrong[0]} = {getattr(self, wrong[0])!r}: write it anew with {WRITER}."
            )

    def __bool__(self) -> bool:
        return bool(self.notes or self.transductive or self.failed)


def read_answer(folder: Path, names: Mapping[str, str]) -> Answer | None:
    """The answer in a folder, None where there is none.

    Args:
        names: arm as the study names it -> as the report shows it; an arm that is not shown keeps its name.

    Raises:
        UserError: a file is missing or not what this version's study writes.
    """
    file = folder / ANSWER_FILE
    if not file.is_file():
        return None
    found = read_json(file)
    if found.get("layout") != LAYOUT:
        raise UserError(f"{file} must have layout {LAYOUT}, got {found.get('layout')!r}: run {WRITER} of this version again.")
    wrong = [name for name, kind in {**SENTENCES, "declaration": dict}.items() if not isinstance(found.get(name), kind)]
    if wrong:
        raise UserError(f"{file} must be what {WRITER} writes, got {wrong[0]} = {found.get(wrong[0])!r}: run it again.")
    tables = {name: _read(folder / path, text, numbers, names) for name, (path, text, numbers) in TABLES.items()}
    sentences = {name: _typeset(found[name]) for name in SENTENCES}
    return Answer(found["declaration"], str(found.get("label", "")), tables=tables, versions=_texts(found.get("versions")), **sentences)


def read_cost(folder: Path, names: Mapping[str, str]) -> pd.DataFrame:
    """study_cost.csv, one row per job; empty where there is none. Raises UserError."""
    file = folder / COST_FILE
    if not file.is_file():
        return pd.DataFrame(columns=[*COST_TEXT, *COST_NUMBERS])
    return _read(file, COST_TEXT, COST_NUMBERS, names)


def read_notes(folder: Path) -> Notes:
    """study_notes.json. Raises UserError where it holds something else."""
    found = read_json_if_there(folder / NOTES_FILE)
    unknown = sorted(set(found) - set(Notes.__dataclass_fields__))
    if unknown:
        raise UserError(f"{folder / NOTES_FILE} may hold {', '.join(Notes.__dataclass_fields__)}, got {', '.join(unknown)}: remove it.")
    return Notes(**found)


def _read(file: Path, text: tuple[str, ...], numbers: tuple[str, ...], names: Mapping[str, str]) -> pd.DataFrame:
    table = read_table(file, text, numbers, WRITER)
    for column in {"arm", "baseline", "source_only", "oracle", "better"} & set(table.columns):
        table[column] = [names.get(arm, arm) for arm in table[column]]
    return table


def _typeset(said: Any) -> Any:
    """Sentences with minus signs where a number begins with a hyphen."""
    return [_typeset(text) for text in said] if isinstance(said, list) else re.sub(r"(?<![\w.])-(?=\d)", "−", str(said))


def _texts(found: object) -> dict[str, str]:
    return {str(name): str(version) for name, version in found.items()} if isinstance(found, dict) else {}
