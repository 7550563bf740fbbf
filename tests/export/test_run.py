"""Which folds are taken."""

import pytest

from nnunet_da.export.run import find_run


@pytest.mark.parametrize(
    ("present", "asked", "taken"),
    [
        (("10", "2", "all"), None, ["2", "10"]),
        (("all",), None, ["all"]),
        (("0", "all"), ["all"], ["all"]),
        (("0", "1"), ["1", "0", "1"], ["1", "0"]),
    ],
)
def test_folds(tmp_path, present, asked, taken):
    (tmp_path / "plans.json").write_text('{"dataset_name": "Dataset001_X", "plans_name": "P", "configurations": {}}')
    (tmp_path / "dataset.json").write_text('{"labels": {}, "file_ending": ".nrrd"}')
    for fold in present:
        (tmp_path / f"fold_{fold}").mkdir()
        (tmp_path / f"fold_{fold}" / "checkpoint_final.pth").touch()
    assert list(find_run(tmp_path, asked).checkpoints) == taken
