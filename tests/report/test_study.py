import json

import pytest

from nnunet_da.errors import UserError
from nnunet_da.report.study import load_study


def test_arms_in_the_order_and_with_the_names_of_the_settings(study):
    loaded = load_study(study)
    assert [arm.name for arm in loaded.arms] == ["Source only", "PF-DAformer"]
    assert loaded.domains == ["Centre A", "Centre <B> & co"]
    assert loaded.labels == {"1": "label 1"}
    hd95 = loaded.arms[0].metrics[loaded.arms[0].metrics["metric"] == "hd95_mm"]
    assert (len(hd95), hd95["value"].isna().sum()) == (2 * 3, 1)
    assert loaded.arms[0].cases["Centre A", "scan_1"].prediction.is_file()
    assert list(loaded.arms[0].curves["run"].unique()) == ["."]


def test_output_folders_are_no_arms(study):
    (study / "report.json").unlink()
    (study / "tables").mkdir()
    (study / "source_only" / "domain_0").rename(study / "tables" / "old")
    assert [arm.name for arm in load_study(study).arms] == ["adapted", "source_only"]


def test_one_evaluation_is_a_study_of_one_arm(study):
    assert [arm.name for arm in load_study(study / "adapted" / "domain_0").arms] == ["adapted"]


def test_works_without_manifest_and_curves(study):
    for file in [*study.rglob("evaluation.json"), *study.rglob("curves.csv")]:
        file.unlink()
    arm = load_study(study).arms[0]
    assert (arm.cases, len(arm.curves)) == ({}, 0)


def test_refuses_a_folder_without_evaluations(tmp_path):
    with pytest.raises(UserError, match=r"metrics\.csv was expected"):
        load_study(tmp_path)
    with pytest.raises(UserError, match="is none"):
        load_study(tmp_path / "nowhere")


def test_refuses_the_same_values_twice(study):
    (study / "adapted" / "again").mkdir()
    (study / "adapted" / "again" / "metrics.csv").write_text((study / "adapted" / "domain_0" / "metrics.csv").read_text())
    with pytest.raises(UserError, match="got two of dice for case scan_0 of Centre A"):
        load_study(study)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("case,label,metric,value\na,1,dice,1\n", "no column domain, unit"),
        ("case,domain,label,metric,value,unit\na,A,1,dice,high,fraction\n", "'high'"),
        ("case,domain,label,metric,value,unit\n", "at least one value"),
        ("", "columns"),
    ],
)
def test_refuses_metrics_of_another_layout(study, text, said):
    (study / "adapted" / "domain_0" / "metrics.csv").write_text(text)
    with pytest.raises(UserError, match=f"metrics.csv.*{said}"):
        load_study(study)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"titel": "x"}, "titel"),
        ({"demonstration": "yes"}, "'demonstration' must be of type bool"),
        ({"arms": {"nowhere": "x"}}, "nowhere"),
        ({"arms": {"adapted": "x", "source_only": "x"}}, "name of its own"),
        (["x"], "JSON object"),
    ],
)
def test_refuses_settings_it_does_not_know(study, settings, said):
    (study / "report.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match=said):
        load_study(study)


def test_refuses_a_damaged_manifest(study):
    (study / "adapted" / "domain_0" / "evaluation.json").write_text('{"cases": [{"case": "a"}]}')
    with pytest.raises(UserError, match=r"evaluation\.json"):
        load_study(study)
