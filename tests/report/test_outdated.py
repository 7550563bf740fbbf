import json
import math
import shutil

import pandas as pd
import pytest

from nnunet_da.errors import UserError
from nnunet_da.evaluation.compare import CompareSettings, compare
from nnunet_da.evaluation.comparison_files import write_comparison
from nnunet_da.evaluation.paired import read_methods
from nnunet_da.report.study import load_study

VALUES = {"base": (0.5, 0.6, 0.7, ""), "pf_0": (0.6, 0.8, 0.7, 0.9), "pf_1": (0.8, 0.8, "", 0.9), "third": (0.1, 0.2, 0.3)}


def write_metrics(folder, values):
    folder.mkdir(exist_ok=True)
    rows = [f"c{number},A,1,dice,{value},fraction" for number, value in enumerate(values)]
    (folder / "metrics.csv").write_text("\n".join(["case,domain,label,metric,value,unit", *rows, ""]))


@pytest.fixture
def folder(tmp_path):
    """A baseline, two seeds of a method, and a third method that lacks a case; compared by `compare` itself."""
    for name, values in VALUES.items():
        write_metrics(tmp_path / name, values)
    return tmp_path


def run_compare(folder, *methods, where="comparison", **settings):
    arguments = [f"{name}={','.join(str(folder / part) for part in parts.split(','))}" for name, parts in methods]
    result = compare(read_methods(arguments), CompareSettings(resamples=100, **settings))
    write_comparison(result, folder / where)


def test_what_compare_just_wrote_is_current_with_seeds_and_common_cases(folder):
    run_compare(folder, ("base", "base"), ("pf", "pf_0,pf_1"), ("third", "third"), common_cases=True)
    study = load_study(folder)
    assert study.outdated == []
    row = study.comparison.row("base", "pf", "A", "1", "dice")
    assert (row["n"], row["mean_second"]) == (2, pytest.approx((0.7 + 0.8) / 2))  # c2 undefined in one seed, c3 not in all


def test_cases_left_out_stay_left_out_when_the_method_that_lacks_them_is_gone(folder):
    run_compare(folder, ("base", "base"), ("pf_0", "pf_0"), ("third", "third"), common_cases=True)
    shutil.rmtree(folder / "third")
    write_metrics(folder / "base", (0.5, 0.6, 0.7, 0.8))  # the case that the third lacks
    assert load_study(folder).outdated == []


def test_a_changed_seed_makes_it_outdated(folder):
    run_compare(folder, ("base", "base"), ("pf", "pf_0,pf_1"))
    write_metrics(folder / "pf_1", (0.8, 0.81, "", 0.9))
    study = load_study(folder)
    assert study.comparison is None
    assert "dice of base and pf in A, label 1 had n = 2 and means 0.55 and 0.75, now n = 2 and means 0.55 and 0.7525" in study.outdated[0]


def test_another_count_makes_it_outdated(folder):
    run_compare(folder, ("base", "base"), ("pf_0", "pf_0"))
    write_metrics(folder / "pf_0", (0.6, 0.8, "", 0.9))
    assert "now n = 2" in load_study(folder).outdated[0]


def test_a_current_one_beside_an_outdated_one_stays(folder):
    run_compare(folder, ("base", "base"), ("pf_0", "pf_0"))
    run_compare(folder, ("pf_0", "pf_0"), ("pf_1", "pf_1"), where="others")
    write_metrics(folder / "base", (0.1, 0.1, 0.1, 0.1))
    study = load_study(folder)
    assert (len(study.outdated), study.comparison.baseline) == (1, "pf_0")


def test_several_seeds_elsewhere_cannot_be_checked_and_stay(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("seeds")
    for name in ("pf_0", "pf_1"):
        write_metrics(elsewhere / name, VALUES[name])
    run_compare(folder, ("base", "base"), ("pf_0", f"{elsewhere / 'pf_0'},{elsewhere / 'pf_1'}"))
    assert load_study(folder).outdated == []


def test_without_comparison_json_the_arms_are_taken_by_name(folder):
    run_compare(folder, ("base", "base"), ("pf_0", "pf_0"))
    (folder / "comparison" / "comparison.json").unlink()
    assert load_study(folder).outdated == []
    write_metrics(folder / "base", (0.1, 0.1, 0.1, 0.1))
    assert load_study(folder).comparison is None


def test_means_of_nothing_are_equal(folder):
    write_metrics(folder / "base", ("", "", "", ""))
    run_compare(folder, ("base", "base"), ("pf_0", "pf_0"))
    assert math.isnan(pd.read_csv(folder / "comparison" / "comparison.csv")["mean_first"][0])
    assert load_study(folder).outdated == []


def test_refuses_methods_without_folders(folder):
    run_compare(folder, ("base", "base"), ("pf_0", "pf_0"))
    file = folder / "comparison" / "comparison.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"methods": [{"name": "base"}]}))
    with pytest.raises(UserError, match=r"comparison\.json.*folders"):
        load_study(folder)
