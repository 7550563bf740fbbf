"""Can a linear classifier tell the domains apart? Cross-validated by case, against a permutation null."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ProbeResult:
    """Outcome of a domain probe.

    Attributes:
        auc: area under the ROC curve of held-out cases; 0.5 is chance.
        null_low, null_high: central 95 % of the same number under permuted domains; an AUC inside tells nothing apart.
        p_value: share of permutations (and the observed one) that reach the AUC.
        n_source, n_target: cases.
    """

    auc: float
    null_low: float
    null_high: float
    p_value: float
    n_source: int
    n_target: int

    @property
    def at_chance(self) -> bool:
        """Whether the domains could not be told apart: the AUC is not above the permutation interval."""
        return self.auc <= self.null_high


def domain_probe(
    features_source: NDArray[np.floating],
    features_target: NDArray[np.floating],
    cases_source: list[str],
    cases_target: list[str],
    *,
    folds: int = 5,
    permutations: int = 200,
    seed: int = 0,
) -> ProbeResult:
    """Probe features for their domain.

    Samples of one case are averaged first: a case is the unit that is held out and permuted, else a probe would recognise cases and call
    it a domain. Logistic regression on standardised features, scores of held-out folds pooled.

    Args:
        features_source: (N_s, F) samples.
        features_target: (N_t, F) samples.
        cases_source, cases_target: the case of each sample.
        folds: of the cross-validation, stratified by domain.
        permutations: of the null.
        seed: of folds and permutations.

    Raises:
        ValueError: F differs, or a domain has fewer cases than folds.
    """
    if features_source.ndim != 2 or features_target.ndim != 2 or features_source.shape[1] != features_target.shape[1]:
        raise ValueError(f"Features must be (N, F) with equal F, got {features_source.shape} and {features_target.shape}.")
    source, target = _mean_per_case(features_source, cases_source), _mean_per_case(features_target, cases_target)
    if min(len(source), len(target)) < folds:
        raise ValueError(f"{folds} folds need as many cases per domain, got {len(source)} source and {len(target)} target.")
    features = np.concatenate([source, target])
    is_target = np.r_[np.zeros(len(source), int), np.ones(len(target), int)]
    rng = np.random.default_rng(seed)
    auc = _cross_validated_auc(features, is_target, folds, seed)
    null = np.array([_cross_validated_auc(features, rng.permutation(is_target), folds, seed) for _ in range(permutations)])
    low, high = np.percentile(null, [2.5, 97.5])
    p_value = (1 + int((null >= auc).sum())) / (1 + permutations)
    return ProbeResult(auc, float(low), float(high), p_value, len(source), len(target))


def _mean_per_case(features: NDArray[np.floating], cases: list[str]) -> NDArray[np.floating]:
    names = np.array(cases)
    return np.stack([features[names == case].mean(axis=0) for case in sorted(set(cases))])


def _cross_validated_auc(features: NDArray[np.floating], is_target: NDArray[np.integer], folds: int, seed: int) -> float:
    """Folds in a plain loop: a pipeline and `cross_val_predict` give the same, but slower, and there are 200 permutations."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold
    from sklearn.preprocessing import StandardScaler

    scores = np.empty(len(features))
    for train, held_out in StratifiedKFold(folds, shuffle=True, random_state=seed).split(features, is_target):
        standardised = StandardScaler().fit(features[train]).transform(features)
        fitted = LogisticRegression(C=0.1, max_iter=200).fit(standardised[train], is_target[train])
        scores[held_out] = fitted.decision_function(standardised[held_out])
    return float(roc_auc_score(is_target, scores))
