import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from nnunet_da.study.statistics.analysis import analyse
from nnunet_da.study.statistics.text import answer_text


def said(answer) -> str:
    return " ".join(answer.warnings)


def test_arms_hold_means_and_both_scatters(make_values, declaration):
    values = make_values()
    arms = analyse(values, declaration, resamples=200).arms.set_index(["arm", "domain", "metric"])
    wide = values[(values["arm"] == "mmd") & (values["domain"] == "B") & (values["metric"] == "dice")].pivot(
        index="seed", columns="case", values="value"
    )
    found = arms.loc[("mmd", "B", "dice")]
    assert found["mean"] == pytest.approx(wide.to_numpy().mean())
    assert found["sd_runs"] == pytest.approx(wide.mean(axis=1).std())
    assert found["sd_cases"] == pytest.approx(wide.mean(axis=0).std())
    assert (found["n_runs"], found["n_cases"], found["failures"]) == (3, 8, 0)
    assert found["run_means"] == " ".join(f"{mean:.6g}" for mean in wide.mean(axis=1))


def test_arms_that_learnt_nothing_are_named_first(make_values, declaration, analysed):
    values = make_values()
    values.loc[values["arm"].isin(["grl", "oracle"]) & (values["domain"] == "A") & (values["metric"] == "dice"), "value"] = 0.0
    warning = analyse(values, declaration, resamples=200).warnings[0]
    assert warning.startswith("on the source itself grl found hardly anything")  # the oracle does not train on it
    assert "hardly anything" not in said(analysed())


def test_a_single_seed_gives_numbers_and_no_test(analysed):
    answer = analysed(seeds=1)
    assert answer.primary.kind == "cannot tell"
    assert answer.contrasts["p"].isna().all()
    assert answer.contrasts["difference"].notna().all()
    assert set(answer.non_inferiority["verdict"]) == {"not estimable"}
    assert answer.gap["ratio"].isna().all()
    assert np.isfinite(answer.primary.low_cases)
    assert "one trained model per arm" in said(answer)
    assert "cannot be told" in answer_text(answer)


def test_a_failed_run_is_named_and_the_rest_is_analysed(make_values, declaration):
    values = make_values()
    answer = analyse(values[~((values["arm"] == "grl") & (values["seed"] == 2))], declaration, resamples=200)
    assert answer.primary.estimate.n_runs == 2
    assert "grl lacks seed 2 fold 0 in B" in said(answer)
    others = answer.contrasts[answer.contrasts["arm"] == "mmd"]
    assert set(others["n_runs"]) == {3}


@pytest.mark.parametrize("lost", [["grl"], ["grl", "mmd"], ["oracle", "source_only"]])
def test_whole_arms_may_fail(make_values, declaration, lost):
    values = make_values()
    answer = analyse(values[~values["arm"].isin(lost)], declaration, resamples=200)
    assert (answer.primary is None) == ("grl" in lost)
    assert not set(lost) & set(answer.contrasts["arm"])
    assert lost[0] in answer_text(answer)
    assert ("oracle" in lost) == (answer.gap.empty and answer.primary is not None)


def test_an_empty_mask_is_a_failure_and_not_a_zero(analysed):
    answer = analysed(failed=("grl", "mmd"))
    row = answer.failures.set_index(["arm", "domain"]).loc[("grl", "B")]
    assert (row["failed_arm"], row["failed_baseline"], row["n"], row["only_arm"]) == (3, 0, 24, 3)
    assert answer.arms.set_index(["arm", "domain", "metric"]).loc[("grl", "B", "asd_mm"), "failures"] == 3
    assert "1" in said(answer)


def test_without_zero_weight_the_page_says_what_the_difference_holds(make_values, declaration):
    values = make_values()
    study = replace(declaration, arms=tuple(arm for arm in declaration.arms if arm != "zero_weight"), baseline="")
    answer = analyse(values[values["arm"] != "zero_weight"], study, resamples=200)
    assert answer.primary.baseline == "source_only"
    assert "shared BatchNorm" in said(answer)


def test_several_labels_make_the_first_primary(make_values, declaration):
    values = pd.concat([make_values(), make_values(rng_seed=1).assign(label="2")])
    answer = analyse(values, declaration, resamples=200)
    assert answer.label == "1"
    assert "no label was declared" in said(answer)
    assert set(answer.contrasts.loc[answer.contrasts["role"] == "primary", "label"]) == {"1"}
    assert analyse(values, replace(declaration, label="2"), resamples=200).label == "2"


def test_folds_are_paired(analysed):
    apart = analysed(seeds=4, folds=1).primary.estimate
    folds = analysed(seeds=1, folds=4).primary.estimate
    assert folds.value == apart.value
    assert folds.se != apart.se


def test_a_margin_without_values_is_said(make_values, declaration):
    values = make_values()
    answer = analyse(values[values["metric"] != "hd95_mm"], declaration, resamples=200)
    assert "no value of hd95_mm on the source" in said(answer)
    assert set(answer.non_inferiority["metric"]) == {"dice"}


def test_takes_tables_alone():
    """So that an answer can be computed anew where nothing is trained."""
    code = "import sys, nnunet_da.study.statistics.files; print([name for name in ('nnunetv2', 'torch') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_the_same_values_give_the_same_answer(make_values, declaration):
    first, second = (analyse(make_values(), declaration, resamples=200, seed=1) for _ in range(2))
    assert first.primary == second.primary
    pd.testing.assert_frame_equal(first.contrasts, second.contrasts)


def test_a_baseline_that_failed_leaves_the_question_open_and_the_arms_described(make_values, declaration):
    values = make_values()
    answer = analyse(values[values["arm"] != "zero_weight"], declaration, resamples=50)
    assert answer.primary is None
    assert answer.contrasts.empty
    assert set(answer.arms["arm"]) == {"source_only", "grl", "mmd", "oracle"}
    assert any("no answer yet" in text for text in answer.warnings)
