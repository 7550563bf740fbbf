"""AIM and ISQ files are made here by hand, byte by byte as the format's description says, and by itk-ioscanco's own writer."""

import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from nnunet_da.conversion.scanco import is_scanco, read_header, read_stored
from nnunet_da.conversion.scanco_calibration import Calibration, calibrate
from nnunet_da.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:builtin type [sS]wig")  # itk's own, while it is imported
itk = pytest.importorskip("itk", reason="needs the extra hrpqct")

EDGE_MM, MU_SCALING, MU_WATER, SLOPE, INTERCEPT = 0.0607, 8192, 0.2409, 1603.51904, -391.209015
CHAR, SHORT, FLOAT, TWO_VALUES, PACKED_BITS = 0x00010001, 0x00020002, 0x001A0004, 0x00150001, 0x00060001
LOG = f"""!
! Processing Log
!
!-------------------------------------------------------------------------------
Created by                    ISQ_TO_AIM (IPL)
Time                          21-NOV-2025 10:11:12.13
Original Creation-Date        20-NOV-2025 09:08:07.06
Orig-ISQ-Dim-p                                      2304      2304       168
Orig-ISQ-Dim-um                                   139852    139852     10198
!-------------------------------------------------------------------------------
Patient Name                  phantom
Index Patient                                       123
Index Measurement                                   456
!-------------------------------------------------------------------------------
Site                                                 38
Scanner ID                                         3401
Scanner type                                          9
Position Slice 1 [um]                             81234
Energy [V]                                        68000
Intensity [uA]                                     1470
!-------------------------------------------------------------------------------
Mu_Scaling                                         {MU_SCALING}
Calibration Data              68 kVp, BH: 200 mg HA/ccm, Scaling 8192
Calib. default unit type      2 (Density)
Density: unit                 mg HA/ccm
Density: slope                         {SLOPE}
Density: intercept                    {INTERCEPT}
HU: mu water                                  {MU_WATER}
!-------------------------------------------------------------------------------
Minimum data value                              -2813.00000
Maximum data value                              30115.00000
"""


def vax(value, kind):
    """A float of the VAX: exponent two larger, 16-bit words with the highest first."""
    bits = struct.pack(f">{kind}", 4 * value)
    return b"".join(bits[at : at + 2][::-1] for at in range(0, len(bits), 2))


def write_aim(path, voxels, version=20, position=(0, 0, 0), data_type=None, frame=(0, 0, 0), log=LOG, data=None):
    """Voxels (Z, Y, X) int16 or int8; the position in voxels X, Y, Z."""
    data_type = data_type or (SHORT if voxels.dtype == np.int16 else CHAR)
    data = voxels.tobytes() if data is None else data
    size = voxels.shape[::-1]
    if version == 20:
        grid = [*position, *size, *frame, 0, 0, 0, 0, 0, 0, *size, 0, 0, 0]
        part = struct.pack("<6i21i", 16, 0, 0, 0, 0, data_type, *grid) + 3 * vax(EDGE_MM, "f") + bytes(20)
        head = struct.pack("<5i", 20, len(part), len(log), len(data), 0)
    else:
        grid = [*position, *size, *frame, 0, 0, 0, 0, 0, 0, *size, 0, 0, 0, *3 * [round(EDGE_MM * 1e6)]]
        part = struct.pack("<4i24q4i", 24, 0, 0, data_type, *grid, 0, 0, 0, 0)
        head = b"AIMDATA_V030   \0" + struct.pack("<5q", 40, len(part), len(log), len(data), 0)
    Path(path).write_bytes(head + part + log.encode() + data)
    return Path(path)


def write_isq(path, voxels, calibrated=True):
    """Voxels (Z, Y, X) int16."""
    size = voxels.shape[::-1]
    start = struct.pack(
        "<16s5i8x3i3i", b"CTDATA-HEADER_V1", 3, voxels.nbytes, voxels.nbytes // 512, 123, 3401, *size, *(round(n * 60.7) for n in size)
    )
    start += struct.pack(
        "<15i40s2i", 61, 61, 81234, -2813, 30115, MU_SCALING, 2304, 900, 139852, 9, 43000, 456, 38, 81234, 3, b"phantom", 68000, 1470
    )
    multi = bytearray(512)
    multi[8:24] = b"MultiHeader     "
    entry = bytearray(512)
    entry[8:24], entry[24:28] = b"Calibration     ", struct.pack("<i", 2)
    block = bytearray(1024)
    block[28:92] = b"68 kVp, BH: 200 mg HA/ccm, Scaling 8192".ljust(64)
    block[632:636], block[648:664] = struct.pack("<i", 2), b"mg HA/ccm".ljust(16)
    block[664:672], block[672:680], block[688:696] = vax(SLOPE, "d"), vax(INTERCEPT, "d"), vax(MU_WATER, "d")
    more = bytes(multi) + bytes(entry) + bytes(block) if calibrated else b""
    head = start.ljust(508, b"\0") + struct.pack("<i", len(more) // 512)
    Path(path).write_bytes(head + more + voxels.tobytes())
    return Path(path)


@pytest.fixture
def voxels():
    """Values of air, water, soft tissue and bone, and the extremes."""
    voxels = np.random.default_rng(0).integers(-2813, 30115, (4, 6, 5)).astype(np.int16)
    voxels[0, 0] = [0, 1973, 8192, 32767, -32768]  # 1973 / 8192 is the attenuation of water
    return voxels


@pytest.mark.parametrize("version", [20, 30])
def test_aim_by_hand(tmp_path, voxels, version):
    header, stored = read_stored(write_aim(tmp_path / "a.AIM", voxels, version, position=(-3, 100, 2047)), mask=False)
    np.testing.assert_array_equal(stored, voxels)
    assert stored.dtype == np.int16
    assert header.size_xyz == (5, 6, 4)
    assert header.spacing_mm_xyz == pytest.approx([EDGE_MM] * 3, rel=1e-6)
    assert header.origin_mm_xyz == pytest.approx([-3 * EDGE_MM, 100 * EDGE_MM, 2047 * EDGE_MM], abs=1e-3)
    assert header.calibration == Calibration(MU_SCALING, MU_WATER, SLOPE, INTERCEPT, "mg HA/ccm")
    assert header == read_header(tmp_path / "a.AIM")


def test_isq_by_hand(tmp_path, voxels):
    header, stored = read_stored(write_isq(tmp_path / "a.ISQ", voxels), mask=False)
    np.testing.assert_array_equal(stored, voxels)
    assert header.spacing_mm_xyz == pytest.approx([0.304 / 5, 0.364 / 6, 0.243 / 4])  # the whole length in whole micrometres
    calibration = header.calibration
    assert (calibration.mu_scaling, calibration.density_unit) == (MU_SCALING, "mg HA/ccm")
    assert (calibration.mu_water_per_cm, calibration.density_slope, calibration.density_intercept) == pytest.approx(
        (MU_WATER, SLOPE, INTERCEPT)
    )


@pytest.mark.parametrize("suffix", [".aim", ".isq"])
def test_files_of_the_readers_own_writer(tmp_path, voxels, suffix):
    """Its writer keeps the header; it stores from whole HU, so two stored values may be off."""
    theirs = itk.imread(str(write_aim(tmp_path / "by_hand.aim", voxels[1:])))
    itk.imwrite(theirs, str(tmp_path / f"a{suffix}"))
    header, stored = read_stored(tmp_path / f"a{suffix}", mask=False)
    assert np.abs(stored.astype(int) - voxels[1:]).max() <= 2
    assert header.calibration.density() == pytest.approx((SLOPE / MU_SCALING, INTERCEPT))
    assert header.calibration.hu() == pytest.approx((1000 / (MU_SCALING * MU_WATER), -1000))


@pytest.mark.parametrize("suffix", [".aim", ".isq"])
def test_values_that_are_no_attenuation(tmp_path, suffix):
    image = itk.image_from_array(np.zeros((2, 3, 4), np.int16))
    metadata = image.GetMetaDataDictionary()
    metadata["CreationDate"] = "20-NOV-2025 09:08:07.060"
    image.SetMetaDataDictionary(metadata)
    itk.imwrite(image, str(tmp_path / f"a{suffix}"))
    for call in (read_header(tmp_path / f"a{suffix}").calibration.hu, read_header(tmp_path / f"a{suffix}").calibration.density):
        with pytest.raises(UserError, match="Mu_Scaling, which is 1 here"):
            call()


def test_hu_and_density_worked_by_hand():
    calibration = Calibration(MU_SCALING, MU_WATER, SLOPE, INTERCEPT, "mg HA/ccm")
    stored = np.array([[[0, 1973, 8192]]], np.int16)  # attenuation 0, 0.24085 and 1 per cm
    assert calibrate(stored.copy(), *calibration.hu()).tolist() == [[[-1000, 0, 3151]]]  # 1000 / 0.2409 - 1000 = 3151.1
    assert calibrate(stored.copy(), *calibration.density()).tolist() == [[[-391, -5, 1212]]]  # 1603.519 - 391.209 = 1212.31


def test_values_beyond_16_bit_stay_exact():
    values = calibrate(np.array([[[-32768, 0, 32767]]], np.int16), 1.5, -1000)
    assert values.dtype == np.float32
    assert values.tolist() == [[[-50152, -1000, 48150]]]  # 32767 x 1.5 - 1000 = 48150.5, to even


def test_the_readers_own_hu_are_ours_but_for_rounding(tmp_path, voxels):
    path = write_aim(tmp_path / "a.aim", voxels[1:])
    theirs = itk.array_from_image(itk.imread(str(path))).astype(float)
    header, stored = read_stored(path, mask=False)
    assert np.abs(calibrate(stored.copy(), *header.calibration.hu()) - theirs).max() <= 1


@pytest.mark.parametrize("version", [20, 30])
@pytest.mark.parametrize("compressed", [False, True])
def test_masks_keep_their_values(tmp_path, version, compressed):
    mask = np.zeros((2, 3, 4), np.int8)
    mask[1, 1:] = 127
    runs = struct.pack("<2B", 0, 127) + bytes([16, 8])  # 16 voxels of 0, then 8 of 127
    data = struct.pack("<i" if version == 20 else "<q", len(runs) + (4 if version == 20 else 8)) + runs if compressed else None
    path = write_aim(tmp_path / "a.aim", mask, version, data_type=TWO_VALUES if compressed else CHAR, data=data)
    _, stored = read_stored(path, mask=True)
    np.testing.assert_array_equal(stored, mask)
    assert stored.dtype == np.uint8


def test_numbered_names_and_other_endings(tmp_path, voxels):
    path = write_aim(tmp_path / "D0001234.AIM;2", voxels)
    assert is_scanco(path)
    assert not is_scanco(Path("a.nii.gz"))
    np.testing.assert_array_equal(read_stored(path, mask=False)[1], voxels)


def test_files_without_calibration(tmp_path, voxels):
    """The reader would take 0.7033 per cm for water, three times the true value."""
    bare = "\n".join(line for line in LOG.splitlines() if not line.startswith(("HU:", "Density:"))) + "\n"
    for path in (write_aim(tmp_path / "a.aim", voxels, log=bare), write_isq(tmp_path / "a.isq", voxels, calibrated=False)):
        header, stored = read_stored(path, mask=False)
        np.testing.assert_array_equal(stored, voxels)
        with pytest.raises(UserError, match="--mu-water"):
            header.calibration.hu()
        with pytest.raises(UserError, match="the header holds none"):
            header.calibration.density()


def test_density_in_another_unit_is_refused():
    with pytest.raises(UserError, match="the header's is in '1/cm'"):
        Calibration(MU_SCALING, MU_WATER, 1.0, 0.0, "1/cm").density()


@pytest.mark.parametrize("start", [b"AIMDATA_V040   \0", b"CTDATA-HEADER_V2", b"not a scan", b""])
def test_unknown_version(tmp_path, voxels, start):
    path = write_aim(tmp_path / "a.aim", voxels)
    path.write_bytes(start + path.read_bytes()[len(start) :] if start else b"")
    with pytest.raises(UserError, match=r"version 020 or 030|header is truncated"):
        read_header(path)


@pytest.mark.parametrize("keep", [40, 200, 1500, -1])
@pytest.mark.parametrize("version", [20, 30])
def test_truncated(tmp_path, voxels, keep, version):
    path = write_aim(tmp_path / "a.aim", voxels, version)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match="truncated"):
        read_stored(path, mask=False)


def test_truncated_isq(tmp_path, voxels):
    path = write_isq(tmp_path / "a.isq", voxels)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="1 bytes are missing"):
        read_stored(path, mask=False)


@pytest.mark.parametrize("data_type", [FLOAT, PACKED_BITS, 0x12345678])
def test_types_the_reader_misreads_are_refused(tmp_path, voxels, data_type):
    with pytest.raises(UserError, match="export it as char or short"):
        read_header(write_aim(tmp_path / "a.aim", voxels, data_type=data_type))


def test_compressed_with_a_frame_is_refused_and_plain_is_not(tmp_path, voxels):
    with pytest.raises(UserError, match="export it uncompressed"):
        read_header(write_aim(tmp_path / "a.aim", voxels, data_type=TWO_VALUES, frame=(1, 1, 1)))
    assert read_header(write_aim(tmp_path / "a.aim", voxels, frame=(2, 1, 0))).frame_xyz == (2, 1, 0)


def test_a_mask_is_no_scan(tmp_path):
    with pytest.raises(UserError, match="is it a mask"):
        read_stored(write_aim(tmp_path / "a.aim", np.zeros((2, 2, 2), np.int8)), mask=False)


def test_names_the_missing_extra(tmp_path, voxels, monkeypatch):
    monkeypatch.setitem(sys.modules, "itk", None)
    with pytest.raises(UserError, match=r"nnunet-da\[hrpqct\]"):
        read_header(write_aim(tmp_path / "a.aim", voxels))
