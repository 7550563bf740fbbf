import math

import numpy as np
import pytest

from nnunet_da.errors import UserError
from nnunet_da.evaluation.paired import pair, read_methods

TWO = {("c1", "1"): {"dice": "0.9", "hd_mm": "4"}, ("c2", "1"): {"dice": "0", "hd_mm": ""}}


def test_names_from_the_argument_then_the_manifest_then_the_folder(write_metrics, tmp_path):
    one, two = write_metrics(tmp_path / "one", TWO, method="m"), write_metrics(tmp_path / "two", TWO, method="n")
    assert [method.name for method in read_methods([str(one), f"mine={two}"])] == ["m", "mine"]
    write_metrics(two, TWO, method="m")
    assert [method.name for method in read_methods([str(one), str(two)])] == ["one", "two"]
    with pytest.raises(UserError, match="name of its own"):
        read_methods([f"a={one}", f"a={two}"])


def test_seeds_and_paths_with_signs_in_them(write_metrics, tmp_path):
    one, two, odd = (write_metrics(tmp_path / name, TWO) for name in ("s0", "s1", "a=b,c"))
    methods = read_methods([f"ours={one},{two}", str(odd), f"named={odd}"])
    assert [(method.name, len(method.runs)) for method in methods] == [("ours", 2), ("a=b,c", 1), ("named", 1)]
    rows = pair(methods).rows
    np.testing.assert_array_equal(methods[0].values(rows, "hd_mm"), [[4, math.nan], [4, math.nan]])


def test_unpaired_cases_are_refused_by_name_of_method_and_case(write_metrics, tmp_path):
    full, short = (
        write_metrics(tmp_path / "full", TWO),
        write_metrics(tmp_path / "short", {("c1", "1"): TWO["c1", "1"], ("c3", "1"): TWO["c1", "1"]}),
    )
    methods = read_methods([str(full), str(short)])
    with pytest.raises(UserError) as error:
        pair(methods)
    assert "full" in str(error.value).split("lacks 1 of 3: c3 of B (label 1)")[0]
    assert "lacks 1 of 3: c2 of B (label 1)" in str(error.value)
    assert "--common-cases" in str(error.value)
    found = pair(methods, common_cases=True)
    assert list(found.rows) == [("B", "c1", "1")]
    assert sorted(found.left_out) == [("B", "c2", "1"), ("B", "c3", "1")]


def test_pairs_by_name_and_not_by_place(write_metrics, tmp_path):
    turned = dict(reversed([*TWO.items()]))
    methods = read_methods([str(write_metrics(tmp_path / "a", TWO)), str(write_metrics(tmp_path / "b", turned))])
    rows = pair(methods).rows
    np.testing.assert_array_equal(methods[0].values(rows, "dice"), methods[1].values(rows, "dice"))


@pytest.mark.parametrize("difference", ["case", "domain", "label"])
def test_nothing_in_common_is_refused(write_metrics, tmp_path, difference):
    scores = {("c9" if difference == "case" else "c1", "2" if difference == "label" else "1"): {"dice": "1"}}
    other = write_metrics(tmp_path / "other", scores, domain="A" if difference == "domain" else "B")
    methods = read_methods([str(write_metrics(tmp_path / "one", {("c1", "1"): {"dice": "1"}})), str(other)])
    with pytest.raises(UserError, match="got none"):
        pair(methods, common_cases=True)


def test_arguments_that_name_nothing_are_refused(write_metrics, tmp_path):
    here = str(write_metrics(tmp_path / "here", TWO))
    (tmp_path / "empty").mkdir()
    for argument, said in [
        (str(tmp_path / "nowhere"), "nowhere does not exist"),
        (f"a={here},{tmp_path / 'nowhere'}", "nowhere does not exist"),
        ("a=", "NAME=FOLDER"),
        (f"={here}", "NAME=FOLDER"),
        (str(tmp_path / "empty"), "found none"),
        (f"a={here},{here}", "twice"),
    ]:
        with pytest.raises(UserError, match=said):
            read_methods([here, argument])
    with pytest.raises(UserError, match="two or more methods"):
        read_methods([here])
