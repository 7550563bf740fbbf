from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from nnunet_da.evaluation.statistics import holm
from nnunet_da.study.statistics.analysis import analyse
from nnunet_da.study.statistics.contrasts import interval_over_cases
from nnunet_da.study.statistics.sentences import claims_sentence

GOOD = {"source_only": 2.0, "zero_weight": 1.9, "grl": 1.0, "mmd": 1.88, "oracle": 0.8}


def row(table: pd.DataFrame, **where) -> pd.Series:
    found = table[np.logical_and.reduce([table[column] == value for column, value in where.items()])]
    assert len(found) == 1
    return found.iloc[0]


def test_every_arm_is_held_against_the_baseline_with_its_role(analysed):
    table = analysed(GOOD).contrasts
    assert len(table) == 4 * 2 * 3  # arms, domains, metrics
    assert row(table, arm="grl", domain="B", metric="asd_mm")["role"] == "primary"
    assert row(table, arm="grl", domain="B", metric="dice")["role"] == "secondary"
    assert row(table, arm="mmd", domain="A", metric="dice")["role"] == "source"
    assert row(table, arm="oracle", domain="B", metric="asd_mm")["role"] == "reference"


def test_signs_and_who_is_better(analysed):
    table = analysed(GOOD).contrasts
    found = row(table, arm="grl", domain="B", metric="asd_mm")
    assert found["difference"] == pytest.approx(found["mean_arm"] - found["mean_baseline"])
    assert found["difference"] < 0
    assert found["better"] == "grl"
    assert row(table, arm="grl", domain="B", metric="dice")["better"] == "grl"
    assert row(table, arm="grl", domain="A", metric="dice")["better"] == ""


def test_holm_runs_over_the_rest_with_margins_of_other_methods(analysed):
    answer = analysed(GOOD)
    second = answer.contrasts[answer.contrasts["role"] == "secondary"]
    third = answer.non_inferiority[answer.non_inferiority["role"] == "secondary"]
    assert (len(second), len(third)) == (5, 2)
    expected = holm([*second["p"], *(2 * third["p"]).clip(upper=1)])
    np.testing.assert_allclose([*second["p_holm"], *third["p_holm"]], expected)
    assert set(answer.contrasts["family"]) == {7}
    assert answer.contrasts.loc[answer.contrasts["role"] != "secondary", "p_holm"].isna().all()


def test_the_order_lets_the_rest_be_claimed_when_the_first_steps_are_shown(analysed):
    answer = analysed(GOOD, seeds=5)
    assert row(answer.contrasts, arm="grl", domain="B", metric="asd_mm")["claim"] == "shown"
    gates = answer.non_inferiority[answer.non_inferiority["role"] == "source check"]
    assert list(gates["claim"]) == ["not shown", "shown"] or list(gates["claim"]) == ["shown", "shown"]


def test_without_the_primary_contrast_nothing_later_is_reached(analysed):
    answer = analysed(GOOD | {"grl": 1.9})
    assert row(answer.contrasts, arm="grl", domain="B", metric="asd_mm")["claim"] == "not shown"
    assert set(answer.contrasts.loc[answer.contrasts["role"] == "secondary", "claim"]) == {"not reached"}
    assert set(answer.non_inferiority["claim"]) == {"not reached"}


def test_wide_margins_are_kept_and_the_rest_is_tested(make_values, declaration):
    wide = replace(declaration, margins={"dice": 0.05, "hd95_mm": 2.0})
    answer = analyse(make_values(GOOD, seeds=5), wide, resamples=200)
    assert set(answer.non_inferiority["verdict"]) == {"non-inferior"}
    assert set(answer.non_inferiority["claim"]) == {"shown"}
    assert row(answer.contrasts, arm="grl", domain="B", metric="dice")["claim"] == "shown"
    assert row(answer.contrasts, arm="mmd", domain="B", metric="dice")["claim"] == "not shown"


def test_interval_over_cases():
    low, high = interval_over_cases(np.array([1.0, 2.0, 3.0]), 0.05)
    assert (low, high) == pytest.approx((2 - 4.30265 / 3**0.5, 2 + 4.30265 / 3**0.5), abs=1e-4)
    assert np.isnan(interval_over_cases(np.array([1.0]), 0.05)).all()
    assert np.isnan(interval_over_cases(np.ones(4), 0.05)).all()


def failing(values: pd.DataFrame, arm: str, domain: str, share: float) -> pd.DataFrame:
    """The arm finds nothing in a share of the cases of a domain; overlaps stay what they are."""
    cases = sorted(values["case"].unique())
    lost = (values["arm"] == arm) & (values["domain"] == domain) & values["case"].isin(cases[: int(share * len(cases))])
    return values.assign(value=values["value"].mask(lost & (values["metric"] != "dice")))


def test_a_gain_among_the_cases_that_did_not_fail_is_no_claim(make_values, declaration):
    values = failing(failing(make_values(GOOD), "grl", "B", 0.75), "mmd", "B", 0.75)
    answer = analyse(values, replace(declaration, margins={"dice": 0.5}), resamples=50)
    found = row(answer.contrasts, arm="grl", domain="B", metric="asd_mm")
    assert found["p"] < 0.05  # over the cases that are left
    assert (found["better"], found["claim"]) == ("", "not shown")
    assert set(answer.contrasts.query("role == 'secondary'")["claim"]) == {"not reached"}


def test_failures_on_the_source_are_a_loss_that_no_margin_covers(make_values, declaration):
    wide = replace(declaration, margins={"hd95_mm": 5.0})
    before = row(analyse(make_values(GOOD), wide, resamples=50).non_inferiority, arm="grl", metric="hd95_mm")
    assert before["verdict"] == "non-inferior"
    after = row(analyse(failing(make_values(GOOD), "grl", "A", 0.5), wide, resamples=50).non_inferiority, arm="grl", metric="hd95_mm")
    assert (after["verdict"], after["claim"]) == ("inconclusive", "not shown")
    assert "it fails 12 times on the source and the baseline 0 times" in after["note"]


def test_better_and_worse_are_counted_apart(make_values, declaration):
    answer = analyse(make_values(GOOD | {"mmd": 4.0}), replace(declaration, margins={"dice": 0.5}), resamples=50)
    assert claims_sentence(answer) == (
        "Of 6 further comparisons 6 are shown after Holm's correction: 2 better and 3 worse than the baseline,"
        " 1 within a margin on the source."
    )
