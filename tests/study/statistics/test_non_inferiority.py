import numpy as np
import pytest
from scipy import stats

from nnunet_da.study.statistics.crossed import Estimate
from nnunet_da.study.statistics.non_inferiority import non_inferiority


def estimate(value: float, half: float, df: float = 10.0) -> Estimate:
    return Estimate(value, half / stats.t.ppf(0.975, df), df, value - half, value + half)


@pytest.mark.parametrize(
    ("metric", "value", "half", "margin", "verdict"),
    [
        ("dice", -0.0005, 0.0004, 0.001, "non-inferior"),
        ("dice", -0.0005, 0.0006, 0.001, "inconclusive"),
        ("dice", -0.0030, 0.0010, 0.001, "inferior"),
        ("dice", 0.0100, 0.0010, 0.001, "non-inferior"),
        ("hd95_mm", 0.1, 0.05, 0.2, "non-inferior"),
        ("hd95_mm", 0.1, 0.15, 0.2, "inconclusive"),
        ("hd95_mm", 0.5, 0.1, 0.2, "inferior"),
        ("hd95_mm", -0.5, 0.1, 0.2, "non-inferior"),
    ],
)
def test_verdicts(metric, value, half, margin, verdict):
    found = non_inferiority(estimate(value, half), metric, margin)
    assert found.verdict == verdict
    assert found.loss == pytest.approx(-value if metric == "dice" else value)
    assert (found.p < 0.025) == (verdict == "non-inferior")  # the same bound, as a test


def test_without_an_interval_it_is_not_estimable():
    found = non_inferiority(Estimate(-0.1), "dice", 0.001)
    assert found.verdict == "not estimable"
    assert np.isnan(found.p)


def test_a_loss_of_the_margin_is_called_non_inferior_in_one_of_forty():
    p = stats.t.sf(0, 10)
    assert non_inferiority(estimate(-0.001, 0.0005), "dice", 0.001).p == pytest.approx(p)
