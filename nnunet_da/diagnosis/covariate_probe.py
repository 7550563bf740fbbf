"""What features tell about a case within its domain, so that a difference between the domains cannot pass for it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

FOLDS, REPEATS = 5, 10
MIN_PER_CATEGORY = 3  # fewer could not leave the permutation interval


@dataclass(frozen=True)
class CovariateResult:
    """Outcome for one covariate.

    Attributes:
        metric: "AUC" (chance 0.5) of a category, "Spearman" (chance 0) of a number.
        score: of cases held out by cross-validation.
        null_low, null_high: central 95 % of the score under permutation within domains.
        p_value: share of permutations (and the observed one) that reach the score.
        r2: explained variance of a number beyond its domain's mean, None for a category.
        n_cases: cases that it is known for.
    """

    metric: str
    score: float
    null_low: float
    null_high: float
    p_value: float
    r2: float | None
    n_cases: int

    @property
    def readable(self) -> bool:
        """Whether the features tell it: the score is above the permutation interval."""
        return self.score > self.null_high


def covariate_probe(
    features: NDArray[np.floating], values: NDArray, domains: NDArray, *, numeric: bool, permutations: int = 200, seed: int = 0
) -> CovariateResult:
    """Predict a covariate from features by ridge regression, cross-validated by case, within domains.

    Features and covariate are centred on the mean of their domain (of the training cases of each fold), and permutations and pairs of
    the AUC stay within domains: with everything told by the domain alone the score is chance. A category is regressed on its indicator,
    several are averaged one against the rest. Folds are repeated and their predictions averaged, as one split of few cases is a lottery.

    Args:
        features: (N, F), one row per case.
        values: (N,) numbers or category names, none missing.
        domains: (N,) of each case, at least `FOLDS` cases each.
        numeric: whether values are numbers.

    Raises:
        ValueError: too few cases in a domain, one value alone, less than `MIN_PER_CATEGORY` cases of a category, or so few that chance
            reaches a perfect score.
    """
    _check(values, domains, numeric)
    _, groups = np.unique(domains, return_inverse=True)
    coded = values.astype(float)[:, None] if numeric else (values[:, None] == _indicated(values)).astype(float)  # (N, K)
    predict, residual = _operators(features.astype(float), groups, seed)
    rng = np.random.default_rng(seed)
    orders = np.stack([np.arange(len(values)), *(_permute_within(groups, rng) for _ in range(permutations))], axis=1)  # (N, 1 + P)
    score = _spearman if numeric else _stratified_auc
    scores = np.mean([score(predict @ column[orders], column[orders], groups) for column in coded.T], axis=0)
    observed, null = float(scores[0]), scores[1:]
    low, high = np.percentile(null, [2.5, 97.5])
    if high >= 1:
        raise ValueError("there are so few cases that chance alone reaches a perfect score")
    r2 = _explained(predict @ coded[:, 0], residual @ coded[:, 0]) if numeric else None
    p_value = (1 + int((null >= observed).sum())) / (1 + permutations)
    return CovariateResult("Spearman" if numeric else "AUC", observed, float(low), float(high), p_value, r2, len(values))


def _check(values: NDArray, domains: NDArray, numeric: bool) -> None:
    kinds, counts = np.unique(values, return_counts=True)
    if len(kinds) < 2:
        raise ValueError("it is the same in all cases")
    if not numeric and counts.min() < MIN_PER_CATEGORY:
        raise ValueError(f"every category needs {MIN_PER_CATEGORY} held-out cases, '{kinds[counts.argmin()]}' has {counts.min()}")
    _, sizes = np.unique(domains, return_counts=True)
    if sizes.min() < FOLDS:
        raise ValueError(f"every domain needs {FOLDS} held-out cases with a value, one has {sizes.min()}")
    if all(len(np.unique(values[domains == domain])) < 2 for domain in np.unique(domains)):
        raise ValueError("it does not vary within a domain")


def _indicated(values: NDArray) -> NDArray:
    """The categories that are told from the rest; of two, one says all."""
    kinds = np.unique(values)
    return kinds[1:] if len(kinds) == 2 else kinds


def _operators(features: NDArray[np.floating], groups: NDArray, seed: int) -> tuple[NDArray, NDArray]:
    """Two (N, N) matrices: covariate -> its cross-validated prediction, and -> what there was to predict, both beyond the domain's mean.

    Ridge predictions are linear in the covariate, so one matrix serves all permutations. The penalty is one per feature on standardised
    features, that is the mean kernel value of a case.
    """
    from sklearn.model_selection import StratifiedKFold

    n = len(features)
    predict, residual = np.zeros((n, n)), np.zeros((n, n))
    for repeat in range(REPEATS):
        for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=seed + repeat).split(features, groups):
            mean = groups[:, None] == groups[train]
            centre = np.eye(n)
            centre[:, train] -= mean / mean.sum(axis=1, keepdims=True)  # (N, N): minus the training mean of the domain
            x = centre @ features
            scale = x[train].std(axis=0)
            x = x[:, scale > 0] / scale[scale > 0]
            width = max(1, x.shape[1])
            kernel = x @ x[train].T / width  # (N, train)
            solve = np.linalg.solve(kernel[train] + np.eye(len(train)), centre[train])
            predict[test] += kernel[test] @ solve / REPEATS
            residual[test] += centre[test] / REPEATS
    return predict, residual


def _permute_within(groups: NDArray, rng: np.random.Generator) -> NDArray:
    order = np.arange(len(groups))
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        order[members] = rng.permutation(members)
    return order


def _spearman(predicted: NDArray, truth: NDArray, groups: NDArray) -> NDArray:
    """Rank correlation per column, the truth centred on its domain's mean."""
    means = np.stack([truth[groups == group].mean(axis=0) for group in range(groups.max() + 1)])
    ranks = [rankdata(values, axis=0) for values in (predicted, truth - means[groups])]
    centred = [rank - rank.mean(axis=0) for rank in ranks]
    norms = np.sqrt((centred[0] ** 2).sum(axis=0) * (centred[1] ** 2).sum(axis=0))
    return np.divide((centred[0] * centred[1]).sum(axis=0), norms, out=np.zeros_like(norms), where=norms > 0)


def _stratified_auc(scores: NDArray, positive: NDArray, groups: NDArray) -> NDArray:
    """Share of pairs of the same domain that are in the right order, per column."""
    right, pairs = np.zeros(scores.shape[1]), np.zeros(scores.shape[1])
    for group in range(groups.max() + 1):
        members = groups == group
        ranks, is_positive = rankdata(scores[members], axis=0), positive[members]
        n_positive = is_positive.sum(axis=0)
        right += (ranks * is_positive).sum(axis=0) - n_positive * (n_positive + 1) / 2
        pairs += n_positive * (members.sum() - n_positive)
    return np.divide(right, pairs, out=np.full_like(right, 0.5), where=pairs > 0)


def _explained(predicted: NDArray, truth: NDArray) -> float:
    return float(1 - ((truth - predicted) ** 2).sum() / (truth**2).sum())
