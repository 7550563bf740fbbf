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
    (study / "tables" / "summary.csv").write_text("x")
    assert [arm.name for arm in load_study(study).arms] == ["adapted", "source_only"]


@pytest.mark.parametrize("name", ["figures", "tables"])
def test_refuses_an_arm_where_the_report_writes(study, name):
    (study / "report.json").unlink()
    (study / "adapted").rename(study / name)
    with pytest.raises(UserError, match=f"{name} is for the report's own files, but holds a metrics.csv: rename"):
        load_study(study)


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
        ("case,domain,label,metric,value,unit\n", "no value"),
        ("case,domain,label,metric,value,unit\na,A,1,dice,inf,fraction\n", "infinite"),
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
        ({"arms": {"adapted": "source_only"}}, "name of its own"),  # the other arm's folder
        (["x"], "JSON object"),
    ],
)
def test_refuses_settings_it_does_not_know(study, settings, said):
    (study / "report.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match=said):
        load_study(study)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"cases": [{"case": "a"}]}, "domain|reference"),
        ({"cases": None}, "cases = None"),
        ({"layout": 99}, "must have layout 1, got 99"),
        ({"labels": None}, "labels = None"),
        ({"failed": []}, r"failed = \[\]"),
        ({"cases": [{"case": "a", "domain": "A", "reference": "r", "prediction": "p", "versions": None}]}, "versions = None"),
        ({"specificity_field_of_view": {"voxels": "all"}}, "specificity_field_of_view"),
    ],
)
def test_refuses_a_damaged_manifest(study, changed, said):
    file = study / "adapted" / "domain_0" / "evaluation.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))
    with pytest.raises(UserError, match=rf"evaluation\.json.*({said})") as error:
        load_study(study)
    assert "\n" not in str(error.value)


def test_the_field_of_view_of_specificity_by_domain(study):
    file = study / "adapted" / "domain_1" / "evaluation.json"
    view = {"voxels": "the box", "margin_mm": 20}
    file.write_text(json.dumps(json.loads(file.read_text()) | {"specificity_field_of_view": view}))
    assert load_study(study).arms[1].fields_of_view == {"Centre A": "the whole image", "Centre <B> & co": "the box of 20 mm"}
