import numpy as np
import pytest
from scipy import stats

from nnunet_da.study.statistics.crossed import contrast, covariance_of, difference, variance_of

BASELINE, METHOD = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[2.0, 4.0], [4.0, 8.0]])  # 2 runs on 2 cases


def test_worked_by_hand_with_trainings_of_their_own():
    """Runs: var(1.5, 3.5) / 2 = 1 and var(3, 6) / 2 = 2.25. Cases: var(1, 3) / 2 = 1, less the rest's 1 / 4."""
    found = difference(BASELINE, METHOD)
    assert found.value == 2
    assert found.se == pytest.approx(2)  # sqrt(1 + 2.25 + 0.75)
    assert found.df == pytest.approx(16 / (1**2 + 2.25**2 + 0.75**2))
    assert found.p == pytest.approx(2 * stats.t.sf(1, found.df))
    assert found.high - found.value == pytest.approx(2 * stats.t.ppf(0.975, found.df))


def test_worked_by_hand_with_paired_trainings():
    """Differences [[1, 2], [1, 4]]. Runs: var(1.5, 2.5) / 2 = 0.25. Cases: var(1, 3) / 2 = 1, less 1 / 4."""
    found = difference(BASELINE, METHOD, paired=True)
    assert found.se == pytest.approx(1)
    assert found.df == pytest.approx(1 / (0.25**2 + 0.75**2))


def test_the_sign_is_method_minus_baseline():
    assert difference(METHOD, BASELINE).value == -2


def test_a_contrast_and_the_covariance_of_two_agree_with_the_difference():
    values = np.stack([BASELINE, METHOD, METHOD + 1])
    assert contrast(values, (-1, 1, 0)) == difference(BASELINE, METHOD)
    assert covariance_of(values, (-1, 1, 0), (-1, 1, 0)) == pytest.approx(variance_of(values, (-1, 1, 0))[0])


@pytest.mark.parametrize(
    ("shape", "words"), [((1, 5), "one trained model per arm"), ((3, 1), "one case"), ((3, 0), "no case with all values defined")]
)
def test_what_cannot_be_estimated_is_said(shape, words):
    found = difference(np.zeros(shape), np.ones(shape))
    assert np.isnan([found.se, found.low, found.p]).all()
    assert words in found.notes[0]


def test_without_any_scatter_there_is_no_test():
    found = difference(np.zeros((3, 5)), np.ones((3, 5)))
    assert found.value == 1
    assert np.isnan(found.p)
    assert "nothing varies" in found.notes[0]


SCATTER = {"case": 1.0, "arm_case": 0.2, "run": 0.0, "rest": 0.3}  # the runs' own is added below


def errors(draw, runs: int, repeats: int = 700, run: tuple[float, float] = (0.3, 0.3)) -> tuple[float, float]:
    """Share of studies without a true difference whose interval leaves 0 out: over trainings and cases, and over cases alone."""
    rng = np.random.default_rng(1)
    wrong, t_of_cases = np.zeros(2), stats.t.ppf(0.975, 19)
    for _ in range(repeats):
        baseline, method = draw(rng, 2, runs, 20, **SCATTER) + np.reshape(run, (2, 1, 1)) * rng.normal(0, 1, (2, runs, 1))
        found = difference(baseline, method)
        over_cases = (method - baseline).mean(axis=0)
        wrong += [not found.low <= 0 <= found.high, abs(over_cases.mean()) > t_of_cases * over_cases.std(ddof=1) / 20**0.5]
    return tuple(wrong / repeats)


@pytest.mark.parametrize("runs", [2, 3, 5])
def test_errs_as_rarely_as_it_says_when_trainings_scatter(draw, runs):
    both, cases_alone = errors(draw, runs)
    assert 0.02 < both < 0.08
    assert cases_alone > 0.35  # the trained models differ, the methods do not


def test_errs_little_more_often_when_one_method_scatters_three_times_as_much(draw):
    assert 0.02 < errors(draw, 3, run=(0.1, 0.3))[0] < 0.08


def test_folds_that_share_their_cases_are_paired_and_then_narrower(draw):
    rng = np.random.default_rng(2)
    wrong, widths = 0, []
    for _ in range(800):
        baseline, method = draw(rng, 2, 5, 20, case=1, arm_case=0.1, run=0.1, rest=0.2) + rng.normal(0, 0.5, (5, 1))
        paired, apart = difference(baseline, method, paired=True), difference(baseline, method)
        wrong += not paired.low <= 0 <= paired.high
        widths.append((paired.high - paired.low) / (apart.high - apart.low))
    assert 0.03 < wrong / 800 < 0.075
    assert np.median(widths) < 0.5
