import numpy as np
import pandas as pd
import pytest

from nnunet_da.errors import UserError
from nnunet_da.study.statistics.values import read_values


def without(values: pd.DataFrame, **where) -> pd.DataFrame:
    return values[~np.logical_and.reduce([values[column] == value for column, value in where.items()])]


def test_a_cube_holds_every_value_in_its_place(make_values, declaration):
    values = make_values(seeds=2)
    cube = read_values(values.sample(frac=1, random_state=0), declaration).cube(("grl", "oracle"), "B", "1", "asd_mm")
    assert cube.values.shape == (2, 2, 8)
    place = dict(arm="oracle", seed=1, domain="B", case=cube.cases[3], metric="asd_mm")
    expected = values[np.logical_and.reduce([values[column] == value for column, value in place.items()])]["value"].item()
    assert cube.values[1, 1, 3] == expected
    assert cube.runs == (("0", "0"), ("1", "0"))


def test_runs_are_in_the_order_of_numbers_and_folds_pair_them(make_values, declaration):
    cube = read_values(make_values(seeds=11, cases=2), declaration).cube(("grl",), "A", "1", "dice")
    assert [seed for seed, _ in cube.runs] == [str(number) for number in range(11)]
    assert not cube.paired
    assert read_values(make_values(seeds=1, folds=2, cases=2), declaration).cube(("grl",), "A", "1", "dice").paired


def test_a_failed_run_is_recorded_and_left_out_of_what_is_shared(make_values, declaration):
    found = read_values(without(make_values(), arm="grl", seed=1), declaration)
    assert [entry.words() for entry in found.incomplete] == ["grl lacks seed 1 fold 0 in A", "grl lacks seed 1 fold 0 in B"]
    assert found.cube(("grl", "mmd"), "B", "1", "dice").runs == (("0", "0"), ("2", "0"))
    assert len(found.cube(("mmd",), "B", "1", "dice").runs) == 3


def test_an_arm_without_any_run_has_no_cube(make_values, declaration):
    assert read_values(without(make_values(), arm="mmd"), declaration).cube(("grl", "mmd"), "B", "1", "dice") is None


def test_defined_cases_are_those_with_a_value_in_every_run(make_values, declaration):
    cube = read_values(make_values(failed=("grl",)), declaration).cube(("grl", "mmd"), "B", "1", "asd_mm")
    assert cube.values.shape[2] == 8
    assert cube.defined.shape[2] == 7


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda values: values.drop(columns="fold"), "no column fold"),
        (lambda values: values.iloc[:0], "no row"),
        (lambda values: pd.concat([values, values.iloc[[5]]]), "got two of"),
        (lambda values: without(values, arm="grl", seed=1, case="case03"), "grl, seed 1 fold 0 lacks dice of case03"),
        (lambda values: without(values, arm="grl", seed=1, metric="dice"), "grl, seed 1 fold 0 lacks dice of case00"),
        (lambda values: values.replace({"arm": {"grl": "gan"}}), "values of gan"),
        (lambda values: values.replace({"domain": {"A": "C"}}), "values of C"),
        (lambda values: without(values, domain="A"), "the domain A were expected"),
        (lambda values: without(values, metric="asd_mm"), "the declared metric asd_mm"),
        (lambda values: values.assign(value=np.inf), "finite values"),
        (lambda values: values.assign(value="high"), "numbers were expected"),
    ],
)
def test_refuses(make_values, declaration, change, words):
    with pytest.raises(UserError, match=words):
        read_values(change(make_values()), declaration)


def test_seeds_of_several_folds_are_averaged_within_each_fold(make_values, declaration):
    """They share the fold's training cases: nine trainings of three folds are no nine independent ones."""
    values = make_values(seeds=2, folds=3, cases=4)
    study = read_values(values, declaration)
    assert study.has_seeds_within_folds
    assert not read_values(make_values(seeds=1, folds=3), declaration).has_seeds_within_folds
    assert not read_values(make_values(seeds=3), declaration).has_seeds_within_folds
    cube = study.cube(("zero_weight", "grl"), "B", "1", "asd_mm").by_fold
    assert cube.runs == (("0+1", "0"), ("0+1", "1"), ("0+1", "2"))
    asked = values.query("arm == 'grl' and fold == 1 and domain == 'B' and metric == 'asd_mm' and case == 'case02'")["value"]
    assert len(asked) == 2
    assert cube.values[1, 1, 2] == pytest.approx(asked.mean())
    lost = values.assign(value=values["value"].mask((values["seed"] == 0) & (values["fold"] == 1) & (values["case"] == "case02")))
    assert np.isnan(read_values(lost, declaration).cube(("zero_weight", "grl"), "B", "1", "asd_mm").by_fold.values[1, 1, 2])
