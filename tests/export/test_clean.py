"""Which texts are taken for places, and which keys stay."""

import pytest

from nnunet_da.errors import UserError
from nnunet_da.export.clean import clean_description, clean_plans, refuse_paths


@pytest.mark.parametrize("text", ["/data", "/data/x.json", "~/x", "C:\\scans", "D:/scans", "\\\\server\\x", "see /mnt/a/b", "file=~/a/b"])
def test_places_are_refused(text):
    for content in (text, {"a": [text]}, {text: 1}, {"a": ({"b": text},)}):
        with pytest.raises(UserError, match="the plans must name no place"):
            refuse_paths(content, "the plans")


@pytest.mark.parametrize(
    "text", ["", "CT", "bone/marrow", "left / right", "mg/cm3", "torch.nn.modules.conv.Conv3d", "~5 mm", "a:b", "T1 (pre/post)", ".nii.gz"]
)
def test_other_texts_stay(text):
    refuse_paths({"a": [text], text: None}, "the plans")


def test_regions_and_reader_stay():
    kept = {"labels": {"bone": [1, 2]}, "regions_class_order": [1], "overwrite_image_reader_writer": "SimpleITKIO", "file_ending": ".nrrd"}
    assert clean_description(kept | {"licence": "x", "release": "y", "training": ["case"]}) == kept


def test_cascade_and_normalisation_stay():
    plans = {"plans_name": "P", "transpose_forward": [2, 0, 1], "fold_of": {"case": 0}}
    configuration = {"previous_stage": "3d_lowres", "inherits_from": "3d_fullres", "normalization_schemes": ["ZScoreNormalization"]}
    assert clean_plans(plans, "cascade", configuration, "Dataset007_X") == {
        "dataset_name": "Dataset007_X",
        "plans_name": "P",
        "transpose_forward": [2, 0, 1],
        "configurations": {"cascade": {"previous_stage": "3d_lowres", "normalization_schemes": ["ZScoreNormalization"]}},
    }
