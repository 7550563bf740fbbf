"""Do two centres draw alike? Medians of what `labels` measured, and tests between the source and each target."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import mannwhitneyu
from statsmodels.stats.multitest import multipletests

from nnunet_da.audit.labels import PROTOCOL
from nnunet_da.audit.measure import Measured

FEWEST = 3  # scans of either dataset that a test asks for


@dataclass(frozen=True)
class LabelDifference:
    """One measure of one label in all datasets that were read.

    Attributes:
        medians: dataset -> (median, lower quartile, upper quartile, scans); the share of scans for `touches_end`.
        p_holm: target -> p of a two-sided Mann-Whitney test against the source, corrected by Holm for all measures of all labels of
            all targets; missing where fewer than `FEWEST` scans are known.
    """

    label: str
    measure: str
    medians: dict[str, tuple[float, float, float, int]]
    p_holm: dict[str, float]


def label_differences(found: list[Measured], source: str, targets: list[str]) -> list[LabelDifference]:
    """Differences of every label that any dataset shows."""
    values: dict[tuple[str, str], dict[str, list[float]]] = {}
    for one in found:
        for label, measures in one.labels.items():
            for measure in PROTOCOL:
                values.setdefault((label, measure), {}).setdefault(one.scan.dataset, []).append(measures[measure])
    tests = {
        (key, target): float(mannwhitneyu(of[source], of[target], alternative="two-sided").pvalue)
        for key, of in values.items()
        for target in targets
        if min(len(of.get(source, ())), len(of.get(target, ()))) >= FEWEST
    }
    corrected = dict(zip(tests, multipletests(list(tests.values()), method="holm")[1], strict=True)) if tests else {}
    return [
        LabelDifference(
            label,
            measure,
            {dataset: _summary(entries, measure) for dataset, entries in of.items()},
            {target: float(corrected[key, target]) for target in targets if (key, target) in corrected},
        )
        for key, of in values.items()
        for label, measure in [key]
    ]


def _summary(entries: list[float], measure: str) -> tuple[float, float, float, int]:
    if measure == "touches_end":
        share = float(np.mean(entries))
        return share, share, share, len(entries)
    middle, low, high = np.percentile(entries, [50, 25, 75])
    return float(middle), float(low), float(high), len(entries)
