import pytest

from nnunet_da.conversion.standing import refuse_overlap
from nnunet_da.errors import UserError


def test_inputs_and_outputs_apart(tmp_path):
    refuse_overlap([tmp_path / "scans" / "a.nii.gz", tmp_path / "out2"], [tmp_path / "out"])


@pytest.mark.parametrize(("source", "output"), [("out/a.nii.gz", "out"), ("scans", "scans/out"), ("same", "same")])
def test_overlap_is_refused(tmp_path, source, output):
    with pytest.raises(UserError, match="must lie outside the output"):
        refuse_overlap([tmp_path / source], [tmp_path / output])


def test_links_are_followed(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").touch()
    (tmp_path / "link").symlink_to(tmp_path / "out" / "a")
    with pytest.raises(UserError, match="overlap"):
        refuse_overlap([tmp_path / "link"], [tmp_path / "out"])
