from collections import Counter

import numpy as np
import pytest

from nnunet_da.conversion.splits import hold_out, patient_folds
from nnunet_da.errors import UserError


def cohort(men=181, women=216):
    cases = [f"s{index:03d}" for index in range(men + women)]
    return cases, cases, ["M"] * men + ["F"] * women


def test_hold_out_of_the_femur_protocol():
    """397 subjects, 181 men and 216 women: a tenth, stratified by sex, is 18 men and 22 women; then ten folds of the other 357."""
    cases, patients, sexes = cohort()
    sex_of = dict(zip(cases, sexes, strict=True))
    kept, held = hold_out(cases, patients, sexes, 0.1, seed=0)
    assert Counter(sex_of[case] for case in held) == {"M": 18, "F": 22}
    assert sorted(kept + held) == cases
    folds = patient_folds(kept, kept, [sex_of[case] for case in kept], 10, seed=0)
    assert sorted(case for fold in folds for case in fold["val"]) == kept
    assert {len(fold["val"]) for fold in folds} == {35, 36}
    assert {sum(sex_of[case] == "M" for case in fold["val"]) for fold in folds} <= {16, 17}  # 163 men


def test_balance_is_that_of_scikit_learn():
    from sklearn.model_selection import StratifiedKFold

    cases, patients, sexes = cohort(23, 38)
    sex_of = dict(zip(cases, sexes, strict=True))
    ours = patient_folds(cases, patients, sexes, 5, seed=3)
    theirs = StratifiedKFold(5).split(cases, sexes)
    men = sorted(sum(sex_of[case] == "M" for case in fold["val"]) for fold in ours)
    assert men == sorted(sum(sexes[index] == "M" for index in held) for _, held in theirs)


@pytest.mark.parametrize("seed", range(20))
def test_no_patient_is_on_both_sides(seed):
    rng = np.random.default_rng(seed)
    patients = [f"p{number}" for number in rng.integers(0, 30, 100)]
    cases = [f"c{index}" for index in range(100)]
    strata = [str(int(patient[1:]) % 3) for patient in patients]
    patient_of = dict(zip(cases, patients, strict=True))
    kept, held = hold_out(cases, patients, strata, 0.2, seed)
    pairs = [(kept, held)] + [
        (fold["train"], fold["val"])
        for fold in patient_folds(kept, [patient_of[case] for case in kept], [strata[int(case[1:])] for case in kept], 5, seed)
    ]
    for train, validation in pairs:
        assert not {patient_of[case] for case in train} & {patient_of[case] for case in validation}
        assert train
        assert validation


def test_order_of_the_table_does_not_matter_but_the_seed_does():
    cases, patients, sexes = cohort(20, 20)
    backwards = (cases[::-1], patients[::-1], sexes[::-1])
    assert patient_folds(cases, patients, sexes, 4, 1) == patient_folds(*backwards, 4, 1)
    assert patient_folds(cases, patients, sexes, 4, 1) != patient_folds(cases, patients, sexes, 4, 2)
    assert hold_out(cases, patients, sexes, 3, 1) == hold_out(*backwards, 3, 1)


def test_a_number_of_patients_is_held_out():
    kept, held = hold_out(list("abcd"), list("ppqr"), None, 1, 0)
    assert len(held) == (2 if "a" in held else 1)
    assert sorted(kept + held) == list("abcd")


@pytest.mark.parametrize("amount", [0, -1, 1.5, 4, 0.99])
def test_refuses_an_impossible_hold_out(amount):
    with pytest.raises(UserError, match="whole number below the 4 patients"):
        hold_out(list("abcd"), list("abcd"), None, amount, 0)


def test_refuses_fewer_patients_than_folds():
    with pytest.raises(UserError, match="3 folds need as many patients, got 2"):
        patient_folds(list("abcd"), list("ppqq"), None, 3, 0)


def test_refuses_a_patient_in_two_strata():
    with pytest.raises(UserError, match="'p' is in 'M' and 'F'"):
        patient_folds(list("ab"), list("pp"), ["M", "F"], 2, 0)


def test_refuses_a_case_twice():
    with pytest.raises(UserError, match="got 'a' more often"):
        hold_out(list("aab"), list("pqr"), None, 1, 0)
