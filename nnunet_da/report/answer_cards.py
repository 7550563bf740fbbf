"""The study's answer in a few words each: the question, the source, the gap."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from nnunet_da.report.answer import Answer
from nnunet_da.report.answer_tables import GATE, PRIMARY

KINDS = {
    "helped": ("better", "Yes"),
    "harmed": ("worse", "No, it harmed"),
    "did not help": ("open", "No"),
    "cannot tell": ("mixed", "Cannot tell"),
}


@dataclass(frozen=True)
class Card:
    """One short answer; `kind` gives its colour."""

    question: str
    kind: str
    said: str
    details: list[str]


def cards(answer: Answer) -> list[Card]:
    """The primary question, the source, the gap."""
    kind, said = KINDS.get(answer.kind, ("open", answer.kind))
    found = [Card("Did adaptation help?", kind, said, [answer.answer])]
    gates = answer.tables["non_inferiority"]
    gates = gates[gates["role"] == GATE]
    unjudged = set(answer.declaration.get("margins", {})) - set(gates["metric"])  # margins of metrics without values
    verdicts = [*gates["verdict"], *("not estimable" for _ in unjudged)]
    found += [Card("Was the source kept?", *_source_said(verdicts), answer.source)] if len(gates) else []
    return found + ([Card("How much of the gap was closed?", *_gap_said(answer), answer.gap)] if answer.gap else [])


def _source_said(verdicts: Sequence[str]) -> tuple[str, str]:
    if all(verdict == "non-inferior" for verdict in verdicts):
        return "better", "Yes, within the margin"
    if "inferior" in verdicts:
        return "worse", "No"
    return "mixed", "Not estimable" if set(verdicts) == {"not estimable"} else "Not shown"


def _gap_said(answer: Answer) -> tuple[str, str]:
    rows, declared = answer.tables["gap"], answer.declaration
    asked = {"label": answer.label, "metric": declared.get("endpoint"), "domain": declared.get("primary_target")}
    own = rows[(rows[list(asked)] == pd.Series(asked)).all(axis=1)]
    own = own[own["arm"] == _primary_arm(answer)]
    defined = own["ratio"].dropna()
    return ("open", f"{100 * defined.iloc[0]:.0f} %".replace("-", "−")) if len(defined) else ("mixed", "Not estimable")


def _primary_arm(answer: Answer) -> str:
    """As the tables name it."""
    rows = answer.tables["contrasts"]
    found = rows.loc[rows["role"] == PRIMARY, "arm"]
    return str(found.iloc[0]) if len(found) else ""
