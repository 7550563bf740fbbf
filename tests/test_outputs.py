"""What every verb that writes results does alike."""

import json

import numpy as np
import pytest

from nnunet_da import __version__
from nnunet_da.errors import UserError
from nnunet_da.outputs import check_output, plain_values, relative, versions_of, write_whole


def test_results_are_replaced_only_when_asked(tmp_path):
    check_output(tmp_path / "new" / "below", ["metrics.csv"], overwrite=False)
    (tmp_path / "metrics.csv").write_text("mine")
    with pytest.raises(UserError, match=r"holds metrics.csv: .*--overwrite"):
        check_output(tmp_path, ["metrics.csv", "summary.json"], overwrite=False)
    check_output(tmp_path, ["summary.json"], overwrite=False)
    check_output(tmp_path, ["metrics.csv"], overwrite=True)


@pytest.mark.parametrize("below", [".", "below", "below/that"])
def test_no_folder_can_be_where_a_file_is(tmp_path, below):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="is a file"):
        check_output(tmp_path / "file" / below, [], overwrite=True)


def test_a_file_is_whole_and_nothing_is_left_beside_it(tmp_path):
    write_whole(tmp_path / "a.txt", "ä")
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "ä"


def test_paths_move_with_their_folder(tmp_path):
    assert relative(tmp_path / "labels" / "a.nii.gz", tmp_path / "out" / "x") == "../../labels/a.nii.gz"


def test_versions_name_what_is_missing():
    found = versions_of("numpy", "no-such-package")
    assert list(found) == ["python", "nnunet-da", "numpy", "no-such-package"]
    assert (found["nnunet-da"], found["no-such-package"]) == (__version__, "unknown")


def test_values_that_json_can_hold():
    found = plain_values({1: (np.float32(0.5), np.int64(3), np.bool_(True)), "a": [float("nan"), np.float64("inf"), None, "x"]})
    assert json.loads(json.dumps(found, allow_nan=False)) == {"1": [0.5, 3, True], "a": [None, None, None, "x"]}
