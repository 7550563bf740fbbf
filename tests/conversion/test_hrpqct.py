import csv
import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_da import paths
from nnunet_da.cli.main import main
from nnunet_da.conversion import scanco

pytestmark = pytest.mark.filterwarnings("ignore:builtin type [sS]wig")  # itk's own, while it is imported
pytest.importorskip("itk", reason="needs the extra hrpqct")
specification = importlib.util.spec_from_file_location("scanco_files", Path(__file__).with_name("test_scanco.py"))
files = importlib.util.module_from_spec(specification)  # it makes AIM and ISQ files
specification.loader.exec_module(files)

HU_SLOPE = 1000 / (files.MU_WATER * files.MU_SCALING)


@pytest.fixture
def raw(nnunet_folders) -> Path:
    return nnunet_folders / "nnUNet_raw"


def scan(seed=0, shape=(4, 20, 16)):
    """Noise with a bright corner; Z, Y, X."""
    stored = np.random.default_rng(seed).integers(1000, 3000, shape).astype(np.int16)
    stored[1, 2, 3] = 25000
    return stored


@pytest.fixture
def scans(tmp_path) -> Path:
    """Scans D1 and D2 at a position, with a mask cut to a box inside."""
    for number in (1, 2):
        files.write_aim(tmp_path / f"D{number}.AIM", scan(number), position=(100, 200, -30))
        mask = np.zeros((2, 5, 6), np.int8)
        mask[0, 1, 2], mask[1] = 127, 126
        files.write_aim(tmp_path / f"D{number}_MASK.AIM", mask, position=(101, 201, -29))
    return tmp_path


@pytest.fixture
def convert(scans, raw):
    def run(*more, images="D?*.AIM", dataset=("-d", "101", "--name", "XCT")):
        images = str(scans / "grey") if images == "D?*.AIM" else images
        if not (scans / "grey").exists():
            (scans / "grey").mkdir()
            for number in (1, 2):
                (scans / f"D{number}.AIM").rename(scans / "grey" / f"D{number}.AIM")
        return main(["convert", "hrpqct", "-i", images, *dataset, "--processes", "1", *more])

    return run


def read(path):
    return sitk.ReadImage(str(path))


def test_hu_grid_and_log(convert, raw):
    assert convert() == 0
    folder = raw / "Dataset101_XCT"
    image = read(folder / "imagesTr/D1_0000.nii.gz")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), np.rint(scan(1) * HU_SLOPE - 1000).astype(np.int16))
    assert image.GetPixelID() == sitk.sitkInt16
    expected = [(3 + 100) * files.EDGE_MM, (2 + 200) * files.EDGE_MM, (1 - 30) * files.EDGE_MM]
    assert image.TransformIndexToPhysicalPoint((3, 2, 1)) == pytest.approx(expected, abs=1e-3)  # the bright voxel
    with (folder / "conversion.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert row["unit"] == "HU"
    assert float(row["slope"]) == pytest.approx(HU_SLOPE)
    assert "phantom" not in (folder / "conversion.csv").read_text()  # the patient's name in the header
    assert not (folder / "labelsTr").exists()


def test_density(convert, raw):
    assert convert("--density") == 0
    voxels = sitk.GetArrayFromImage(read(raw / "Dataset101_XCT/imagesTr/D2_0000.nii.gz"))
    np.testing.assert_array_equal(voxels, np.rint(scan(2) * (files.SLOPE / files.MU_SCALING) + files.INTERCEPT))


def test_mask_values_become_labels_at_their_position(convert, scans, raw):
    assert convert("-l", str(scans / "*_MASK.AIM"), "--label", "marrow=126", "--label", "bone=127") == 0
    folder = raw / "Dataset101_XCT"
    label, image = read(folder / "labelsTr/D1.nii.gz"), read(folder / "imagesTr/D1_0000.nii.gz")
    expected = np.zeros((4, 20, 16), np.uint8)
    expected[1, 2, 3], expected[2, 1:6, 1:7] = 2, 1
    np.testing.assert_array_equal(sitk.GetArrayFromImage(label), expected)
    assert label.GetOrigin() == image.GetOrigin()
    assert json.loads((folder / "dataset.json").read_text())["labels"] == {"background": 0, "marrow": 1, "bone": 2}


def test_one_file_per_label(convert, scans, raw):
    for number in (1, 2):
        files.write_aim(scans / f"D{number}_SKIN.AIM", np.full((4, 20, 16), 127, np.int8), 30, position=(100, 200, -30))
    assert convert("--mask", f"skin={scans}/*_SKIN.AIM", "--mask", f"bone={scans}/*_MASK.AIM") == 0
    label = sitk.GetArrayFromImage(read(raw / "Dataset101_XCT/labelsTr/D1.nii.gz"))
    assert label[1, 2, 3] == 2
    assert np.bincount(label.ravel()).tolist() == [0, 4 * 20 * 16 - 31, 31]
    with (raw / "Dataset101_XCT/conversion.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert "masks overlap in 31 voxels" in row["warnings"]
    assert row["masks"] == f"{scans}/D1_SKIN.AIM; {scans}/D1_MASK.AIM"


def test_label_maps_drawn_elsewhere(convert, scans, raw):
    """A person exported the scan as NIfTI, drew on it, and the origin went through float32."""
    assert convert() == 0
    image = read(raw / "Dataset101_XCT/imagesTr/D1_0000.nii.gz")
    drawn = sitk.Cast(image > 2000, sitk.sitkInt16)
    drawn.CopyInformation(image)
    (scans / "drawn").mkdir()
    for name in ("D1", "D2"):
        sitk.WriteImage(drawn, str(scans / "drawn" / f"{name}.nii.gz"))
    assert convert("-l", str(scans / "drawn"), "--label", "bone=1", "--overwrite") == 0
    label = sitk.GetArrayFromImage(read(raw / "Dataset101_XCT/labelsTr/D1.nii.gz"))
    np.testing.assert_array_equal(label, sitk.GetArrayFromImage(drawn))


def test_slices_are_two_dimensional_for_nnunet(convert, scans, raw, monkeypatch):
    reads = []
    original = scanco.read_stored
    monkeypatch.setattr(scanco, "read_stored", lambda path, **more: reads.append(path.name) or original(path, **more))
    assert convert("--slices", "-l", str(scans / "*_MASK.AIM"), "--label", "marrow=126", "--label", "bone=127", "--folds", "2") == 0
    assert sorted(reads) == ["D1.AIM", "D1_MASK.AIM", "D2.AIM", "D2_MASK.AIM"]  # each file once, not once per slice
    from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    folder = raw / "Dataset101_XCT"
    names = sorted(path.name for path in (folder / "imagesTr").iterdir())
    assert names == [f"D{number}_z{index:04d}_0000.nii.gz" for number in (1, 2) for index in range(4)]
    voxels, properties = SimpleITKIO().read_images([str(folder / "imagesTr/D1_z0001_0000.nii.gz")])
    assert voxels.shape == (1, 1, 20, 16)
    np.testing.assert_array_equal(voxels[0, 0], np.rint(scan(1)[1] * HU_SLOPE - 1000))
    assert properties["spacing"] == pytest.approx([999 * files.EDGE_MM, files.EDGE_MM, files.EDGE_MM], rel=1e-5)
    label, _ = SimpleITKIO().read_seg(str(folder / "labelsTr/D1_z0002.nii.gz"))
    assert np.bincount(label.astype(int).ravel()).tolist() == [290, 30]
    verify_dataset_integrity(str(folder), num_processes=1)
    folds = json.loads((folder / "splits_final.json").read_text())
    assert [{case[:2] for case in fold["val"]} for fold in folds] in ([{"D1"}, {"D2"}], [{"D2"}, {"D1"}])  # slices of a scan together


def test_stock_nnunet_plans_the_slices_in_2d(convert, scans, raw):
    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprint_dataset, plan_experiment_dataset

    assert convert("--slices", "-l", str(scans / "*_MASK.AIM"), "--label", "marrow=126", "--label", "bone=127", "--folds", "2") == 0
    extract_fingerprint_dataset(101, num_processes=1, check_dataset_integrity=False)
    plans, _ = plan_experiment_dataset(101)
    assert list(plans["configurations"]) == ["2d"]
    assert plans["configurations"]["2d"]["spacing"] == pytest.approx([files.EDGE_MM] * 2, rel=1e-5)


def test_isq_and_numbered_names(scans, raw, tmp_path):
    folder = tmp_path / "isq"
    folder.mkdir()
    files.write_isq(folder / "C0001.ISQ", scan(1))
    files.write_aim(folder / "D0002.AIM;1", scan(2))
    files.write_aim(folder / "D0002.AIM;12", scan(3))
    assert main(["convert", "hrpqct", "-i", str(folder), "-o", str(tmp_path / "out"), "--processes", "1"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").glob("*.nii.gz")) == ["C0001_0000.nii.gz", "D0002_0000.nii.gz"]
    newest = sitk.GetArrayFromImage(read(tmp_path / "out/D0002_0000.nii.gz"))
    np.testing.assert_array_equal(newest, np.rint(scan(3) * HU_SLOPE - 1000))


def test_water_for_files_that_do_not_hold_it(raw, tmp_path, capsys):
    folder = tmp_path / "isq"
    folder.mkdir()
    files.write_isq(folder / "C0001.ISQ", scan(1), calibrated=False)
    command = ["convert", "hrpqct", "-i", str(folder), "-d", "101", "--name", "A", "--processes", "1"]
    assert main(command) == 1
    assert "give it with --mu-water" in capsys.readouterr().err
    assert list(raw.iterdir()) == []
    assert main([*command, "--mu-water", "0.25"]) == 0
    voxels = sitk.GetArrayFromImage(read(raw / "Dataset101_A/imagesTr/C0001_0000.nii.gz"))
    np.testing.assert_array_equal(voxels, np.rint(scan(1) * (1000 / 0.25 / files.MU_SCALING) - 1000))


@pytest.mark.parametrize(
    ("position", "shape", "words"),
    [((99, 201, -29), (2, 5, 6), "starts at voxel [-1.0, 1.0, 1.0]"), ((115, 201, -29), (2, 5, 6), "must lie on the voxels of its scan")],
)
def test_a_mask_outside_its_scan_fails_that_case_alone(convert, scans, raw, capsys, position, shape, words):
    files.write_aim(scans / "D1_MASK.AIM", np.full(shape, 127, np.int8), position=position)
    assert convert("--mask", f"bone={scans}/*_MASK.AIM") == 1
    assert words in capsys.readouterr().err
    assert [path.name for path in (raw / "Dataset101_XCT/imagesTr").iterdir()] == ["D2_0000.nii.gz"]


def test_undeclared_mask_values(convert, scans, raw, capsys):
    assert convert("-l", str(scans / "*_MASK.AIM"), "--label", "bone=127") == 1
    assert "undeclared values 126" in capsys.readouterr().err
    assert list(raw.iterdir()) == []


def test_a_frame_of_invalid_voxels_is_noted(raw, tmp_path):
    files.write_aim(tmp_path / "D1.AIM", scan(), frame=(1, 1, 0))
    assert main(["convert", "hrpqct", "-i", str(tmp_path / "*.AIM"), "-d", "101", "--name", "A", "--processes", "1"]) == 0
    with (raw / "Dataset101_A/conversion.csv").open(newline="") as file:
        assert "outermost (1, 1, 0) voxels" in next(csv.DictReader(file))["warnings"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-l", "{scans}/*_MASK.AIM"], "belong together"),
        (["--label", "bone=127"], "belong together"),
        (["-l", "{scans}/*_MASK.AIM", "--label", "bone=0"], "1 or more"),
        (["-l", "{scans}/*_MASK.AIM", "--label", "bone=127", "--label", "skin=127"], "value '127' is declared twice"),
        (["-l", "{scans}/*_MASK.AIM", "--label", "bone=127", "--mask", "a={scans}/*_MASK.AIM"], "got both"),
        (["--mask", "bone"], "NAME=FOLDER"),
        (["--mask", "bone={scans}/*_NONE.AIM"], "no AIM files or images"),
        (["--mask", "bone={scans}/D1*.AIM"], "every scan needs a mask of bone"),
        (["--mask", "bone={scans}/missing"], "which is not there"),
    ],
)
def test_refuses_bad_options(convert, scans, raw, capsys, options, words):
    assert convert(*(option.format(scans=scans) for option in options)) == 2
    assert words in capsys.readouterr().err
    assert list(raw.iterdir()) == []


def test_empty_folder(raw, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["convert", "hrpqct", "-i", str(tmp_path / "empty"), "-d", "101", "--name", "A"]) == 2
    assert "no AIM or ISQ files" in capsys.readouterr().err


@pytest.mark.real
def test_a_finger_joint_through_aim_and_isq(raw, tmp_path):
    """A real scan in HU, stored by hand with another scanner's calibration, comes back within half a stored step."""
    data = paths.test_data_dir()
    if data is None:
        pytest.skip("needs the real test data")
    hu = sitk.GetArrayFromImage(read(data / "hrpqct_joint/fixture_128x128x64_hu.nii.gz"))
    regions = sitk.GetArrayFromImage(read(data / "hrpqct_joint/fixture_128x128x64_regions.nii.gz"))
    stored = np.rint((hu + 1000) / HU_SLOPE)
    assert np.abs(stored).max() < 32768
    for folder in ("scans", "masks"):
        (tmp_path / folder).mkdir()
    files.write_isq(tmp_path / "scans/joint.ISQ", stored.astype(np.int16))
    files.write_aim(tmp_path / "masks/joint.AIM", regions.astype(np.int8))
    command = [
        "convert",
        "hrpqct",
        "-i",
        str(tmp_path / "scans"),
        "-l",
        str(tmp_path / "masks"),
        "--label",
        "marrow=1",
        "--label",
        "bone=2",
    ]
    assert main([*command, "-d", "101", "--name", "Joint", "--processes", "1"]) == 0
    voxels = sitk.GetArrayFromImage(read(raw / "Dataset101_Joint/imagesTr/joint_0000.nii.gz"))
    assert np.abs(voxels - hu).max() <= HU_SLOPE / 2 + 0.5
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read(raw / "Dataset101_Joint/labelsTr/joint.nii.gz")), regions)
    assert os.path.getsize(raw / "Dataset101_Joint/conversion/joint.png") > 1000
