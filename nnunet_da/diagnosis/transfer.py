"""Negative-transfer alarm: did adaptation cost accuracy on the source itself?"""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nnunet_da.diagnosis.runs import Run
from nnunet_da.errors import UserError

ALARM, NONE, NOT_ASSESSED = "ALARM", "none", "not assessed"
MARGIN = 0.01  # Dice
SIGNIFICANCE = 0.05
MIN_CASES = 3  # a paired test of fewer has no meaning


@dataclass(frozen=True)
class TransferCheck:
    """Outcome of the alarm.

    Attributes:
        status: ALARM, none, or not assessed.
        reason: one sentence why.
        margin: Dice that may be lost.
        n_cases: paired validation cases.
        dice_run, dice_source_only: mean over cases.
        difference: mean of run minus source only.
        low, high: 95 % bootstrap interval of it.
        p_value: one-sided paired t-test of "not worse".
        changes: case -> its difference.
    """

    status: str
    reason: str
    margin: float = MARGIN
    n_cases: int = 0
    dice_run: float | None = None
    dice_source_only: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    changes: dict[str, float] = field(default_factory=dict)


def negative_transfer(
    dice_run: dict[str, float], dice_source_only: dict[str, float], margin: float = MARGIN, seed: int = 0
) -> TransferCheck:
    """Compare two runs case by case.

    The alarm fires where the run loses more than `margin` on average AND a one-sided paired t-test says that the loss is not the choice of
    cases (p < 0.05). The first keeps the alarm silent about losses nobody would mind, the second about one bad case.

    Args:
        dice_run, dice_source_only: case -> Dice in [0, 1], the same cases.
        margin: Dice >= 0.
        seed: of the bootstrap.

    Raises:
        ValueError: the cases differ.
    """
    if set(dice_run) != set(dice_source_only):
        raise ValueError(f"Both runs must have the same cases, got {sorted(dice_run)} and {sorted(dice_source_only)}.")
    cases = sorted(dice_run)
    if len(cases) < MIN_CASES:
        return TransferCheck(
            NOT_ASSESSED, f"a paired test needs {MIN_CASES} validation cases, the fold has {len(cases)}", margin, len(cases)
        )
    ours, theirs = (np.array([table[case] for case in cases]) for table in (dice_run, dice_source_only))
    change = ours - theirs
    resampled = np.random.default_rng(seed).choice(change, (10_000, len(change))).mean(axis=1)
    p_value = _one_sided_p(change)
    mean, (low, high) = float(change.mean()), np.percentile(resampled, [2.5, 97.5])
    return TransferCheck(
        ALARM if mean < -margin and p_value < SIGNIFICANCE else NONE,
        _in_words(mean, p_value, margin, len(cases)),
        margin,
        n_cases=len(cases),
        dice_run=float(ours.mean()),
        dice_source_only=float(theirs.mean()),
        difference=mean,
        low=float(low),
        high=float(high),
        p_value=p_value,
        changes=dict(zip(cases, change.tolist(), strict=True)),
    )


def check_transfer(run: Run, source_only: Run | None, differ: list[str], expected: list[str], margin: float, seed: int) -> TransferCheck:
    """The alarm from the validation of two runs; not assessed where they may not be compared.

    Args:
        source_only: None where there is none.
        differ: in what the two differ, see `runs.differences`.
        expected: validation cases of the fold.
    """
    reason = _obstacle(run, source_only, differ)
    if reason is None:
        assert source_only is not None
        ending = run.dataset_json["file_ending"]
        mine, theirs = (dice_per_case(each.summary_file, ending) for each in (run, source_only))
        if set(mine) == set(theirs) and (not expected or set(mine) == set(expected)):
            return negative_transfer(mine, theirs, margin, seed)
        reason = f"both must have validated the fold's {len(expected)} cases, the run has {len(mine)}, source only has {len(theirs)}"
    return TransferCheck(NOT_ASSESSED, reason, margin)


def dice_per_case(summary_file: Path, file_ending: str) -> dict[str, float]:
    """Case -> mean Dice over labels, from stock nnU-Net's summary.json; two empty masks count 1, which nnU-Net calls NaN.

    Args:
        summary_file: of a validation.
        file_ending: of the dataset, such as ".nii.gz": a case's name may hold dots itself.

    Raises:
        UserError: not such a file.
    """
    try:
        entries = json.loads(summary_file.read_text())["metric_per_case"]
        return {Path(entry["prediction_file"]).name.removesuffix(file_ending): _mean_dice(entry["metrics"]) for entry in entries}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{summary_file} must be what nnU-Net's validation writes, it is not ({error!r}): train with --val again"
        ) from error


def _obstacle(run: Run, source_only: Run | None, differ: list[str]) -> str | None:
    if run.is_source_only:
        return "this is the source-only run"
    if source_only is None:
        return "no source-only run of the same plans, configuration and fold was found"
    if differ:
        return "the source-only run differs: " + "; ".join(differ[:3]) + (f"; and {len(differ) - 3} more" if len(differ) > 3 else "")
    if run.fold == "all":
        return "fold all holds no case out"
    missing = [name for name, each in (("the run", run), ("the source-only run", source_only)) if not each.summary_file.is_file()]
    return f"{' and '.join(missing)} has no validation/summary.json (nnUNetv2_train ... --val makes it)" if missing else None


def _mean_dice(metrics: dict[str, dict[str, float]]) -> float:
    values = [float(entry["Dice"]) for entry in metrics.values()]
    return float(np.mean([1.0 if math.isnan(value) else value for value in values]))


def _one_sided_p(change: np.ndarray) -> float:
    from scipy.stats import ttest_1samp

    if np.ptp(change) < 1e-12:  # no scatter: the test divides by zero
        return 0.0 if change[0] < 0 else 1.0
    return float(ttest_1samp(change, 0, alternative="less").pvalue)


def _in_words(change: float, p_value: float, margin: float, cases: int) -> str:
    on = f"on {cases} source validation cases"
    if change >= 0:
        return f"no loss {on}"
    if change >= -margin:
        return f"the loss of {-change:.4f} Dice {on} is within the margin of {margin:g}"
    sure = p_value < SIGNIFICANCE
    return f"the loss of {-change:.4f} Dice {on} exceeds the margin of {margin:g}" + (
        "" if sure else f", but may be chance (p = {p_value:.2f})"
    )
