import pytest

from nnunet_da.report.feature_plots import ccc_position, feature_plots
from nnunet_da.report.study import load_study


def test_equal_steps_towards_one_and_ends_that_hold():
    assert ccc_position([0.0, 0.9, 0.99, 0.999]) == pytest.approx([0.0, 1.0, 2.0, 3.0])
    assert ccc_position([1.0, -1.0, -5.0]) == pytest.approx([4.0, -0.30103, -0.30103], abs=1e-5)


def test_one_plot_per_domain_says_what_the_nulls_give(study, measured):
    measured(study / "adapted")
    loaded = load_study(study)
    assert feature_plots(loaded, loaded.arms[0]) == []
    pictures = feature_plots(loaded, loaded.arms[1])
    assert len(pictures) == 2
    assert "CCC of 3 features" in pictures[0].alternative
    assert "Prediction: median 0.990. eroded 0.5 mm: median 0.900; dilated 0.5 mm: median 0.800." in pictures[0].alternative


def test_nothing_defined_is_no_plot(study, measured):
    measured(study / "adapted")
    loaded = load_study(study)
    loaded.arms[1].radiomics.agreement["ccc"] = float("nan")
    assert feature_plots(loaded, loaded.arms[1]) == []
