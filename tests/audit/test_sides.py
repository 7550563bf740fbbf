"""Mirrored scans: by header, by content, by the converter's note."""

import numpy as np
import pytest

from nnunet_da.audit.sides import flips_by_content, orientations, seen_as, sides_noted


def thumbnails(count: int, seed: int = 0, symmetric: bool = False) -> list[np.ndarray]:
    """One lopsided shape with noise."""
    rng = np.random.default_rng(seed)
    shape = np.zeros((16, 16, 16))
    shape[4:12, 4:12, 2:8] = 1
    shape[2:6, 2:6, 4:6] = 2
    if symmetric:
        shape = shape + shape[:, :, ::-1]
    return [(shape + 0.3 * rng.normal(size=shape.shape)).astype(np.float32) for _ in range(count)]


def test_a_mirrored_scan_is_named_with_its_axis():
    scans = thumbnails(8)
    scans[6] = scans[6][:, :, ::-1]
    scans[7] = scans[7][:, ::-1]
    left_right, front_back, head_feet = flips_by_content(scans, [True] * 5 + [False] * 3)
    assert (left_right.informative, left_right.mirrored) == (True, [6])
    assert (front_back.informative, front_back.mirrored) == (True, [7])
    assert head_feet.mirrored == []


def test_a_mirrored_scan_of_the_source_shows_as_well():
    scans = thumbnails(20)
    scans[3] = scans[3][:, :, ::-1]
    assert flips_by_content(scans, [True] * 20)[0].mirrored == [3]


def test_symmetric_scans_tell_nothing():
    assert not flips_by_content(thumbnails(8, symmetric=True), [True] * 8)[0].informative


def test_a_source_of_both_sides_tells_nothing():
    scans = [scan[:, :, ::-1] if index % 2 else scan for index, scan in enumerate(thumbnails(10))]
    assert not flips_by_content(scans, [True] * 10)[0].informative


def test_two_scans_make_no_mean():
    assert not any(flips.informative for flips in flips_by_content(thumbnails(4), [True, True, False, False]))


@pytest.mark.parametrize(
    ("code", "words"),
    [("LPS", ""), ("RPS", "left-right"), ("RAS", "front-back, left-right"), ("LPI", "head-feet"), ("PSL", "with other axes")],
)
def test_headers_that_run_apart(code, words):
    counted, warning = orientations({"A": ["LPS", "LPS"], "B": [code]})
    assert counted["B"] == {code: 1}
    assert (words in warning) if words else warning == ""


def test_sides_of_the_conversion_log(tmp_path):
    (tmp_path / "conversion.csv").write_text("case,channel,side\na,0,left\na,1,left\nb,0,right\nc,0,\n")
    (tmp_path / "other").mkdir()
    assert sides_noted({"A": tmp_path, "B": tmp_path / "other"}) == {"A": {"left": 1, "right": 1}}


def test_a_right_side_mirrored_to_the_left_looks_left(tmp_path):
    (tmp_path / "conversion.csv").write_text("case,side,mirrored\na,left,\nb,right,yes\nc,right,yes\n")
    noted = sides_noted({"A": tmp_path})
    assert noted == {"A": {"right, mirrored": 2, "left": 1}}
    assert {seen_as(side) for side in noted["A"]} == {"left"}
    assert [seen_as(side) for side in ("left, mirrored", "right", "odd")] == ["right", "right", "odd"]
