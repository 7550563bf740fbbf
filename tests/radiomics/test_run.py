"""A cohort from files to tables: agreement across cases, going on after a stop, what is left out."""

import dataclasses
import json
import os

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("radiomics", reason="pyradiomics is not installed")

from nnunet_da.errors import UserError
from nnunet_da.radiomics import measure as measure_module
from nnunet_da.radiomics.cases import cohort_of_folders
from nnunet_da.radiomics.endpoints import BoneSettings
from nnunet_da.radiomics.measure import MeasureSettings, measure_case
from nnunet_da.radiomics.run import measure_cohort
from nnunet_da.radiomics.tables import tables
from nnunet_da.radiomics.text import as_text

NO_NULL = MeasureSettings(nulls_mm=())


def cohort_of(folder, predictions="predictions"):
    return cohort_of_folders(folder / "images", folder / "references", folder / predictions, "Tulane")


def measured(folder, settings=NO_NULL, predictions="predictions"):
    return measure_cohort(cohort_of(folder, predictions), settings, folder / "work", processes=1, progress=False)


def test_a_mask_agrees_with_itself(cohort_folder):
    found = tables(measured(cohort_folder, predictions="references"))
    defined = found.agreement[~found.agreement["constant"]]
    assert len(found.agreement) == 107
    assert len(defined) > 100
    assert (defined[["icc_a1", "icc_low", "icc_high"]] == 1).all(axis=None)
    assert np.allclose(defined[["ccc", "pearson_r"]], 1)
    assert (found.agreement["bias"] == 0).all()
    assert (found.endpoint_agreement["r2_identity"] == 1).all()


def test_agreement_is_across_cases_and_not_within_one(cohort_folder, write):
    """The paper's public code correlates the features of one case: near 1 for any mask. Here the masks are strangers' masks."""
    masks = [path for path in sorted((cohort_folder / "references").iterdir())]
    (cohort_folder / "strangers").mkdir()
    for index, path in enumerate(masks):  # the smallest bone gets the mask of the third, and so on
        (cohort_folder / "strangers" / path.name).write_bytes(masks[(index + 2) % 5].read_bytes())
    found = tables(measured(cohort_folder, predictions="strangers"))
    wide = found.features.pivot_table(index=["case", "feature"], columns="mask", values="value")
    within = [np.corrcoef(group["reference"], group["prediction"])[0, 1] for _, group in wide.groupby("case")]
    volume = found.agreement.set_index("feature").loc["original_shape_VoxelVolume"]
    assert min(within) > 0.99
    assert volume["n"] == 5
    assert volume["pearson_r"] < 0.3
    assert volume["ccc"] < 0.3
    per_case = wide.xs("original_shape_VoxelVolume", level="feature")
    assert volume["pearson_r"] == pytest.approx(np.corrcoef(per_case["reference"], per_case["prediction"])[0, 1])


def test_the_null_shows_what_correlation_hides(cohort_folder):
    found = tables(measured(cohort_folder, MeasureSettings(nulls_mm=(1.0,)), predictions="references"))
    volume = found.endpoint_agreement.query("endpoint == 'volume_mm3'").set_index("mask")
    assert list(volume.index) == ["prediction", "reference_eroded_1mm", "reference_dilated_1mm"]
    eroded = volume.loc["reference_eroded_1mm"]
    assert eroded["pearson_r"] > 0.99
    assert eroded["bias_percent"] < -15
    assert eroded["ccc"] < 0.85
    assert eroded["r2_correlation"] > 0.98 > 0.6 > eroded["r2_identity"]
    thickness = found.endpoint_agreement.query("endpoint == 'cortical_thickness_mm'").set_index("mask")["bias"]
    assert thickness["reference_dilated_1mm"] == pytest.approx(1, abs=0.25)


def test_an_empty_mask_is_undefined_counted_and_in_no_mean(cohort_folder):
    radiomics = measured(cohort_folder)
    assert [(case.case, mask, reason) for case, _, mask, reason in radiomics.undefined()] == [("case_4", "prediction", "empty mask")]
    found = tables(radiomics)
    assert set(found.agreement["n"]) == {4}
    assert set(found.agreement["n_undefined"]) == {1}
    volume = found.endpoint_agreement.set_index("endpoint").loc["volume_mm3"]
    assert volume["n"] == 5  # an empty mask has a volume


def test_masks_too_small_for_any_feature_still_have_endpoints(cohort_folder, write):
    for path in (cohort_folder / "references").iterdir():
        mask = np.zeros((14, 36, 36), np.uint8)
        mask[7, 18, 18] = 1
        write(mask, path)
    radiomics = measured(cohort_folder, predictions="references")
    found = tables(radiomics)
    assert {reason for *_, reason in radiomics.undefined()} == {"one voxel"}
    assert found.agreement.empty
    text = as_text(radiomics, found)
    assert "0 features" in text
    assert "volume_mm3" in text


def test_one_case_says_what_it_cannot(cohort_folder):
    cohort = cohort_of(cohort_folder)
    one = dataclasses.replace(cohort, cases=cohort.cases[:1])
    radiomics = measure_cohort(one, NO_NULL, cohort_folder / "work", processes=1, progress=False)
    found = tables(radiomics)
    assert set(found.agreement["note"]) == {"one case: nothing can be said across cases"}
    assert found.agreement[["pearson_r", "icc_a1", "ccc"]].isna().all(axis=None)
    assert found.agreement["bias"].notna().all()
    assert "-" in as_text(radiomics, found)


def test_goes_on_after_a_stop_and_measures_anew_what_changed(cohort_folder, monkeypatch):
    first = measured(cohort_folder)
    assert first.reused == 0
    (cohort_folder / "work" / "Tulane" / "case_1.json").unlink()
    (cohort_folder / "work" / "Tulane" / "case_2.json").write_text("{")  # damaged
    seen = []
    monkeypatch.setattr("nnunet_da.radiomics.run.measure_case", lambda case, *rest: seen.append(case.case) or measure_case(case, *rest))
    second = measured(cohort_folder)
    assert seen == ["case_1", "case_2"]
    assert second.reused == 3
    pd.testing.assert_frame_equal(tables(first).features, tables(second).features)
    os.utime(cohort_folder / "predictions" / "case_3.nii.gz")
    seen.clear()
    measured(cohort_folder)
    assert seen == ["case_3"]
    seen.clear()
    measured(cohort_folder, MeasureSettings(nulls_mm=(1.0,)))
    assert len(seen) == 5
    seen.clear()
    measured(cohort_folder, MeasureSettings(nulls_mm=(1.0,), bone=BoneSettings(calibration=(0.8, 5.0))))
    assert len(seen) == 5


def test_a_kill_leaves_whole_files(cohort_folder, monkeypatch):
    def killed_at_two(case, *rest):
        if case.case == "case_2":
            raise KeyboardInterrupt
        return measure_case(case, *rest)

    monkeypatch.setattr("nnunet_da.radiomics.run.measure_case", killed_at_two)
    with pytest.raises(KeyboardInterrupt):
        measured(cohort_folder)
    files = sorted((cohort_folder / "work" / "Tulane").iterdir())
    assert [file.name for file in files] == ["case_0.json", "case_1.json"]
    assert all(json.loads(file.read_text())["key"] for file in files)
    monkeypatch.undo()
    assert measured(cohort_folder).reused == 2


def test_processes_give_the_same(cohort_folder):
    alone = tables(measured(cohort_folder))
    together = tables(measure_cohort(cohort_of(cohort_folder), NO_NULL, cohort_folder / "more", processes=2, progress=False))
    for name in ("features", "agreement", "endpoints", "endpoint_agreement"):
        pd.testing.assert_frame_equal(getattr(alone, name), getattr(together, name))


def test_a_damaged_file_is_listed_and_the_rest_measured(cohort_folder):
    file = cohort_folder / "predictions" / "case_1.nii.gz"
    file.write_bytes(file.read_bytes()[:50])
    radiomics = measured(cohort_folder)
    assert list(radiomics.failed) == ["Tulane/case_1"]
    assert len(radiomics.cases) == 4


def test_refuses_another_grid(cohort_folder, write, make_bone):
    write(make_bone(1, 8)[1].astype(np.uint8), cohort_folder / "predictions" / "case_1.nii.gz", spacing_mm=(2.0, 1.0, 1.1))
    with pytest.raises(UserError, match="image and prediction must have the same spacing"):
        measured(cohort_folder)
    assert not list(cohort_folder.rglob("case_0.json"))  # seen before any case was measured


def test_the_ignore_label_is_left_out(cohort_folder, write, make_bone):
    _, mask = make_bone(1, 9)
    reference, prediction = mask.astype(np.uint8), mask.astype(np.uint8)
    reference[:5] = 2
    write(reference, cohort_folder / "references" / "case_1.nii.gz")
    write(prediction, cohort_folder / "predictions" / "case_1.nii.gz")
    description = {"labels": {"background": 0, "bone": 1, "ignore": 2}, "channel_names": {"0": "CT"}, "file_ending": ".nii.gz"}
    (cohort_folder / "predictions" / "dataset.json").write_text(json.dumps(description))
    cohort = cohort_of(cohort_folder)
    values = measure_case(cohort.cases[1], cohort.labels, NO_NULL).labels["1"]
    assert values["prediction"].features == values["reference"].features


def test_no_crop_gives_the_same_values_of_everything(cohort_folder, monkeypatch):
    cohort = cohort_of(cohort_folder)
    cropped = measure_case(cohort.cases[2], cohort.labels, MeasureSettings())
    monkeypatch.setattr(measure_module, "bounding_box", lambda mask, margin: tuple(slice(0, size) for size in mask.shape))
    whole = measure_case(cohort.cases[2], cohort.labels, MeasureSettings())
    for mask, values in whole.labels["1"].items():
        assert cropped.labels["1"][mask].features == values.features
        assert cropped.labels["1"][mask].endpoints == pytest.approx(values.endpoints, rel=1e-9)


@pytest.mark.parametrize("nulls_mm", [(0.0,), (-1.0,), (1.0, 1.0), (float("nan"),)])
def test_refuses_impossible_nulls(nulls_mm):
    with pytest.raises(UserError, match="above 0 mm"):
        MeasureSettings(nulls_mm=nulls_mm)
