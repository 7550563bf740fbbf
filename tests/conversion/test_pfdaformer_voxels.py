import numpy as np
import pytest

from nnunet_da.conversion.pfdaformer_voxels import read_volume, symmetric_part, without_padding


@pytest.mark.parametrize(
    ("planes", "expected"),
    [((60, 60), (60, 60)), ((60, 61), (60, 61)), ((61, 60), (61, 60)), ((60, 70), (60, 61)), ((0, 5), (0, 1)), ((0, 0), (0, 0))],
)
def test_symmetric_part_worked_by_hand(planes, expected):
    assert symmetric_part(*planes) == expected


@pytest.mark.parametrize("size", range(1, 193))
def test_every_size_that_was_padded_comes_back(tmp_path, size):
    before = (192 - size) // 2
    content = np.zeros((192, 1, 1), bool)
    content[before : before + size] = True
    kept, warnings = without_padding(content, tmp_path)
    assert (kept[0].start, kept[0].stop) == (before, before + size)
    assert warnings == ()


def test_axes_of_other_sizes_are_left_alone(tmp_path):
    content = np.zeros((100, 191, 192), bool)
    content[50, 95, 96] = True
    kept, _ = without_padding(content, tmp_path)
    assert kept[:2] == (slice(0, 100), slice(0, 191))


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.array([-1024, 3071], np.int64), np.int16),
        (np.array([0, 40000], np.uint16), np.int32),
        (np.array([-1024.0, 3071.0], np.float64), np.int16),
        (np.array([0.25, 1.0], np.float32), np.float32),
        (np.array([0, 1], ">i2"), np.int16),
        (np.array([False, True]), np.int16),
    ],
)
def test_smallest_type_that_keeps_the_values(tmp_path, array, dtype):
    np.save(tmp_path / "a_x.npy", array.reshape(1, 1, -1))
    voxels = read_volume(tmp_path / "a_x.npy", "zyx")
    assert voxels.dtype == dtype
    assert voxels.ravel().tolist() == array.tolist()
