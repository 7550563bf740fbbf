import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_da.conversion.femur_crop import Box, place_box
from nnunet_da.conversion.label_values import renumbered
from nnunet_da.errors import UserError


def renumber(voxels, sources=(("3", "5"), ("1",)), others=("7",), drop=False):
    return sitk.GetArrayFromImage(renumbered(Path("label.nii"), sitk.GetImageFromArray(voxels), sources, others, drop))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int64, np.float32])
def test_values_worked_by_hand(dtype):
    voxels = np.array([[[0, 1, 3], [5, 7, 0]]], dtype)
    found = renumber(voxels)
    assert found.dtype == np.uint8
    assert found.tolist() == [[[0, 2, 1], [1, 0, 0]]]


def test_values_nobody_named():
    voxels = np.array([[[0, 1, 300]]], np.uint16)
    with pytest.raises(UserError, match="nobody named: 300"):
        renumber(voxels)
    assert renumber(voxels, drop=True).tolist() == [[[0, 2, 0]]]


@pytest.mark.parametrize("value", [-1, 0.5, 70000, 1e12])
def test_no_label_map(value):
    with pytest.raises(UserError, match="is it an image"):
        renumber(np.array([[[0, value]]], np.float64))


def test_a_label_takes_few_copies_of_its_bytes():
    """NumPy's part of the peak, in volumes of 16 bits: an int64 copy alone would be four."""
    voxels = np.zeros((60, 128, 128), np.int16)
    voxels[10:50, 30:90, 70:120], voxels[10:50, 30:90, 5:50] = 3, 1
    image = sitk.GetImageFromArray(voxels)
    tracemalloc.start()
    label = renumbered(Path("label.nii"), image, (("3", "1"),), (), False)
    place_box(Box((64, 20), (128, 100)), sitk.GetArrayViewFromImage(label))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.5 * voxels.nbytes
