import numpy as np
import pytest

from nnunet_da.study.statistics.gap import fieller, gap_closed


def test_fieller_worked_by_hand():
    """a = 4 - 4 * 0.04 = 3.84, b = 6, c = 9 - 4 * 0.25 = 8; (6 -+ sqrt(36 - 3.84 * 8)) / 3.84."""
    low, high = fieller(3.0, 2.0, 0.25, 0.04, 0.0, 2.0)
    assert low == pytest.approx((6 - np.sqrt(5.28)) / 3.84)
    assert high == pytest.approx((6 + np.sqrt(5.28)) / 3.84)


def test_at_its_ends_the_ratio_is_t_standard_errors_away():
    numbers = {"numerator": -0.4, "denominator": -1.0, "variance_numerator": 0.02, "variance_denominator": 0.03, "covariance": 0.015}
    for ratio in fieller(**numbers, t=2.5):
        variance = 0.02 - 2 * ratio * 0.015 + ratio**2 * 0.03
        assert abs(-0.4 + ratio) / np.sqrt(variance) == pytest.approx(2.5)


def test_an_uncertain_denominator_has_no_interval():
    assert np.isnan(fieller(1.0, 0.5, 0.01, 0.09, 0.0, 2.0)).all()


def arms(draw, rng, gains=(0.0, -0.5, -1.0), **scatter):
    scatter = {"case": 0.5, "arm_case": 0.1, "run": 0.1, "rest": 0.1} | scatter
    return draw(rng, 3, 3, 15, **scatter) + np.array(gains)[:, None, None]


@pytest.mark.parametrize(("metric", "sign"), [("asd_mm", 1), ("dice", -1)])
def test_half_way_is_half_the_gap_in_either_direction(draw, metric, sign):
    found = gap_closed(*(sign * arms(draw, np.random.default_rng(0), run=0.01, arm_case=0.01, rest=0.01)), metric)
    assert found.ratio == pytest.approx(0.5, abs=0.05)
    assert found.low < found.ratio < found.high


def test_the_method_that_is_source_only_closes_nothing(draw):
    source_only, _, oracle = arms(draw, np.random.default_rng(0))
    found = gap_closed(source_only, source_only.copy(), oracle, "asd_mm")
    assert found.ratio == 0
    assert found.low <= 0 <= found.high


@pytest.mark.parametrize(
    ("gains", "metric", "words"),
    [
        ((0, -0.1, 0.0), "asd_mm", "do not differ"),
        ((0, 0.5, -1), "dice", "the oracle is worse"),
        ((0, 0.5, 1), "asd_mm", "oracle is worse"),
    ],
)
def test_without_a_gap_there_is_no_share_of_it(draw, gains, metric, words):
    found = gap_closed(*arms(draw, np.random.default_rng(1), gains), metric)
    assert np.isnan([found.ratio, found.low]).all()
    assert words in found.note


def test_one_training_per_arm_is_not_enough(draw):
    found = gap_closed(*arms(draw, np.random.default_rng(1))[:, :1], "asd_mm")
    assert "one trained model per arm" in found.note


def test_covers_the_true_ratio_as_often_as_it_says(draw):
    rng = np.random.default_rng(5)
    found = [gap_closed(*arms(draw, rng, (0, -0.6, -1.0)), "asd_mm") for _ in range(300)]
    estimable = [gap for gap in found if np.isfinite(gap.low)]
    assert len(estimable) > 290
    assert 0.92 < np.mean([gap.low <= 0.6 <= gap.high for gap in estimable]) < 0.985
