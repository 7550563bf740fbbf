import numpy as np
import pytest

from nnunet_da.study.statistics import mixed_model
from nnunet_da.study.statistics.crossed import difference
from nnunet_da.study.statistics.mixed_model import fit_mixed_model


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("unit", [1.0, 0.001])
def test_the_mean_squares_give_what_reml_gives(draw, paired, unit):
    """An independent implementation: statsmodels iterates, `difference` does not."""
    rng = np.random.default_rng(4)
    baseline, method = unit * (draw(rng, 2, 4, 15, case=1, arm_case=0.4, run=0.5, rest=0.2) + paired * rng.normal(0, 0.8, (4, 1)))
    expected = difference(baseline, method, paired=paired)
    found = fit_mixed_model(baseline, method, expected.df, paired=paired)
    assert found.note == ""
    assert found.value == pytest.approx(expected.value)
    assert found.se == pytest.approx(expected.se, rel=2e-3)
    assert found.p == pytest.approx(expected.p, rel=0.02)
    assert found.sd_rest == pytest.approx(0.2 * unit, rel=0.2)


def test_a_component_of_zero_is_said(draw):
    baseline, method = draw(np.random.default_rng(0), 2, 3, 10, case=1, arm_case=0, run=0, rest=0.3)
    found = fit_mixed_model(baseline, method, 4.0)
    assert "singular" in found.note or "converge" in found.note
    assert np.isfinite(found.value)


def test_what_cannot_be_fitted_is_said(monkeypatch):
    def fail(values, paired):
        raise np.linalg.LinAlgError("Singular matrix")

    monkeypatch.setattr(mixed_model, "_fit", fail)
    assert "could not be fitted (Singular matrix)" in fit_mixed_model(np.zeros((3, 4)), np.ones((3, 4)), 4.0).note


@pytest.mark.parametrize(("shape", "words"), [((1, 9), "it takes two runs"), ((5, 400), "take too long")])
def test_what_is_not_fitted_is_said(shape, words):
    found = fit_mixed_model(np.zeros(shape), np.ones(shape), 4.0)
    assert words in found.note
    assert np.isnan(found.se)
