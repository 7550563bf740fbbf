import json

import numpy as np
import pytest
from scipy.stats import ttest_rel

from nnunet_da.diagnosis.transfer import dice_per_case, negative_transfer
from nnunet_da.errors import UserError


def table(*dice):
    return {f"case_{index}": value for index, value in enumerate(dice)}


def test_values_worked_by_hand():
    check = negative_transfer(table(0.80, 0.82, 0.78), table(0.90, 0.90, 0.90))
    assert check.status == "ALARM"
    assert check.difference == pytest.approx(-0.10)  # the mean of -0.10, -0.08, -0.12
    assert check.changes["case_2"] == pytest.approx(-0.12)
    assert check.low <= check.difference <= check.high
    assert check.p_value == pytest.approx(ttest_rel([0.80, 0.82, 0.78], [0.9, 0.9, 0.9], alternative="less").pvalue)


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ((0.895, 0.896, 0.894, 0.895), "within the margin"),  # sure, but small
        ((0.40, 0.95, 0.93, 0.94), "may be chance"),  # one bad case among better ones
        ((0.95, 0.95, 0.96, 0.95), "no loss"),
        ((0.90, 0.90, 0.90, 0.90), "no loss"),  # the very same run: no scatter at all
    ],
)
def test_it_stays_silent(run, words):
    check = negative_transfer(table(*run), table(0.9, 0.9, 0.9, 0.9))
    assert check.status == "none"
    assert words in check.reason


def test_the_margin_decides():
    run, source_only = table(0.88, 0.881, 0.879), table(0.9, 0.9, 0.9)
    assert negative_transfer(run, source_only, margin=0.01).status == "ALARM"
    assert negative_transfer(run, source_only, margin=0.03).status == "none"


def test_an_equal_loss_in_every_case_is_sure():
    assert negative_transfer(table(0.5, 0.5, 0.5), table(0.9, 0.9, 0.9)).status == "ALARM"


def test_two_cases_are_not_assessed():
    check = negative_transfer(table(0.1, 0.1), table(0.9, 0.9))
    assert (check.status, check.difference) == ("not assessed", None)


def test_false_alarms_are_rare():
    """Two runs that differ by chance alone, far more than the margin, in folds of 4 cases: at most about the test's 5 %."""
    rng = np.random.default_rng(0)
    alarms = [negative_transfer(table(*rng.normal(0.8, 0.05, 4)), table(*rng.normal(0.8, 0.05, 4))).status == "ALARM" for _ in range(400)]
    assert np.mean(alarms) < 0.08


def test_other_cases_are_refused():
    with pytest.raises(ValueError, match="same cases"):
        negative_transfer(table(0.5), {"other": 0.5})


def test_reads_the_summary_of_stock_nnunet(tmp_path):
    entries = [
        {"prediction_file": "/x/a.0_1.nii.gz", "metrics": {"1": {"Dice": 0.5}, "(1, 2)": {"Dice": 0.7}}},
        {"prediction_file": "/x/b.nii.gz", "metrics": {"1": {"Dice": float("nan")}, "(1, 2)": {"Dice": 0.0}}},  # both masks empty: 1
    ]
    file = tmp_path / "summary.json"
    file.write_text(json.dumps({"metric_per_case": entries}))
    assert dice_per_case(file, ".nii.gz") == pytest.approx({"a.0_1": 0.6, "b": 0.5})
    file.write_text("{}")
    with pytest.raises(UserError, match="--val"):
        dice_per_case(file, ".nii.gz")
