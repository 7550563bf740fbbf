"""How well simple features tell two sites apart, together and one by one."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import mannwhitneyu
from statsmodels.stats.multitest import multipletests

from nnunet_da.evaluation.probe import ProbeResult, domain_probe

FOLDS = 5  # so many scans (or patients) of either site are needed
ALPHA = 0.05


@dataclass(frozen=True)
class FeatureDifference:
    """One feature of two sites.

    Attributes:
        auc: chance that a target scan has the higher value; 0.5 where the sites are alike, 0 or 1 where they do not overlap.
        p_holm: of a two-sided Mann-Whitney test, corrected by Holm for all features of the probe.
        median_source, median_target: in the feature's own unit.
    """

    name: str
    auc: float
    p_holm: float
    median_source: float
    median_target: float

    @property
    def strength(self) -> float:
        """0.5 to 1: how well it tells the sites apart, whichever way."""
        return max(self.auc, 1 - self.auc)


@dataclass(frozen=True)
class SiteProbe:
    """What one set of features says about two sites.

    Attributes:
        result: None where there are too few scans; `gap` says so then.
        features: strongest first.
        dropped: features that are not known for every scan, or the same for all.
    """

    result: ProbeResult | None
    gap: str
    features: list[FeatureDifference]
    dropped: list[str]


def probe_sites(
    source: pd.DataFrame, target: pd.DataFrame, units: Mapping[str, str], *, permutations: int = 200, seed: int = 0
) -> SiteProbe:
    """Probe one target against the source. Scans of one patient are averaged: the patient is held out, permuted and counted.

    Args:
        source, target: (scans, features), indexed by scan.
        units: scan -> its patient (or itself).
    """
    both = pd.concat([source, target])
    known = both.columns[both.notna().all()]
    varied = [name for name in known if both[name].nunique() > 1]
    dropped = [str(name) for name in both.columns if name not in varied]
    units_source, units_target = ([units[scan] for scan in table.index] for table in (source, target))
    fewest = min(len(set(units_source)), len(set(units_target)))
    if fewest < FOLDS:
        gap = f"a probe needs {FOLDS} scans of different patients of either site, one has {fewest}"
        return SiteProbe(None, gap, _differences(source, target, varied, units_source, units_target, test=fewest >= 3), dropped)
    differences = _differences(source, target, varied, units_source, units_target, test=True)
    if not varied:
        return SiteProbe(None, "no feature varies between the scans: by these features the sites are identical", [], dropped)
    features_source, features_target = (table[varied].to_numpy(float) for table in (source, target))
    result = domain_probe(features_source, features_target, units_source, units_target, folds=FOLDS, permutations=permutations, seed=seed)
    return SiteProbe(result, "", differences, dropped)


def _differences(
    source: pd.DataFrame, target: pd.DataFrame, names: list[str], units_source: list[str], units_target: list[str], *, test: bool
) -> list[FeatureDifference]:
    if not names:
        return []
    a, b = (table[names].groupby(np.array(units)).mean() for table, units in ((source, units_source), (target, units_target)))
    tests = [mannwhitneyu(b[name], a[name], alternative="two-sided") for name in names]
    p_values = multipletests([t.pvalue for t in tests], method="holm")[1] if test else np.full(len(names), np.nan)
    found = [
        FeatureDifference(name, float(t.statistic) / (len(a) * len(b)), float(p), float(a[name].median()), float(b[name].median()))
        for name, t, p in zip(names, tests, p_values, strict=True)
    ]
    return sorted(found, key=lambda difference: -difference.strength)
