"""Agreement across cases, against values worked by hand, published ones and other implementations."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from nnunet_da.radiomics.agreement import agreement, determination, icc_a1

SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)


def noisy(n=30, seed=0):
    rng = np.random.default_rng(seed)
    reference = rng.normal(100, 15, n)
    return reference, reference + rng.normal(2, 5, n)


def test_icc_of_shrout_and_fleiss():
    """Their table 4 gives ICC(2,1) = .29; McGraw & Wong and every package give the interval .02 to .76."""
    icc, low, high = icc_a1(SHROUT_FLEISS)
    assert_allclose((icc, low, high), (0.2898, 0.0188, 0.7611), atol=5e-5)


def test_icc_worked_by_hand():
    """Two raters, the second always 1 higher: rows 0, 2, 4 -> MS_R = 8, MS_C = 1.5, MS_E = 0; 8 / (8 + 2 * 1.5 / 3) = 8 / 9."""
    assert icc_a1(np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]))[0] == pytest.approx(8 / 9)


def test_icc_below_zero_has_an_interval():
    icc, low, high = icc_a1(np.array([[0.0, 80.0], [3.0, 60.0], [1.0, 90.0], [2.0, 70.0]]))
    assert low <= icc <= high < 0.5
    assert icc < 0


def test_the_interval_does_not_overflow_however_few_and_bad_the_cases():
    rng = np.random.default_rng(0)
    for _ in range(500):
        ratings = rng.normal(0, 1, (rng.integers(2, 6), 2))
        ratings[:, 1] += 10.0 ** rng.integers(-3, 4)
        _, low, high = icc_a1(ratings)
        assert np.isnan(low) or low <= high <= 1


def test_icc_and_interval_equal_pingouin():
    pingouin = pytest.importorskip("pingouin", reason="pingouin (GPL) is an oracle only: pip install pingouin")
    import pandas as pd

    for seed in range(5):
        reference, other = noisy(12, seed)
        long = pd.DataFrame(
            {"case": np.tile(range(12), 2), "rater": np.repeat(["r", "p"], 12), "value": np.concatenate([reference, other])}
        )
        table = pingouin.intraclass_corr(long, targets="case", raters="rater", ratings="value")
        row = table[table["Type"].isin(["ICC2", "ICC(A,1)"])].iloc[0]
        interval = next(row[name] for name in ("CI95%", "CI95") if name in row)
        found = icc_a1(np.column_stack([reference, other]))
        assert found[0] == pytest.approx(row["ICC"], abs=1e-9)
        assert_allclose(found[1:], interval, atol=0.0051)  # pingouin rounds to two digits


def test_ccc_worked_by_hand():
    """x = 1 2 3, y = 2 3 4: covariance 2/3, variances 2/3, means 1 apart: (4/3) / (4/3 + 1) = 4/7; r is 1 all the same."""
    found = agreement(np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.0, 4.0]))
    assert found.ccc == pytest.approx(4 / 7)
    assert found.pearson_r == pytest.approx(1)
    assert (found.bias, found.bias_percent) == (1, 50)
    assert (found.loa_low, found.loa_high) == (1, 1)
    assert found.note.startswith("fewer than 4")


def test_bland_altman_worked_by_hand():
    """Differences 1, -1, 3: mean 1, standard deviation 2, limits 1 -+ 1.96 * 2."""
    found = agreement(np.array([10.0, 20.0, 30.0]), np.array([11.0, 19.0, 33.0]))
    assert found.bias == pytest.approx(1)
    assert_allclose((found.loa_low, found.loa_high), (-2.92, 4.92), atol=1e-3)
    assert found.bias_percent == pytest.approx(5)


def test_pearson_and_interval_equal_scipy():
    reference, other = noisy()
    found, expected = agreement(reference, other), stats.pearsonr(reference, other)
    assert found.pearson_r == pytest.approx(expected.statistic)
    assert_allclose((found.pearson_low, found.pearson_high), expected.confidence_interval(0.95))


def test_a_column_agrees_with_itself():
    reference, _ = noisy()
    found = agreement(reference, reference)
    assert (found.icc_a1, found.icc_low, found.icc_high, found.bias) == (1, 1, 1, 0)
    assert found.ccc == pytest.approx(1)
    assert found.pearson_r == pytest.approx(1)
    assert determination(reference, reference).r2_identity == 1


def test_the_sign_is_other_minus_reference():
    reference, other = noisy()
    assert agreement(reference, other).bias == pytest.approx(-agreement(other, reference).bias)
    assert agreement(reference, reference - 3).bias == pytest.approx(-3)


def test_correlation_does_not_see_a_tenth_lost_and_the_others_do():
    reference, _ = noisy()
    found = agreement(reference, 0.9 * reference)
    assert found.pearson_r == pytest.approx(1)
    assert found.bias_percent == pytest.approx(-10)
    assert found.ccc < 0.85
    assert found.icc_a1 < 0.85
    r2 = determination(reference, 0.9 * reference)
    assert r2.r2_correlation == pytest.approx(1)
    assert r2.r2_identity < 0.6


@pytest.mark.parametrize(
    ("reference", "other", "icc"),
    [
        ([0.0] * 6, [1.0] * 6, 0),  # each constant, at another value
        ([1.0, 2.0], [2.0, 1.0], np.nan),  # variances that cancel
        ([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0 + 2e-8], 1),  # so close that 1 - ICC is rounding
    ],
)
def test_an_interval_that_cannot_be_said_is_undefined_and_no_error(reference, other, icc):
    found = agreement(np.array(reference), np.array(other))
    assert found.icc_a1 == pytest.approx(icc, nan_ok=True)
    assert found.icc_low == found.icc_high == 1 if icc == 1 else np.isnan([found.icc_low, found.icc_high]).all()


def test_undefined_values_are_left_out_and_counted():
    reference, other = noisy(6)
    whole = agreement(reference[:4], other[:4])
    reference[4], other[5] = np.nan, np.nan
    found = agreement(reference, other)
    assert (found.n, found.n_undefined) == (4, 2)
    assert found.ccc == whole.ccc


@pytest.mark.parametrize(
    ("reference", "other", "constant", "note"),
    [
        ([5.0] * 4, [5.0] * 4, True, "constant"),
        ([5.0] * 4, [1.0, 2.0, 3.0, 4.0], True, "constant"),
        ([1.0], [2.0], False, "one case"),
        ([np.nan], [2.0], False, "undefined in every case"),
        ([], [], False, "undefined in every case"),
    ],
)
def test_what_cannot_be_said_is_undefined(reference, other, constant, note):
    found = agreement(np.array(reference), np.array(other))
    assert found.constant == constant
    assert np.isnan(found.pearson_r)
    assert found.note.startswith(note)
    assert np.isnan(determination(np.array(reference), np.array(other)).r2_correlation)


def test_refuses_columns_of_different_length():
    with pytest.raises(ValueError, match="one length"):
        agreement(np.zeros(3), np.zeros(4))
    with pytest.raises(ValueError, match="two raters"):
        icc_a1(np.zeros((3, 1)))
