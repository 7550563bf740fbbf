import math
import warnings

import numpy as np
import pytest
from scipy import stats

from nnunet_da.evaluation.statistics import bootstrap_interval, direction, holm, p_of_t, paired_tests, signed_rank, wins_ties_losses

FIRST, SECOND = np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 4.0, 4.0, 8.0])  # differences 1, 2, 1, 4


def test_values_worked_by_hand():
    found = paired_tests(FIRST, SECOND)
    assert (found.n, found.n_undefined, found.df) == (4, 0, 3)
    assert (found.mean_first, found.mean_second, found.difference) == (2.5, 4.5, 2.0)
    assert found.sd_difference == pytest.approx(math.sqrt(2))  # (1 + 0 + 1 + 4) / 3
    assert found.t == pytest.approx(2 * math.sqrt(2))  # 2 / (sqrt 2 / 2)
    assert found.cohen_dz == pytest.approx(math.sqrt(2))
    assert found.p_t == pytest.approx(0.06628, abs=1e-5)
    assert (found.wilcoxon, found.p_wilcoxon) == (0, 0.125)  # all four ranks on one side: 2 / 2^4
    assert found.notes == ()


def test_second_minus_first_turns_round_with_the_order():
    found, turned = paired_tests(FIRST, SECOND), paired_tests(SECOND, FIRST)
    assert turned.difference == -found.difference < 0
    assert turned.t == pytest.approx(-found.t)
    assert turned.p_t == pytest.approx(found.p_t)
    assert found.ci_low > 0 > turned.ci_high


@pytest.mark.parametrize(
    ("metric", "no_da", "da", "t", "p", "digits"),
    [
        ("dice", 99.506, 99.519, 3.29, 0.00118, 5),
        ("precision", 99.568, 99.623, 7.00, 3.6e-11, 12),
        ("recall", 99.445, 99.417, -6.26, 2.2e-9, 10),
        ("hd95_mm", 0.859, 0.783, -3.10, 0.00221, 5),
    ],
)
def test_p_values_of_the_papers_t_statistics(metric, no_da, da, t, p, digits):
    """PF-DAformer (arXiv:2510.26903), paired t tests on 205 cases: printed t against p, by formula and through made-up cases."""
    n = 205
    assert round(p_of_t(t, n - 1), digits) == pytest.approx(p)
    scatter = np.random.default_rng(0).normal(size=n)
    scatter = (scatter - scatter.mean()) / scatter.std(ddof=1)
    differences = (da - no_da) * (1 + scatter * math.sqrt(n) / abs(t))  # of the printed mean, and spread so that t is the printed one
    first = np.full(n, no_da)
    found = paired_tests(first, first + differences, resamples=200)
    assert found.difference == pytest.approx(da - no_da)
    assert found.t == pytest.approx(t)
    assert found.p_t == pytest.approx(p_of_t(t, n - 1), rel=1e-6)
    assert found.cohen_dz == pytest.approx(t / math.sqrt(n))
    assert found.difference * direction(metric) < 0 if metric == "recall" else found.difference * direction(metric) > 0


def test_undefined_pairs_are_left_out_and_counted():
    nan = math.nan
    found = paired_tests([1, 2, 3, 4, 9, 9, nan], [2, 4, 4, 8, nan, nan, nan])
    clean = paired_tests(FIRST, SECOND)
    assert (found.n, found.n_undefined, found.n_undefined_first, found.n_undefined_second) == (4, 3, 1, 3)
    assert (found.t, found.p_wilcoxon, found.ci_low, found.mean_first) == (clean.t, clean.p_wilcoxon, clean.ci_low, clean.mean_first)
    assert found.notes == ("undefined in 0 cases of first only and 2 of second only, left out (exact McNemar p 0.5)",)


def test_identical_methods_have_no_p_value_and_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = paired_tests(FIRST, FIRST)
        nearly = paired_tests(FIRST, FIRST + 1e-13)
    for result in (found, nearly):
        assert result.difference == result.sd_difference == 0
        undefined = (result.t, result.p_t, result.wilcoxon, result.p_wilcoxon, result.cohen_dz, result.ci_low, result.ci_high)
        assert all(map(math.isnan, undefined))
        assert result.notes == ("identical in every case: no test, p not defined",)


def test_a_constant_difference_has_no_spread_but_a_rank_test():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = paired_tests(FIRST * 0.1, FIRST * 0.1 + 0.1)
    assert found.difference == pytest.approx(0.1)
    assert math.isnan(found.p_t)
    assert math.isnan(found.cohen_dz)
    assert found.p_wilcoxon == 0.125
    assert "no spread" in found.notes[0]


@pytest.mark.parametrize(
    ("first", "second", "n", "said"), [([1.0], [2.0], 1, "one pair"), ([1.0, 2.0], [math.nan] * 2, 0, "no pair"), ([], [], 0, "no pair")]
)
def test_too_few_cases_say_what_cannot_be_computed(first, second, n, said):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = paired_tests(first, second)
    assert found.n == n
    assert said in found.notes[0]
    assert all(map(math.isnan, (found.p_t, found.p_wilcoxon, found.sd_difference, found.ci_low, found.cohen_dz)))
    assert found.difference == 1 if n else math.isnan(found.difference)


def test_refuses_unequal_lengths():
    with pytest.raises(ValueError, match="equally many"):
        paired_tests([1.0, 2.0], [1.0])


def test_signed_rank_drops_zeros_and_is_exact():
    assert signed_rank([0, 0, 0.5, 1.0, 2.0]) == (0, 0.25)
    assert signed_rank([0.1 + 0.2, -0.3, 1.0])[0] == 1.5  # 0.30000000000000004 and 0.3 share ranks 1 and 2
    rng = np.random.default_rng(1)
    sample = rng.normal(0.4, 1, 12)
    signs = np.array(np.meshgrid(*[[-1, 1]] * 12)).reshape(12, -1)  # every assignment of signs
    ranks = stats.rankdata(np.abs(sample))
    sums = ((signs > 0) * ranks[:, None]).sum(axis=0)
    observed = ranks[sample > 0].sum()
    expected = min(1, 2 * min((sums >= observed).mean(), (sums <= observed).mean()))
    assert signed_rank(sample)[1] == pytest.approx(expected)


def test_holm_worked_by_hand_without_what_is_undefined():
    # sorted .01, .03, .04 times 3, 2, 1, never falling: .03, .06, .06
    assert holm([0.04, math.nan, 0.01, 0.03]) == pytest.approx([0.06, math.nan, 0.03, 0.06], nan_ok=True)
    assert np.isnan(holm([math.nan, math.nan])).all()


def test_bootstrap_is_seeded_and_covers_the_mean_about_95_times_in_100():
    rng = np.random.default_rng(3)
    sample = rng.exponential(1, 30)
    assert bootstrap_interval(sample, resamples=500, seed=4) == bootstrap_interval(sample, resamples=500, seed=4)
    assert bootstrap_interval(sample, resamples=500, seed=4) != bootstrap_interval(sample, resamples=500, seed=5)
    intervals = [bootstrap_interval(rng.exponential(1, 40), resamples=500) for _ in range(200)]
    covered = sum(low <= 1 <= high for low, high in intervals)
    assert 175 <= covered <= 199


def test_bootstrap_leans_to_the_long_tail_as_bca_does():
    sample = np.random.default_rng(3).exponential(1, 25) ** 2
    n, mean = len(sample), sample.mean()
    means = sample[np.random.default_rng(8).integers(n, size=(100_000, n))].mean(axis=1)
    left_out = (sample.sum() - sample) / (n - 1)
    leaning = left_out.mean() - left_out
    bias, acceleration = stats.norm.ppf((means < mean).mean()), (leaning**3).sum() / (6 * (leaning**2).sum() ** 1.5)
    shifted = bias + stats.norm.ppf([0.025, 0.975])
    expected = np.quantile(means, stats.norm.cdf(bias + shifted / (1 - acceleration * shifted)))
    assert bootstrap_interval(sample) == pytest.approx(expected, rel=0.04)
    assert np.quantile(means, 0.975) < 0.9 * expected[1]  # plain percentiles end well below


@pytest.mark.parametrize(
    ("metric", "expected"), [("dice", (2, 1, 1)), ("nsd_1mm", (2, 1, 1)), ("hd95_mm", (1, 1, 2)), ("asd_mm", (1, 1, 2))]
)
def test_wins_follow_the_direction_of_the_metric(metric, expected):
    assert wins_ties_losses([1, 1, 1, 1], [2, 1 + 1e-12, 0.5, 3], metric) == expected


@pytest.mark.parametrize("metric", ["volume_mm3", "volume_error_mm3", "something_new"])
def test_metrics_without_a_better_end_have_no_winner(metric):
    assert wins_ties_losses([1, 1], [2, 3], metric) is None
