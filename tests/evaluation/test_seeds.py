import math

import numpy as np
import pytest

from nnunet_da.evaluation.seeds import average_seeds, two_level_interval
from nnunet_da.evaluation.statistics import bootstrap_interval


def test_a_failure_of_one_seed_is_not_averaged_away():
    assert average_seeds([[1.0, 2.0, 3.0], [3.0, math.nan, 5.0]]) == pytest.approx([2.0, math.nan, 4.0], nan_ok=True)


def test_seeds_that_differ_widen_the_interval():
    rng = np.random.default_rng(0)
    cases = rng.normal(10, 1, 60)
    first = cases + rng.normal(0, 0.1, (4, 60))
    alike = cases + 0.2 + rng.normal(0, 0.1, (4, 60))
    unlike = alike + np.array([[-0.6], [-0.2], [0.2], [0.6]])  # the same mean over seeds
    by_cases = bootstrap_interval(average_seeds(alike) - average_seeds(first))
    narrow, wide = two_level_interval(first, alike), two_level_interval(first, unlike)
    assert narrow[0] > 0.1
    assert width(by_cases) < 1.5 * width(narrow)
    assert wide[0] < 0 < wide[1]  # the seeds leave the sign open
    assert width(wide) > 5 * width(narrow)


def test_equals_the_percentiles_of_a_plain_loop():
    rng = np.random.default_rng(7)
    first, second = rng.normal(0, 1, (3, 15)), rng.normal(0.5, 1, (2, 15))
    means = []
    for _ in range(20000):
        cases = rng.integers(15, size=15)
        means.append(second[rng.integers(2, size=2)][:, cases].mean() - first[rng.integers(3, size=3)][:, cases].mean())
    assert two_level_interval(first, second, resamples=20000) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.02)


def test_is_seeded_and_ignores_undefined_cases():
    rng = np.random.default_rng(2)
    first, second = rng.normal(size=(2, 20)), rng.normal(size=(3, 20))
    expected = two_level_interval(first, second, resamples=500, seed=1)
    with_failures = [np.column_stack([values, np.full(len(values), 9.0)]) for values in (first, second)]
    with_failures[0][1, -1] = math.nan
    assert two_level_interval(*with_failures, resamples=500, seed=1) == expected
    assert two_level_interval(first, second, resamples=500, seed=2) != expected


@pytest.mark.parametrize("shapes", [((1, 9), (3, 9)), ((3, 9), (1, 9)), ((2, 1), (2, 1))])
def test_one_seed_or_one_case_gives_no_interval(shapes):
    assert all(map(math.isnan, two_level_interval(np.zeros(shapes[0]), np.ones(shapes[1]))))


def width(interval):
    return interval[1] - interval[0]
