from dataclasses import replace

import numpy as np
import pytest

from nnunet_da.evaluation.seeds import two_level_interval
from nnunet_da.study.statistics.crossed import Estimate
from nnunet_da.study.statistics.primary import answer_primary, judge
from nnunet_da.study.statistics.values import read_values


@pytest.mark.parametrize(
    ("metric", "low", "high", "kind"),
    [
        ("asd_mm", -0.5, -0.1, "helped"),
        ("asd_mm", 0.1, 0.5, "harmed"),
        ("asd_mm", -0.05, 0.3, "did not help"),
        ("asd_mm", -0.3, 0.1, "cannot tell"),
        ("dice", 0.1, 0.5, "helped"),
        ("dice", -0.5, -0.1, "harmed"),
        ("dice", -0.3, 0.05, "did not help"),
        ("dice", -0.1, 0.3, "cannot tell"),
    ],
)
def test_kinds(metric, low, high, kind):
    found, reason = judge(Estimate((low + high) / 2, 0.1, 4, low, high), 0.5, 0, metric, 0.1)
    assert found == kind
    assert bool(reason) == (kind == "cannot tell")


@pytest.mark.parametrize(
    ("low", "high", "share", "kind"), [(-0.5, -0.1, 0.4, "cannot tell"), (-0.5, -0.1, 0.8, "helped"), (0.1, 0.5, 0.6, "cannot tell")]
)
def test_ranks_overrule_a_difference_that_leaves_failures_out(low, high, share, kind):
    assert judge(Estimate(low, 0.1, 4, low, high), share, 1, "asd_mm", 0.1)[0] == kind
    assert judge(Estimate(low, 0.1, 4, low, high), share, 0, "asd_mm", 0.1)[0] in ("helped", "harmed")


def test_without_an_interval_the_reason_is_the_estimates():
    assert judge(Estimate(-1.0, notes=("one trained model per arm",)), 0.9, 0, "asd_mm", 0.1) == (
        "cannot tell",
        "one trained model per arm",
    )


def test_finds_a_gain_that_is_there(make_values, declaration):
    found = answer_primary(read_values(make_values(), declaration), declaration, "1", resamples=500, seed=3)
    assert found.kind == "helped"
    assert found.estimate.value == pytest.approx(-0.4, abs=0.1)
    assert found.ranks.share > 0.95
    assert found.mixed_model.value == pytest.approx(found.estimate.value)
    assert found.failures.failed_method == 0


def test_seeds_with_much_in_common_are_seen_beside_the_estimate(make_values, declaration):
    values = make_values()
    common = values["seed"].astype(int).map({0: 0.0, 1: 1.0, 2: 2.0})  # in every arm
    values.loc[values["metric"] == "asd_mm", "value"] += common
    found = answer_primary(read_values(values, declaration), declaration, "1", resamples=200)
    assert found.by_seed.value == pytest.approx(found.estimate.value)
    assert found.estimate.low < 0 < found.estimate.high  # it takes the scatter of the seeds for that of each arm
    assert found.by_seed.high < 0
    assert found.kind == "cannot tell"


def test_folds_are_paired_anyway(make_values, declaration):
    values = make_values().rename(columns={"seed": "fold", "fold": "seed"})
    assert answer_primary(read_values(values, declaration), declaration, "1", resamples=200).by_seed is None


def test_the_bootstrap_is_that_of_compare(make_values, declaration):
    values = read_values(make_values(), declaration)
    found = answer_primary(values, declaration, "1", resamples=500, seed=3)
    baseline, method = values.cube(("zero_weight", "grl"), "B", "1", "asd_mm").values
    assert (found.boot_low, found.boot_high) == two_level_interval(baseline, method, resamples=500, seed=3)


def test_failures_leave_the_difference_and_stay_in_the_ranks(make_values, declaration):
    found = answer_primary(read_values(make_values(failed=("grl",)), declaration), declaration, "1", resamples=200)
    assert (found.n_left_out, found.estimate.n_cases) == (1, 7)
    assert found.failures.failed_method == 3
    assert found.ranks.share < 1 - 0.9 / 8


def test_an_overlap_as_endpoint_still_counts_failures_by_a_distance(make_values, declaration):
    study = replace(declaration, endpoint="dice")
    found = answer_primary(read_values(make_values(failed=("grl",)), study), study, "1", resamples=200)
    assert (found.metric, found.unit, found.n_left_out) == ("dice", "fraction", 0)
    assert found.failures.failed_method == 3


def test_nobody_has_a_value(make_values, declaration):
    values = make_values()
    values.loc[values["metric"] == "asd_mm", "value"] = np.nan
    found = answer_primary(read_values(values, declaration), declaration, "1", resamples=200)
    assert found.kind == "cannot tell"
    assert "no case" in found.reason
    assert np.isnan(found.mean_arm)
