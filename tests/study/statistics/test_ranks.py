import numpy as np
import pytest
from scipy import stats

from nnunet_da.study.statistics.ranks import superiority

NAN = np.nan


@pytest.mark.parametrize(
    ("baseline", "method", "metric", "share"),
    [
        ([[1.0, 5.0]], [[2.0, 4.0]], "dice", 0.5),
        ([[1.0, 1.0]], [[2.0, 2.0]], "dice", 1.0),
        ([[1.0, 1.0]], [[2.0, 2.0]], "asd_mm", 0.0),
        ([[NAN, 1.0]], [[9.0, 1.0]], "asd_mm", 0.75),  # better than a failure, and a tie
        ([[NAN]], [[NAN]], "asd_mm", 0.5),
        ([[1.0], [3.0]], [[2.0], [NAN]], "asd_mm", 0.25),  # 2 beats 3, loses to 1; the failure loses twice
    ],
)
def test_share_worked_by_hand(baseline, method, metric, share):
    assert superiority(np.array(baseline), np.array(method), metric).share == pytest.approx(share)


def test_share_is_the_mean_of_mann_whitney_over_cases():
    rng = np.random.default_rng(0)
    baseline, method = rng.normal(0, 1, (4, 9)), rng.normal(0.5, 1, (4, 9))
    expected = np.mean([stats.mannwhitneyu(method[:, case], baseline[:, case]).statistic / 16 for case in range(9)])
    assert superiority(baseline, method, "dice").share == pytest.approx(expected)


def test_more_failures_make_it_worse():
    rng = np.random.default_rng(0)
    baseline, method = rng.normal(2, 0.3, (3, 12)), rng.normal(1, 0.3, (3, 12))
    failing = np.where(np.arange(12) < 8, NAN, method)
    assert superiority(baseline, method, "asd_mm").share > 0.9
    assert superiority(baseline, failing, "asd_mm").share < 0.4


def test_where_one_always_wins_nothing_is_left_to_test():
    found = superiority(np.zeros((3, 5)), np.arange(1.0, 16).reshape(3, 5), "dice")
    assert found.share == 1
    assert np.isnan([found.estimate.p, *found.interval]).all()


def test_errs_as_rarely_as_it_says(draw):
    rng = np.random.default_rng(3)
    p = [superiority(*draw(rng, 2, 3, 20, case=1, arm_case=0.2, run=0.2, rest=0.3), "dice").estimate.p for _ in range(500)]
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.075
