import csv
import json
import math
from dataclasses import replace

import pytest

from nnunet_da.errors import UserError
from nnunet_da.evaluation.evaluate import Scoring, evaluate_folders
from nnunet_da.evaluation.label_maps import read_label_map
from nnunet_da.evaluation.results import manifest, write_results


@pytest.fixture
def written(folders):
    evaluation = evaluate_folders(
        folders / "references", folders / "predictions", images=folders / "images", domains="A", method="m", processes=1, progress=False
    )
    write_results(evaluation, folders / "out")
    return folders


def nnunet_summary(folders, labels, tmp_path):
    from nnunetv2.evaluation.evaluate_predictions import compute_metrics_on_folder
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    file = tmp_path / "nnunet.json"
    references, predictions = str(folders / "references"), str(folders / "predictions")
    compute_metrics_on_folder(references, predictions, str(file), SimpleITKIO(), ".nii.gz", labels, num_processes=1)
    return json.loads(file.read_text())


@pytest.mark.filterwarnings("ignore:Mean of empty slice:RuntimeWarning")
@pytest.mark.parametrize("labels", [[1, 2], [(1, 2), 2]], ids=["labels", "regions"])
def test_summary_holds_nnunets_own_keys_and_values(folders, labels, tmp_path, set_labels):
    if (1, 2) in labels:
        set_labels(folders / "predictions", {"background": 0, "whole": [1, 2], "shaft": 2})
    theirs = nnunet_summary(folders, labels, tmp_path)
    write_results(evaluate_folders(folders / "references", folders / "predictions", processes=1, progress=False), folders / "out")
    ours = json.loads((folders / "out" / "summary.json").read_text())
    assert set(ours) == set(theirs) == {"metric_per_case", "mean", "foreground_mean"}
    for case, case_ours in zip(theirs["metric_per_case"], ours["metric_per_case"], strict=True):
        assert case_ours["reference_file"] == case["reference_file"]
        assert case_ours["prediction_file"] == case["prediction_file"]
        assert_holds(case_ours["metrics"], case["metrics"])
    assert math.isnan(ours["metric_per_case"][3]["metrics"]["2"]["Dice"])
    assert ours["metric_per_case"][3]["metrics"]["2"]["dice"] == 1
    assert_holds(ours["mean"], theirs["mean"])
    assert_holds({"all": ours["foreground_mean"]}, {"all": theirs["foreground_mean"]})


def assert_holds(ours, theirs):
    assert list(ours) == list(theirs)
    for label, values in theirs.items():
        for name, value in values.items():
            assert ours[label][name] == value or (math.isnan(value) and math.isnan(ours[label][name])), (label, name)


def test_metrics_in_long_form_with_empty_for_undefined(written):
    with (written / "out" / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["case", "domain", "label", "metric", "value", "unit"]
    assert len(rows) == 4 * 2 * 13
    values = {(row["case"], row["label"], row["metric"]): row["value"] for row in rows}
    assert values["case_2", "2", "hd95_mm"] == ""
    assert float(values["case_2", "2", "dice"]) == 0
    assert float(values["case_3", "2", "hd95_mm"]) == 0
    units = {row["metric"]: row["unit"] for row in rows}
    assert (units["dice"], units["asd_mm"], units["volume_error_mm3"], units["nsd_1mm"]) == ("fraction", "mm", "mm3", "fraction")
    assert {row["domain"] for row in rows} == {"A"}


def test_manifest_finds_the_files_from_its_own_folder(written):
    manifest = json.loads((written / "out" / "evaluation.json").read_text())
    entry = manifest["cases"][1]
    for name in ("image", "reference", "prediction"):
        assert (written / "out" / entry[name]).is_file()
        assert not entry[name].startswith("/")
    assert (entry["case"], entry["domain"], entry["method"]) == ("case_1", "A", "m")
    assert entry["spacing_mm"] == pytest.approx([2.5, 0.8, 0.9])
    assert {"nnunet-da", "numpy", "edt", "SimpleITK"} <= set(entry["versions"])
    assert manifest["labels"] == {"1": "head", "2": "shaft"}
    assert {"case": "case_2", "label": "2", "metric": "hd95_mm"} in manifest["undefined"]


def test_manifest_states_the_field_of_view_and_what_was_resampled(folders, write):
    reference, _ = read_label_map(folders / "references" / "case_1.nii.gz")
    write(reference[:6], folders / "predictions" / "case_1.nii.gz")
    scoring = Scoring(nsd_mm=(1.0, 2.0), field_of_view_mm=10.0, allow_resample=True)
    evaluation = evaluate_folders(folders / "references", folders / "predictions", scoring=scoring, processes=1, progress=False)
    written = manifest(evaluation, folders)
    assert written["specificity_field_of_view"]["margin_mm"] == 10
    assert written["nsd_mm"] == [1, 2]
    assert written["labels_from"] == "predictions/dataset.json"
    assert written["cases"][0]["resampled"] is None
    assert written["cases"][0]["field_of_view_voxels"] > 0
    assert written["cases"][1]["resampled"]["covered"] == 0.75
    assert manifest(replace(evaluation, scoring=Scoring()), folders)["specificity_field_of_view"]["voxels"] == "the whole image"


def test_nothing_but_the_three_files_is_left(written):
    assert sorted(file.name for file in (written / "out").iterdir()) == ["evaluation.json", "metrics.csv", "summary.json"]


def test_refuses_to_replace_results_unless_asked(written):
    evaluation = evaluate_folders(written / "references", written / "predictions", method="other", processes=1, progress=False)
    before = (written / "out" / "evaluation.json").read_text()
    with pytest.raises(UserError, match="--overwrite"):
        write_results(evaluation, written / "out")
    assert (written / "out" / "evaluation.json").read_text() == before
    write_results(evaluation, written / "out", overwrite=True)
    assert '"other"' in (written / "out" / "evaluation.json").read_text()
