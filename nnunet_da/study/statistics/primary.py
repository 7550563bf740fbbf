"""The one primary contrast and what it answers."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nnunet_da.evaluation.seeds import two_level_interval
from nnunet_da.evaluation.statistics import UNDEFINED, direction
from nnunet_da.study.statistics.arms import failure_metric
from nnunet_da.study.statistics.contrasts import interval_over_cases
from nnunet_da.study.statistics.crossed import Estimate, difference
from nnunet_da.study.statistics.declaration import Declaration, unit_of
from nnunet_da.study.statistics.failures import Failures, compare_failures
from nnunet_da.study.statistics.mixed_model import MixedModel, fit_mixed_model
from nnunet_da.study.statistics.ranks import Superiority, contradicts, superiority
from nnunet_da.study.statistics.values import StudyValues

HELPED, HARMED, NO_HELP, CANNOT_TELL = "helped", "harmed", "did not help", "cannot tell"


@dataclass(frozen=True)
class Primary:
    """Primary method minus baseline on the endpoint in the primary target.

    Attributes:
        kind: "helped" and "harmed" where the interval leaves 0 out, "did not help" where it rules out a gain of `least_gain`, else
            "cannot tell".
        reason: why it cannot be told, "" where it can.
        estimate: decides, see `crossed`.
        boot_low, boot_high: two-level bootstrap, runs and cases drawn anew; too narrow with few runs.
        by_seed: the same with the runs of one seed paired, which start from the same weights; None where folds are paired. It does not
            decide.
        low_cases, high_cases: over cases alone, given these trained models.
        n_left_out: cases in which some run has no value.
    """

    kind: str
    reason: str
    arm: str
    baseline: str
    domain: str
    label: str
    metric: str
    unit: str
    least_gain: float
    mean_baseline: float
    mean_arm: float
    estimate: Estimate
    by_seed: Estimate | None
    boot_low: float
    boot_high: float
    low_cases: float
    high_cases: float
    n_left_out: int
    ranks: Superiority
    mixed_model: MixedModel
    failures: Failures

    @property
    def direction(self) -> int:
        return direction(self.metric)

    def to_json(self) -> dict[str, Any]:
        """As nested dictionaries."""
        return asdict(self)


def answer_primary(values: StudyValues, declaration: Declaration, label: str, *, resamples: int = 9999, seed: int = 0) -> Primary | None:
    """Answer the declared question; None where the primary method and the baseline have no run in common."""
    arms, metric = (declaration.baseline, declaration.primary_method), declaration.endpoint
    cube = values.cube(arms, declaration.primary_target, label, metric)
    if cube is None:
        return None
    cube = cube.by_fold
    baseline, method = cube.defined
    estimate = difference(baseline, method, paired=cube.paired, alpha=declaration.alpha)
    ranks = superiority(cube.values[0], cube.values[1], metric, paired=cube.paired, alpha=declaration.alpha)
    left_out = len(cube.cases) - estimate.n_cases
    kind, reason = judge(estimate, ranks.share, left_out, metric, declaration.least_gain)
    pair = (np.zeros_like(baseline), method - baseline) if cube.paired else (baseline, method)  # paired runs are drawn together
    low, high = two_level_interval(*pair, resamples=resamples, seed=seed)
    low_cases, high_cases = interval_over_cases((method - baseline).mean(axis=0), declaration.alpha)
    return Primary(
        kind,
        reason,
        arm=arms[1],
        baseline=arms[0],
        domain=declaration.primary_target,
        label=label,
        metric=metric,
        unit=unit_of(metric),
        least_gain=declaration.least_gain,
        mean_baseline=float(baseline.mean()) if baseline.size else UNDEFINED,
        mean_arm=float(method.mean()) if method.size else UNDEFINED,
        estimate=estimate,
        by_seed=None if cube.paired else difference(baseline, method, paired=True, alpha=declaration.alpha),
        boot_low=low,
        boot_high=high,
        low_cases=low_cases,
        high_cases=high_cases,
        n_left_out=left_out,
        ranks=ranks,
        mixed_model=fit_mixed_model(baseline, method, estimate.df, paired=cube.paired),
        failures=_failures(values, declaration, label),
    )


def judge(estimate: Estimate, share: float, left_out: int, metric: str, least_gain: float) -> tuple[str, str]:
    """Kind of answer, and why it cannot be told where it cannot.

    Args:
        estimate: method minus baseline.
        share: of pairs in which the method is better, failures being worst.
        left_out: cases that are in the ranks and not in the difference.
        least_gain: the smallest gain that would matter, in the metric's unit.
    """
    if not np.isfinite(estimate.low):
        return CANNOT_TELL, "; ".join(estimate.notes)
    low, high = sorted((direction(metric) * estimate.low, direction(metric) * estimate.high))
    kind = HELPED if low > 0 else HARMED if high < 0 else NO_HELP if high < least_gain else CANNOT_TELL
    otherwise = {HELPED: contradicts(share, ahead=True), HARMED: contradicts(share, ahead=False), NO_HELP: share > 0.5, CANNOT_TELL: False}
    if left_out and otherwise[kind]:
        return CANNOT_TELL, "failed segmentations are left out of the difference, and with them counted as worst the ranks say otherwise"
    return kind, f"the interval holds both no gain and one of {least_gain:g}, which would matter" if kind == CANNOT_TELL else ""


def _failures(values: StudyValues, declaration: Declaration, label: str) -> Failures:
    """Of the primary pair; by a distance, even where the endpoint is an overlap, which is defined for a model that found nothing."""
    metric = failure_metric(declaration, values.metrics(declaration.primary_target, label))
    cube = values.cube((declaration.baseline, declaration.primary_method), declaration.primary_target, label, metric)
    assert cube is not None  # the endpoint has one, and runs are scored alike
    return compare_failures(cube, declaration.alpha)
