import numpy as np
import pytest

from nnunet_da.report.pairs import bias_and_limits, endpoint_plots, scatter_plots, volume_plots
from nnunet_da.report.study import load_study


def test_bland_altman_worked_by_hand():
    assert bias_and_limits(np.array([1.0, 2.0, 3.0])) == pytest.approx((2.0, 2.0 - 1.96, 2.0 + 1.96))
    bias, low, high = bias_and_limits(np.array([1.0, 2.0]))
    assert bias == 1.5
    assert np.isnan([low, high]).all()


def test_one_scatter_plot_per_metric_counts_who_wins(study):
    pictures = scatter_plots(load_study(study), "1")["PF-DAformer against Source only"]
    assert [picture.name for picture in pictures] == [
        f"pairs-{metric}-1-Source-only-PF-DAformer" for metric in ("dice", "hd95_mm", "asd_mm")
    ]
    assert "Centre A: PF-DAformer better in 3 of 3 cases, worse in 0" in pictures[0].alternative
    assert "Centre <B> & co: PF-DAformer better in 2 of 2 cases" in pictures[1].alternative  # one distance is undefined


def test_volumes_of_every_arm_and_domain_in_cm3(study):
    pictures = volume_plots(load_study(study), "1")
    assert len(pictures) == 4
    assert pictures[0].caption == "Bias 0, limits of agreement 0 to 0 cm³, 3 cases."
    assert "Source only, Centre <B> & co" in pictures[1].alternative
    # the empty prediction misses 5 x 10 x 12 voxels of 1.6 mm³, a third of that on average
    assert pictures[1].caption.startswith("Bias −0.32, limits")


def test_endpoints_only_where_radiomics_ran(study, measured):
    assert endpoint_plots(load_study(study), "1") == []
    measured(study / "adapted")
    pictures = endpoint_plots(load_study(study), "1")
    assert len(pictures) == 2
    assert "mean density of label 1, PF-DAformer, Centre A" in pictures[0].alternative
    assert pictures[0].caption == "Bias 6, limits of agreement 4.04 to 7.96 HU, 3 cases."  # 5, 6, 7
