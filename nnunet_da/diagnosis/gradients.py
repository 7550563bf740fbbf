"""Which term acted: the share of each weighted term in the gradient at the features that are aligned, from the curves of a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nnunet_da.errors import UserError

PREFIX = "gradient_"
OVERWHELMS, LEADS, SILENT, NOTHING = 10.0, 1.0, 0.01, 1e-6  # gradient norm against that of the supervised loss
CHANCE_BAND = 0.05  # accuracy this close to 0.5 counts as chance
SURE = 0.95
NAMES = {"seg": "the supervised loss", "adv": "the adversarial term", "mmd": "MMD"}


@dataclass(frozen=True)
class TermShare:
    """One term over the second half of the training.

    Attributes:
        norm: median gradient norm at the features that are aligned, weight and reversal strength included.
        share: of the sum over all terms.
        ratio: to the supervised gradient; None where that is zero.
    """

    term: str
    norm: float
    share: float
    ratio: float | None


def read_curves(file: Path) -> pd.DataFrame:
    """Columns epoch, term, value; an empty value is NaN.

    Raises:
        UserError: missing or not such a table.
    """
    try:
        table = pd.read_csv(file, dtype={"term": str})[["epoch", "term", "value"]]
        return table.astype({"epoch": float, "value": float}).astype({"epoch": int})
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{file} must be the table of curves that training writes, it is not ({error}): continue the training") from error


def gradient_norms(curves: pd.DataFrame) -> pd.DataFrame:
    """Epochs x terms, the supervised loss (`seg`) first."""
    chosen = curves[curves["term"].str.startswith(PREFIX)]
    table = chosen.pivot_table(index="epoch", columns="term", values="value", sort=False)
    return table.rename(columns=lambda name: name.removeprefix(PREFIX))


def gradient_shares(curves: pd.DataFrame) -> list[TermShare]:
    """Share of each term over the second half of the training: the start says little of what shaped the result."""
    norms = gradient_norms(curves)
    late = norms.iloc[len(norms) // 2 :].median()
    total, supervised = float(late.sum()), float(late.get("seg", 0.0))
    return [
        TermShare(str(term), float(norm), float(norm) / total if total > 0 else 0.0, float(norm) / supervised if supervised > 0 else None)
        for term, norm in late.items()
    ]


def gradient_findings(shares: list[TermShare], weights: dict[str, float | None]) -> list[str]:
    """What the shares mean and what to do, in plain words; a term between 1/100 of and the supervised gradient itself is not mentioned.

    Args:
        weights: term -> its weight in the settings.
    """
    findings = []
    for share in shares:
        if share.term == "seg" or share.ratio is None or not np.isfinite(share.ratio):
            continue
        name, weight = NAMES.get(share.term, share.term), weights.get(share.term)
        setting = f"w_{share.term}" + (f" (now {weight:g})" if weight is not None else "")
        if weight == 0 or share.ratio < NOTHING:
            findings.append(f"{name} sends nothing: its weight or strength is zero, or its input carries no gradient; check {setting}.")
        elif share.ratio < SILENT:
            findings.append(
                f"{name} sends {share.ratio:.2g} times the supervised gradient, which hardly acts: raise {setting} to adapt more."
            )
        elif share.ratio >= OVERWHELMS:
            findings.append(f"{name} sends {share.ratio:.3g} times the supervised gradient and rules the features: lower {setting}.")
        elif share.ratio > LEADS:
            findings.append(f"{name} sends {share.ratio:.2g} times the supervised gradient: watch source validation, or lower {setting}.")
    return [finding[0].upper() + finding[1:] for finding in findings]


def late_accuracy(curves: pd.DataFrame) -> float | None:
    """Mean balanced accuracy of the domain classifier over the second half of the training; None where there is none."""
    accuracy = curves.loc[curves["term"] == "domain_accuracy", "value"].dropna()
    return None if accuracy.empty else float(accuracy.iloc[len(accuracy) // 2 :].mean())


def classifier_finding(curves: pd.DataFrame, still_told_apart: bool | None, settings: Mapping[str, Any]) -> str | None:
    """What the domain classifier's accuracy means; None where there is no classifier, or one that a weight of 0 never trained.

    Chance has two readings, success and a classifier that learned nothing, and accuracy cannot tell them apart; the probe can.

    Args:
        still_told_apart: whether the held-out probe told the domains apart afterwards, None where it was not assessed.
        settings: of the run.
    """
    late = late_accuracy(curves)
    if late is None or not settings["w_adv"]:
        return None
    if late > SURE:
        return f"The domain classifier is nearly always right ({late:.2f}): the encoder does not hide the domain from it."
    if abs(late - 0.5) > CHANCE_BAND:
        return f"The domain classifier is right in {late:.0%} of the samples: encoder and classifier are in balance."
    opening = f"The domain classifier stays at chance ({late:.2f})"
    if still_told_apart is None:
        return f"{opening}: either the features hide the domain or the classifier is too weak; without the probe this stays open."
    if still_told_apart:
        raw = settings["classifier_input"] == "raw"
        remedy = f"classifier_input=standardised with w_adv={settings['w_adv'] / 100:g}" if raw else "a higher head_lr or a longer training"
        return f"{opening}, yet the probe tells the held-out domains apart: the classifier was too weak, try {remedy}."
    return f"{opening} and so does the probe on held-out cases: nothing contradicts alignment, few cases prove none."
