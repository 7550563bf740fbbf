import json

import numpy as np
import pytest

from nnunet_da.errors import UserError
from nnunet_da.evaluation.labels import boxes_of_values, find_dataset_json, labels_of_values, mask_of, read_labels, union


def written(tmp_path, labels):
    file = tmp_path / "dataset.json"
    file.write_text(json.dumps({"labels": labels}))
    return file


def test_labels_in_the_order_of_their_values(tmp_path):
    labels = read_labels(written(tmp_path, {"background": 0, "b": 2, "a": 1, "ignore": 3}))
    assert labels.keys == {"1": "a", "2": "b"}
    assert (labels.allowed_values, labels.ignore) == ({0, 1, 2}, 3)


def test_regions_and_keys_are_those_of_nnunet(tmp_path):
    from nnunetv2.evaluation.evaluate_predictions import label_or_region_to_key
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    declared = {"background": 0, "whole": [1, 2], "core": 2, "single": [1]}
    theirs = LabelManager(declared, regions_class_order=[1, 2, 3]).foreground_regions
    assert list(read_labels(written(tmp_path, declared)).keys) == [label_or_region_to_key(region) for region in theirs]


def test_masks_of_label_and_region():
    label_map = np.array([[[0, 1, 2, 3]]])
    assert mask_of(label_map, 2).tolist() == [[[False, False, True, False]]]
    assert mask_of(label_map, (1, 3)).tolist() == [[[False, True, False, True]]]


@pytest.mark.parametrize("large", [7, 70_000, 2_000_000_000])
def test_boxes_hold_every_value_in_one_pass(large):
    label_map = np.zeros((4, 5, 6), np.int32)
    label_map[1:3, 2, 4:] = 3
    label_map[0, 0, 0] = label_map[3, 4, 0] = large
    boxes = boxes_of_values(label_map)
    assert boxes == {3: (slice(1, 3), slice(2, 3), slice(4, 6)), large: (slice(0, 4), slice(0, 5), slice(0, 1))}
    assert union(boxes.values(), 3) == (slice(0, 4), slice(0, 5), slice(0, 6))
    assert boxes_of_values(np.zeros((2, 3), np.uint8)) == {}
    assert label_map[union([], 3)].size == 0


def test_dataset_json_where_stock_nnunet_leaves_it(tmp_path):
    model, labels = tmp_path / "results" / "T__P__C", tmp_path / "raw" / "Dataset001_A" / "labelsTr"
    for folder in (model / "fold_0" / "validation", labels):
        folder.mkdir(parents=True)
    places = [labels.parent, model, model / "fold_0" / "validation"]  # the later ones win
    assert find_dataset_json(places[-1], labels) is None
    for folder in places:
        (folder / "dataset.json").touch()
        assert find_dataset_json(places[-1], labels) == folder / "dataset.json"


def test_labels_of_values_leave_out_the_background():
    assert labels_of_values([0, 4, 2, 4]).keys == {"2": "2", "4": "4"}


@pytest.mark.parametrize("labels", [{"background": 0}, {"a": 1.5}, {"a": "one"}, {"a": []}, ["a"], None])
def test_refuses_what_is_no_dataset_json(tmp_path, labels):
    with pytest.raises(UserError, match=r"dataset\.json"):
        read_labels(written(tmp_path, labels))


def test_refuses_a_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.json"):
        read_labels(tmp_path / "nowhere.json")
