"""The table of the gate: what a network trained on the source loses on each test set, with intervals. Pure: scores in, words out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

METRICS = {"dice": ("Dice points", 100.0, 1), "hd95_mm": ("mm HD95", 1.0, -1), "asd_mm": ("mm ASD", 1.0, -1)}  # unit, scale, better
CLEAR = {"dice": 1.5, "hd95_mm": 1.0}  # a loss this large, in the units above, can show a benefit
SOURCE_DICE = 0.985
BOOTSTRAPS = 10_000
HEADS = ("test set", "cases", "Dice", "HD95 (mm)", "ASD (mm)", "Dice loss (points)", "HD95 loss (mm)", "ASD loss (mm)", "failed", "clear")
Scores = Mapping[str, Sequence[float]]  # metric -> one value per case, NaN where it is not defined


@dataclass(frozen=True)
class Loss:
    """How much worse a test set is than the source's, positive is worse.

    Attributes:
        mean: source minus other for Dice, in points (hundredths); other minus source for distances, in mm.
        low, high: 95 % of bootstraps, both sets of cases drawn anew. NaN for fewer than two cases on a side.
    """

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.2f} ({self.low:+.2f} to {self.high:+.2f})"


def loss(source: Sequence[float], other: Sequence[float], metric: str, seed: int = 0) -> Loss:
    """The loss of one metric of `METRICS` between independent cases; undefined values are left out."""
    _, scale, better = METRICS[metric]
    first, second = (_defined(values) * scale * better for values in (source, other))
    rng = np.random.default_rng(seed)
    if min(len(first), len(second)) < 2:
        return Loss(_mean(first) - _mean(second), float("nan"), float("nan"))
    drawn = _resampled_means(first, rng) - _resampled_means(second, rng)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Loss(_mean(first) - _mean(second), float(low), float(high))


def loses_clearly(losses: Mapping[str, Loss]) -> bool:
    """Whether a loss reaches its limit of `CLEAR` and its interval lies above 0: only then can adaptation show a benefit."""
    return any(losses[metric].mean >= limit and losses[metric].low > 0 for metric, limit in CLEAR.items())


def row(name: str, scores: Scores, source: Scores) -> dict[str, Any]:
    """One test set against the source's: means, losses, failures (cases without a distance: an empty prediction) and the verdict."""
    losses = {metric: loss(source[metric], scores[metric], metric) for metric in METRICS}
    return {
        "test set": name,
        "cases": len(scores["dice"]),
        "failed": int(np.isnan(np.asarray(scores["hd95_mm"], float)).sum()),
        **{metric: _mean(_defined(scores[metric])) for metric in METRICS},
        **{f"{metric}_loss": vars(losses[metric]) for metric in METRICS},
        "loses_clearly": loses_clearly(losses),
    }


def markdown(rows: Sequence[Mapping[str, Any]], source: str) -> str:
    """The rows as a table, the source's first, and what follows from them."""
    lines = ["| " + " | ".join(HEADS) + " |", "|---" * len(HEADS) + "|"]
    for values in rows:
        losses = ["", "", ""] if values["test set"] == source else [str(Loss(**values[f"{metric}_loss"])) for metric in METRICS]
        means = [f"{values['dice']:.4f}", f"{values['hd95_mm']:.2f}", f"{values['asd_mm']:.2f}"]
        verdict = "" if values["test set"] == source else "yes" if values["loses_clearly"] else "no"
        cells = [values["test set"], str(values["cases"]), *means, *losses, str(values["failed"]), verdict]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", converged(rows, source), "", verdict_of(rows, source)])


def converged(rows: Sequence[Mapping[str, Any]], source: str) -> str:
    """Whether the network is good enough on the source for its losses elsewhere to be the shift's."""
    dice = next(values["dice"] for values in rows if values["test set"] == source)
    reached = dice >= SOURCE_DICE
    return f"Dice on the source's test set: {dice:.4f}. The gate asks for {SOURCE_DICE}: **{'reached' if reached else 'not reached'}**." + (
        "" if reached else " Losses below may be those of a network that has not converged."
    )


def verdict_of(rows: Sequence[Mapping[str, Any]], source: str) -> str:
    """Which test sets can show a benefit of adaptation."""
    clear = [values["test set"] for values in rows if values["test set"] != source and values["loses_clearly"]]
    limits = f"{CLEAR['dice']} Dice points or {CLEAR['hd95_mm']} mm HD95, its 95 % interval above 0"
    return f"Lose clearly ({limits}): {', '.join(clear) or 'none'}. Only there can adaptation show a benefit."


def _defined(values: Sequence[float]) -> NDArray[np.float64]:
    found = np.asarray(values, float)
    return found[~np.isnan(found)]


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _resampled_means(values: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.choice(values, (BOOTSTRAPS, len(values))).mean(axis=1)
