import json

import numpy as np
import pytest

from nnunet_da.cli.main import main

SHAPE = (5, 6, 8)
MARK = (4, 1, 2)  # Z, Y, X


def scan(seed):
    voxels = np.random.default_rng(seed).integers(-1000, 1500, SHAPE).astype(np.int16)
    voxels[MARK] = 3000
    return voxels


def mask():
    """The marked voxel is the lumbar spine's; the right hip lies at smaller x than the left one."""
    label = np.zeros(SHAPE, np.uint8)
    label[MARK] = 4
    label[0, 0, (4, 1, 6)] = (1, 2, 3)
    return label


@pytest.fixture
def release(tmp_path, write_image):
    """Parts 6 and 7 as published: images and masks in the folders of their archives."""
    for stem, masks in (
        ("dataset6_CLINIC_0001", "ipcai2021_dataset6_Anonymized/dataset6_CLINIC_0001"),
        ("dataset6_CLINIC_0002", "ipcai2021_dataset6_Anonymized/dataset6_CLINIC_0002"),
        ("dataset7_CLINIC_metal_0000", "CTPelvic1K_dataset7_mask/CLINIC_metal_0000"),
    ):
        write_image(tmp_path / f"CTPelvic1K_{stem[:8]}_data" / f"{stem}_data.nii.gz", scan(len(stem)))
        write_image(tmp_path / f"{masks}_mask_4label.nii.gz", mask())
    return tmp_path


@pytest.fixture
def convert(raw, release):
    def run(*more):
        return main(
            ["convert", "ctpelvic1k", "-i", str(release), "-d", "501", "--name", "Pelvis", "--processes", "1", "--no-pictures", *more]
        )

    return run


def test_voxels_places_and_names(convert, raw, release, place_of, voxels_of):
    assert convert() == 0
    dataset = raw / "Dataset501_Pelvis"
    names = ["dataset6_CLINIC_0001", "dataset6_CLINIC_0002", "dataset7_CLINIC_metal_0000"]
    assert sorted(path.name for path in (dataset / "labelsTr").iterdir()) == [f"{name}.nii.gz" for name in names]
    original = release / "CTPelvic1K_dataset6_data/dataset6_CLINIC_0001_data.nii.gz"
    assert np.array_equal(voxels_of(dataset / "imagesTr/dataset6_CLINIC_0001_0000.nii.gz"), voxels_of(original))
    np.testing.assert_allclose(place_of(dataset / "labelsTr/dataset6_CLINIC_0001.nii.gz", 4), place_of(original, 3000), atol=1e-3)
    assert np.array_equal(voxels_of(dataset / "labelsTr/dataset7_CLINIC_metal_0000.nii.gz"), mask())
    labels = json.loads((dataset / "dataset.json").read_text())["labels"]
    assert labels == {"background": 0, "sacrum": 1, "hip_right": 2, "hip_left": 3, "lumbar_spine": 4}
    assert "lies to the right" not in (dataset / "conversion.csv").read_text()


def test_parts_and_bones_are_chosen(convert, raw, voxels_of):
    assert convert("--parts", "6", "--bones", "hip_left", "hip_right") == 0
    labels = raw / "Dataset501_Pelvis/labelsTr"
    assert len(list(labels.iterdir())) == 2
    assert voxels_of(labels / "dataset6_CLINIC_0002.nii.gz")[0, 0].tolist() == [0, 2, 0, 0, 0, 0, 1, 0]


@pytest.mark.parametrize(
    ("mask_name", "image"),
    [
        ("dataset1_img0001", "BTCV/img/img0001.nii.gz"),
        ("dataset3_colon_001", "Task10_Colon/imagesTr/colon_001.nii.gz"),
        ("dataset4_case_00014", "kits19/data/case_00014/imaging.nii.gz"),
        ("dataset5_0507688_Image", "Cervix/img/0507688-Image.nii.gz"),
    ],
)
def test_images_of_other_sets_are_found_by_their_own_names(convert, raw, release, write_image, mask_name, image, voxels_of):
    write_image(release / f"CTPelvic1K_{mask_name[:8]}_mask_mappingback/{mask_name}_mask_4label.nii.gz", mask())
    write_image(release / image, scan(9))
    write_image(release / "kits19/data/case_00099/imaging.nii.gz", scan(10))  # no mask: not of this set
    assert convert("--parts", mask_name[7]) == 0
    assert [path.name for path in (raw / "Dataset501_Pelvis/imagesTr").iterdir()] == [f"{mask_name}_0000.nii.gz"]
    assert np.array_equal(voxels_of(raw / f"Dataset501_Pelvis/imagesTr/{mask_name}_0000.nii.gz"), scan(9))


def test_images_without_mask_may_be_a_target(convert, raw, release):
    for path in release.rglob("*_mask_4label.nii.gz"):
        path.unlink()
    assert convert("--unlabelled") == 0
    assert len(list((raw / "Dataset501_Pelvis/imagesTr").iterdir())) == 3


def test_missing_mask_is_refused(convert, release, error_of):
    next(release.rglob("*0002_mask_4label.nii.gz")).unlink()
    assert "'dataset6_CLINIC_0002'" in error_of(convert())


def test_mask_without_image_is_refused(convert, release, error_of):
    next(release.rglob("*0002_data.nii.gz")).unlink()
    assert "0002_mask_4label" in error_of(convert())


def test_the_same_case_twice_is_refused(convert, release, write_image, error_of):
    write_image(release / "copy/dataset6_CLINIC_0001_data.nii.gz", scan(1))
    assert "has two files" in error_of(convert())


def test_mirrored_mask_is_noticed(convert, raw, release, write_image):
    write_image(next(release.rglob("*0002_mask_4label.nii.gz")), mask()[:, :, ::-1].copy())
    assert convert() == 0
    assert "hip_left lies to the right of hip_right" in (raw / "Dataset501_Pelvis/conversion.csv").read_text()


def test_mask_of_other_geometry_fails_that_case_alone(convert, release, write_image, capfd):
    write_image(next(release.rglob("*0002_mask_4label.nii.gz")), mask(), spacing_xyz_mm=(0.7, 0.8, 2.0))
    assert convert() == 1
    assert "failed dataset6_CLINIC_0002" in capfd.readouterr().err
