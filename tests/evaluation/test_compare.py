from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nnunet_da.errors import UserError
from nnunet_da.evaluation.compare import CompareSettings, compare
from nnunet_da.evaluation.metric_files import UNIT, Run
from nnunet_da.evaluation.paired import Method
from nnunet_da.evaluation.statistics import holm, paired_tests

QUICK = CompareSettings(resamples=200)


def method(name, runs, *, domains=("A", "B"), labels=("1",)):
    """runs: one {metric: (N,) values} per seed, the same in every domain and label."""
    found = []
    for values in runs:
        n = len(next(iter(values.values())))
        rows = pd.MultiIndex.from_tuples(
            [(domain, f"c{case}", label) for domain in domains for case in range(n) for label in labels], names=UNIT
        )
        table = pd.DataFrame(
            {metric: np.repeat(column, len(labels)).tolist() * len(domains) for metric, column in values.items()}, index=rows
        )
        units = {metric: "mm" if metric.endswith("mm") else "fraction" for metric in values}
        found.append(Run(Path(name), name, dict.fromkeys(labels, "bone"), units, table))
    return Method(name, tuple(found))


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    dice = rng.uniform(0.8, 0.9, 20)
    hd = rng.uniform(3, 9, 20)
    return {
        "worse": {"dice": dice, "hd95_mm": hd},
        "better": {"dice": dice + rng.normal(0.05, 0.01, 20), "hd95_mm": hd - rng.normal(1, 0.2, 20)},
        "same": {"dice": dice + rng.normal(0, 0.01, 20), "hd95_mm": hd + rng.normal(0, 0.2, 20)},
    }


def test_one_row_per_pair_domain_label_and_metric_each_of_its_own_cases(scores):
    methods = [method(name, [values], labels=("1", "2")) for name, values in scores.items()]
    table = compare(methods, QUICK).table
    assert len(table) == 3 * 2 * 2 * 2
    assert list(zip(table["first"], table["second"], strict=True))[::8] == [("worse", "better"), ("worse", "same"), ("better", "same")]
    row = table.query("first == 'worse' and second == 'same' and domain == 'B' and label == '2' and metric == 'hd95_mm'").iloc[0]
    expected = paired_tests(scores["worse"]["hd95_mm"], scores["same"]["hd95_mm"], resamples=200)
    assert (row["t"], row["p_t"], row["p_wilcoxon"], row["ci_low"]) == (expected.t, expected.p_t, expected.p_wilcoxon, expected.ci_low)
    assert (row["n"], row["unit"], row["n_seeds"]) == (20, "mm", 1)


def test_holm_over_everything_and_better_by_direction(scores):
    table = compare([method(name, [values]) for name, values in scores.items()], QUICK).table
    assert set(table["family"]) == {len(table)} == {12}
    assert table["p_holm"].to_numpy() == pytest.approx(holm(table["p_t"]))
    assert table["p_wilcoxon_holm"].to_numpy() == pytest.approx(holm(table["p_wilcoxon"]))
    better = {(row["first"], row["second"], row["metric"]): row["better"] for _, row in table.iterrows()}
    assert better["worse", "better", "dice"] == better["worse", "better", "hd95_mm"] == "second"
    assert better["better", "same", "dice"] == better["better", "same", "hd95_mm"] == "first"
    assert better["worse", "same", "dice"] == better["worse", "same", "hd95_mm"] == ""
    turned = compare([method(name, [scores[name]]) for name in ("same", "worse")], QUICK).table
    for found in (table, turned):
        assert (found["p_holm"] < 0.05).equals(found["better"] != "")
    wins = table.query("first == 'worse' and second == 'better' and metric == 'hd95_mm'").iloc[0]
    assert (wins["wins"], wins["ties"], wins["losses"]) == (20, 0, 0)
    assert wins["difference"] < 0


def test_against_the_first_alone(scores):
    table = compare([method(name, [values]) for name, values in scores.items()], CompareSettings(against_first=True, resamples=200)).table
    assert set(table["first"]) == {"worse"}
    assert set(table["family"]) == {8}


def test_identical_methods_do_not_enter_the_family(scores):
    copy = scores["worse"] | {"dice": scores["worse"]["dice"] + 0.01 * np.arange(20)}
    table = compare([method("a", [scores["worse"]]), method("b", [copy])], QUICK).table.set_index(["domain", "metric"])
    assert set(table["family"]) == set(table["family_wilcoxon"]) == {2}
    assert np.isnan(table.loc[("A", "hd95_mm"), "p_holm"])
    assert table.loc[("A", "hd95_mm"), "ties"] == 20
    assert "identical" in table.loc[("A", "hd95_mm"), "note"]
    assert table.loc[("A", "hd95_mm"), "better"] == ""


def test_the_two_tests_have_families_of_their_own(scores):
    """The same shift in every case leaves the t test without spread, and says something by ranks."""
    shifted = {metric: values + 0.5 for metric, values in scores["worse"].items()}
    table = compare([method("a", [scores["worse"]]), method("b", [shifted])], QUICK).table
    assert set(table["family"]) == {0}
    assert set(table["family_wilcoxon"]) == {len(table)}


def test_specificity_is_not_compared_over_different_fields_of_view(scores):
    runs = [method(name, [scores[name] | {"specificity": scores[name]["dice"]}]) for name in ("worse", "better")]
    fields = ["the whole image", "a box of 5 mm around the reference"]
    runs = [
        replace(each, runs=(replace(each.runs[0], fields_of_view=frozenset({field})),)) for each, field in zip(runs, fields, strict=True)
    ]
    with pytest.raises(UserError, match="field of view"):
        compare(runs, replace(QUICK, metrics=("specificity",)))
    compare(runs, QUICK)


def test_seeds_are_averaged_per_case_and_shown_beside(scores):
    rng = np.random.default_rng(4)
    seeds = [
        {metric: values + rng.normal(0, 0.02, 20) + shift for metric, values in scores["better"].items()} for shift in (-0.03, 0.0, 0.03)
    ]
    found = compare([method("one", [scores["worse"], scores["same"]]), method("three", seeds)], QUICK)
    row = found.table.query("domain == 'A' and metric == 'dice'").iloc[0]
    first = (scores["worse"]["dice"] + scores["same"]["dice"]) / 2
    expected = paired_tests(first, np.mean([seed["dice"] for seed in seeds], axis=0), resamples=200)
    assert row["p_t"] == pytest.approx(expected.p_t)
    assert (row["n"], row["n_seeds"], row["n_seeds_first"], row["n_seeds_second"]) == (20, 2, 2, 3)
    assert row["ci_low_seeds"] < row["ci_low"] < row["ci_high"] < row["ci_high_seeds"]
    means = found.seeds.query("method == 'three' and domain == 'A' and metric == 'dice'")["mean"]
    assert means.to_numpy() == pytest.approx([seed["dice"].mean() for seed in seeds])
    assert not any("one trained model" in text for text in found.warnings)
    assert any("fewer than 5 seeds: one, three" in text for text in found.warnings)


def test_one_seed_is_warned_of(scores):
    found = compare([method("a", [scores["worse"], scores["same"]]), method("b", [scores["better"]])], QUICK)
    assert any(text.startswith("one trained model each: b;") for text in found.warnings)
    assert found.table["ci_low_seeds"].isna().all()


def test_few_cases_are_warned_of(scores):
    def first(n):
        return [method(name, [{metric: values[:n] for metric, values in scores[name].items()}]) for name in ("worse", "better")]

    warnings = compare(first(3), QUICK).warnings
    assert "few paired cases for some metric (A 3, B 3): their bootstrap intervals are narrower than they should be" in warnings
    assert any(text.startswith("Wilcoxon's p, corrected for 4 tests, cannot fall below 0.05") for text in warnings)
    assert any("Wilcoxon" in text for text in compare(first(7), QUICK).warnings)  # 4 x 2 / 2^7 = 0.0625
    assert not any("Wilcoxon" in text for text in compare(first(8), QUICK).warnings)
    table = compare(first(1), QUICK).table
    assert table["p_holm"].isna().all()
    assert set(table["family"]) == {0}
    assert all("one pair" in note for note in table["note"])


def test_anova_of_three_methods_only(scores):
    methods = [method(name, [values]) for name, values in scores.items()]
    found = compare(methods, QUICK).anova
    assert list(found["metric"]) == ["dice", "hd95_mm"] * 2
    assert set(found["methods"]) == {"worse | better | same"}
    assert (found["p_greenhouse_geisser"] < 1e-6).all()
    assert len(compare(methods[:2], QUICK).anova) == 0


def test_metrics_by_default_and_by_name(scores):
    extra = {"volume_mm3": scores["worse"]["hd95_mm"], "nsd_1mm": scores["worse"]["dice"]}
    methods = [method(name, [scores[name] | extra]) for name in ("worse", "better")]
    assert compare(methods, QUICK).metrics == ("dice", "hd95_mm", "nsd_1mm")
    asked = compare(methods, CompareSettings(metrics=("volume_mm3", "dice"), resamples=200))
    assert list(asked.table["metric"]) == ["volume_mm3", "dice"] * 2
    assert asked.table["wins"].isna().tolist() == [True, False] * 2
    with pytest.raises(UserError, match="asd_mm in every method was expected, but common to all are dice"):
        compare(methods, CompareSettings(metrics=("asd_mm",)))


def test_a_metric_that_one_method_lacks_is_left_out_aloud(scores):
    found = compare([method("a", [scores["worse"] | {"nsd_1mm": scores["worse"]["dice"]}]), method("b", [scores["better"]])], QUICK)
    assert found.metrics == ("dice", "hd95_mm")
    assert any("not compared: nsd_1mm" in text for text in found.warnings)


def test_a_metric_without_rows_for_some_cases_is_refused(scores):
    whole = method("a", [scores["worse"]])
    partial = Method("b", (replace(method("b", [scores["better"]]).runs[0], incomplete=frozenset({"hd95_mm"})),))
    with pytest.raises(UserError, match="hd95_mm lacks some"):
        compare([whole, partial], QUICK)
    assert compare([whole, partial], CompareSettings(metrics=("dice",), resamples=200)).metrics == ("dice",)


def test_cases_of_one_name_with_other_references_are_refused(scores):
    volumes = {"volume_mm3": np.full(20, 1000.0), "volume_error_mm3": np.zeros(20)}
    same = {"volume_mm3": np.full(20, 1100.0), "volume_error_mm3": np.full(20, 100.0)}
    other = same | {"volume_error_mm3": np.r_[np.full(19, 100.0), 0.0]}  # the last reference has 1100 mm3
    compare([method("a", [scores["worse"] | volumes]), method("b", [scores["better"] | same])], QUICK)
    with pytest.raises(UserError, match=r"volumes differ for c19 of A \(label 1\), c19 of B \(label 1\): score all"):
        compare([method("a", [scores["worse"] | volumes]), method("b", [scores["better"] | other])], QUICK)


@pytest.mark.parametrize("wrong", [{"alpha": 0.0}, {"alpha": 1.5}, {"resamples": 10}, {"seed": -1}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(UserError, match="got"):
        CompareSettings(**wrong)
