import pandas as pd
import pytest

from nnunet_da.diagnosis.gradients import classifier_finding, gradient_findings, gradient_shares, read_curves
from nnunet_da.errors import UserError

RAW = {"classifier_input": "raw", "w_adv": 0.1}


def curves(**terms):
    rows = [(epoch, term, value) for term, values in terms.items() for epoch, value in enumerate(values)]
    return pd.DataFrame(rows, columns=["epoch", "term", "value"])


def test_shares_of_the_second_half_worked_by_hand():
    table = curves(gradient_seg=[9, 9, 1, 1], gradient_adv=[0, 0, 1, 1], gradient_mmd=[0, 0, 2, 2], loss_seg=[7, 7, 7, 7])
    seg, adv, mmd = gradient_shares(table)
    assert (seg.share, adv.share, mmd.share) == pytest.approx((0.25, 0.25, 0.5))
    assert (adv.ratio, mmd.ratio) == pytest.approx((1, 2))


def findings(mmd, weight=0.1):
    return " ".join(gradient_findings(gradient_shares(curves(gradient_seg=[1, 1], gradient_mmd=[mmd, mmd])), {"mmd": weight}))


def test_findings_say_what_to_do():
    assert "MMD sends 30 times the supervised gradient" in findings(30)
    assert "lower w_mmd (now 0.1)" in findings(30)
    assert "watch source validation" in findings(3)
    assert findings(0.5) == ""
    assert "raise w_mmd" in findings(0.001)
    assert "sends nothing" in findings(0)
    assert "sends nothing" in findings(0.5, weight=0)


def test_chance_of_the_classifier_is_read_with_care():
    chance, sure, middle = (curves(domain_accuracy=[0.9, value, value]) for value in (0.51, 0.99, 0.7))
    assert "without the probe" in classifier_finding(chance, None, RAW)
    assert "nothing contradicts alignment" in classifier_finding(chance, False, RAW)
    assert "nearly always right" in classifier_finding(sure, None, RAW)
    assert "in balance" in classifier_finding(middle, None, RAW)
    assert classifier_finding(curves(gradient_seg=[1]), None, RAW) is None


def test_a_weak_classifier_gets_the_advice_of_its_own_settings():
    chance = curves(domain_accuracy=[0.9, 0.51, 0.51])
    assert "too weak, try classifier_input=standardised with w_adv=0.001." in classifier_finding(chance, True, RAW)
    assert "too weak, try a higher head_lr" in classifier_finding(chance, True, RAW | {"classifier_input": "standardised"})
    assert classifier_finding(chance, True, RAW | {"w_adv": 0.0}) is None


def test_a_source_only_run_and_an_empty_table():
    (seg,) = gradient_shares(curves(gradient_seg=[1, 1]))
    assert seg.share == 1
    assert gradient_shares(curves(loss_seg=[1])) == []


def test_reading(tmp_path):
    file = tmp_path / "curves.csv"
    file.write_text("epoch,term,value\n0,loss_seg,1.5\n1,loss_seg,\n")
    assert read_curves(file)["value"].isna().tolist() == [False, True]
    file.write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="table of curves"):
        read_curves(file)
