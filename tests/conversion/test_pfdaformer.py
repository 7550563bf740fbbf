import json
import pickle

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nnunet_da.cli.main import main

CONTENT = (7, 5, 6)  # Z, Y, X before padding
PADDED = (192, 192, 6)
BEFORE = (92, 93, 0)  # planes of zeros in front: (192 - 7) // 2, (192 - 5) // 2; one more behind where the number is odd
MARK = (5, 1, 4)
SPACING_MM = (2.5, 0.7, 0.8)  # Z, Y, X


def scan(seed):
    voxels = np.random.default_rng(seed).integers(1, 1500, CONTENT).astype(np.int16)
    voxels[MARK] = 3000
    return voxels


def mask():
    label = np.zeros(CONTENT, np.uint8)
    label[MARK] = 1
    return label


def padded(voxels):
    widths = [(before, size - before - len_) for before, size, len_ in zip(BEFORE, PADDED, CONTENT, strict=True)]
    return np.pad(voxels, widths)


def save_pt(folder, case, image, label):
    (folder / case).mkdir(parents=True)
    torch.save(torch.from_numpy(image)[None], folder / case / f"{case}_modalities.pt")
    torch.save(torch.from_numpy(label)[None], folder / case / f"{case}_label.pt")


CASES = ("MM001", "MM002", "MM003", "BH001", "BH002")


@pytest.fixture
def release(tmp_path):
    """Both centres as padded float tensors, and the spacing table."""
    data = tmp_path / "data"
    for seed, case in enumerate(CASES):
        save_pt(data, case, padded(scan(seed)).astype(np.float32), padded(mask()).astype(np.float32))
    write_spacing(tmp_path, CASES)
    return tmp_path


def write_spacing(folder, cases):
    z, y, x = SPACING_MM
    (folder / "spacing.csv").write_text("case,z_mm,y_mm,x_mm\n" + "".join(f"{case},{z},{y},{x}\n" for case in cases))


def write_list(file, cases, paths=None):
    lines = [f"{path},{case}\n" for path, case in zip(paths or [f"data/{case}" for case in cases], cases, strict=True)]
    file.write_text("data_path,case_name\n" + "".join(lines))
    return str(file)


@pytest.fixture
def convert(raw, release):
    def run(*more, data="data"):
        command = ["convert", "pfdaformer", "-i", str(release / data), "--spacing", str(release / "spacing.csv"), "-d", "101"]
        return main([*command, "--name", "Tulane", "--processes", "1", "--no-pictures", *more])

    return run


BOTH = ("--target-id", "102", "--target-name", "Rochester")


def names_in(folder):
    return sorted(path.name.removesuffix(".nii.gz").removesuffix("_0000") for path in folder.iterdir())


def test_centres_are_told_apart_and_padding_is_undone(convert, raw, voxels_of):
    assert convert(*BOTH, "--unlabelled") == 0
    source, target = raw / "Dataset101_Tulane", raw / "Dataset102_Rochester"
    assert names_in(source / "labelsTr") == ["MM001", "MM002", "MM003"]
    assert names_in(target / "imagesTr") == ["BH001", "BH002"]
    assert not (target / "labelsTr").exists()
    image = sitk.ReadImage(str(source / "imagesTr/MM002_0000.nii.gz"))
    assert image.GetPixelID() == sitk.sitkInt16  # whole numbers, though the tensors are float
    assert np.array_equal(sitk.GetArrayFromImage(image), scan(1))
    assert np.array_equal(voxels_of(source / "labelsTr/MM002.nii.gz"), mask())


def test_marked_voxel_keeps_its_place_on_the_padded_grid(convert, raw, place_of):
    assert convert() == 0
    expected = [(index + before) * edge for index, before, edge in zip(MARK, BEFORE, SPACING_MM, strict=True)][::-1]
    for file, value in (("imagesTr/MM001_0000.nii.gz", 3000), ("labelsTr/MM001.nii.gz", 1)):
        np.testing.assert_allclose(place_of(raw / "Dataset101_Tulane" / file, value), expected, atol=1e-3)


def test_restore_knows_the_padded_grid(convert, raw):
    assert convert() == 0
    placement = json.loads((raw / "Dataset101_Tulane/conversion/placements.json").read_text())["MM001"]["placement"]
    assert placement["size_xyz"] == list(PADDED[::-1])
    assert placement["start_xyz"] == list(BEFORE[::-1])


def test_predictions_go_back_onto_the_padded_grid(convert, raw, tmp_path, voxels_of):
    assert convert() == 0
    dataset = raw / "Dataset101_Tulane"
    assert main(["restore", "-i", str(dataset / "labelsTr"), "-c", str(dataset), "-o", str(tmp_path / "restored")]) == 0
    assert np.array_equal(voxels_of(tmp_path / "restored/MM001.nii.gz"), padded(mask()))


def test_padding_is_kept_when_asked(convert, raw, voxels_of):
    assert convert("--keep-padding") == 0
    assert np.array_equal(voxels_of(raw / "Dataset101_Tulane/imagesTr/MM001_0000.nii.gz"), padded(scan(0)))


def test_zeros_of_the_scan_itself_are_kept(convert, raw, release, voxels_of):
    """Three further planes of zeros on one side: one of them may be the odd plane of the padding, two cannot."""
    voxels = padded(scan(0))
    voxels[BEFORE[0] : BEFORE[0] + 3] = 0
    (release / "data/MM001/MM001_label.pt").unlink()
    (release / "data/MM001/MM001_modalities.pt").unlink()
    (release / "data/MM001").rmdir()
    save_pt(release / "data", "MM001", voxels, padded(mask()))
    assert convert() == 0
    converted = voxels_of(raw / "Dataset101_Tulane/imagesTr/MM001_0000.nii.gz")
    assert converted.shape[0] == 192 - 94 - 93  # 95 planes of zeros in front, 93 behind: 94 and 93 can be padding
    assert "95 and 93 planes of zeros along z" in (raw / "Dataset101_Tulane/conversion.csv").read_text()


def test_planes_with_label_are_never_cut(convert, raw, release, voxels_of):
    voxels, label = np.zeros(PADDED, np.int16), np.zeros(PADDED, np.uint8)
    voxels[96, 96, 3] = 100
    label[80, 96, 3] = 1
    save_pt(release / "data", "MM009", voxels, label)
    write_spacing(release, (*CASES, "MM009"))
    assert convert() == 0
    assert voxels_of(raw / "Dataset101_Tulane/labelsTr/MM009.nii.gz").sum() == 1


@pytest.fixture
def arrays(release):
    """The first form: unpadded .npy files in one folder, axes X, Y, Z."""
    folder = release / "arrays"
    folder.mkdir()
    for seed, case in enumerate(CASES):
        np.save(folder / f"{case}_x.npy", scan(seed).transpose(2, 1, 0))
        np.save(folder / f"{case}_y.npy", mask().transpose(2, 1, 0))
    return folder


def test_arrays_with_other_axes_and_orientation(convert, raw, arrays, place_of, voxels_of):
    assert convert("--axes", "xyz", "--orientation", "RAS", data="arrays") == 0
    image = raw / "Dataset101_Tulane/imagesTr/MM003_0000.nii.gz"
    assert np.array_equal(voxels_of(image), scan(2))
    z, y, x = (index * edge for index, edge in zip(MARK, SPACING_MM, strict=True))
    np.testing.assert_allclose(place_of(image, 3000), (-x, -y, z), atol=1e-3)  # RAS in SimpleITK's LPS


def test_one_centre_by_its_prefix(convert, raw):
    assert convert("--prefix", "BH") == 0
    assert names_in(raw / "Dataset101_Tulane/labelsTr") == ["BH001", "BH002"]


def test_lists_become_a_fold_and_repeated_lines_are_reported(convert, raw, release, capfd):
    train = write_list(release / "train.csv", ["MM001", "MM002"])
    train_b = write_list(release / "train_b.csv", ["BH001"] * 3)  # the release lists each case of Rochester three times
    validation = write_list(release / "validation.csv", ["MM003", "BH002"])
    assert convert(*BOTH, "--train-csv", train, train_b, "--validation-csv", validation) == 0
    assert "1 cases in 3 lines, such as 'BH001' in 3" in capfd.readouterr().out
    assert json.loads((raw / "Dataset101_Tulane/splits_final.json").read_text()) == [{"train": ["MM001", "MM002"], "val": ["MM003"]}]
    assert json.loads((raw / "Dataset102_Rochester/splits_final.json").read_text()) == [{"train": ["BH001"], "val": ["BH002"]}]


def test_validation_cases_become_the_test_set_when_asked(convert, raw, release, capfd):
    train = write_list(release / "train.csv", ["MM001"])
    validation = write_list(release / "validation.csv", ["MM003"])
    assert convert("--train-csv", train, "--validation-csv", validation, "--validation-as-test") == 0
    assert names_in(raw / "Dataset101_Tulane/imagesTr") == ["MM001"]
    assert names_in(raw / "Dataset101_Tulane/labelsTs") == ["MM003"]
    assert not (raw / "Dataset101_Tulane/splits_final.json").exists()
    assert "1 cases stand in neither list and are left out, such as MM002" in capfd.readouterr().out


def test_a_case_in_both_lists_is_leakage(convert, release, error_of):
    train = write_list(release / "train.csv", ["MM001", "MM002"])
    validation = write_list(release / "validation.csv", ["MM002", "MM003"])
    status = convert("--train-csv", train, "--validation-csv", validation)
    assert "'MM002'" in error_of(status, expected=1)


@pytest.mark.parametrize("path", ["../elsewhere/MM001", "/elsewhere/MM001", "data/../../MM001"])
def test_path_outside_the_data_folder_is_refused(convert, release, path, error_of):
    train = write_list(release / "train.csv", ["MM001"], [path])
    assert path in error_of(convert("--train-csv", train))


def test_name_that_is_a_path_is_refused(convert, release, error_of):
    train = write_list(release / "train.csv", ["../MM001"], ["MM001"])
    assert "inside" in error_of(convert("--train-csv", train, "--prefix", ".."))


def test_listed_case_without_files_is_refused(convert, release, error_of):
    train = write_list(release / "train.csv", ["MM001", "MM777"])
    assert "'MM777'" in error_of(convert("--train-csv", train))


def test_list_without_the_columns_is_refused(convert, release, error_of):
    (release / "train.csv").write_text("case\nMM001\n")
    assert "data_path, case_name" in error_of(convert("--train-csv", str(release / "train.csv")))


def test_missing_spacing_names_the_case(convert, release, error_of):
    write_spacing(release, CASES[:2])
    assert "'MM003'" in error_of(convert())


def test_case_in_both_forms_is_refused_until_one_is_chosen(convert, raw, release, error_of):
    np.save(release / "data/MM001_x.npy", scan(0))
    np.save(release / "data/MM001_y.npy", mask())
    assert "--form npy" in error_of(convert())
    assert convert("--form", "npy") == 0
    assert names_in(raw / "Dataset101_Tulane/imagesTr") == ["MM001"]


def test_the_same_case_twice_is_refused(convert, release, error_of):
    save_pt(release / "data/copy", "MM001", padded(scan(0)), padded(mask()))
    assert "'MM001' has two files" in error_of(convert())


def test_missing_label_is_refused(convert, release, error_of):
    (release / "data/MM002/MM002_label.pt").unlink()
    assert "'MM002'" in error_of(convert())


def test_label_without_image_is_refused(convert, release, error_of):
    (release / "data/MM002/MM002_modalities.pt").unlink()
    assert "MM002_label.pt" in error_of(convert())


def test_empty_folder_is_refused(convert, release, error_of):
    (release / "empty").mkdir()
    assert "no case" in error_of(convert(data="empty"))


@pytest.mark.parametrize(("option", "value"), [("--orientation", "LPX"), ("--orientation", "LLS")])
def test_orientation_that_is_none_is_refused(convert, option, value, error_of):
    assert value in error_of(convert(option, value))


class Malicious:
    """Unpickling this writes a file."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return (open, (str(self.file), "w"))


def bad_image(path, kind, trap):
    """Replace one image by what must never be loaded, or by what is no volume."""
    tensors = {
        "list of tensors": [torch.zeros(3)],
        "complex": torch.zeros((1, 2, 2, 2), dtype=torch.complex64),
        "two channels": torch.zeros((2, *CONTENT)),
        "not finite": torch.full((1, *PADDED), float("nan")),
        "only zeros": torch.zeros((1, *PADDED)),
        "other shape": torch.ones((1, 3, 3, 3)),
    }
    if kind == "pickled object":
        path.write_bytes(pickle.dumps(Malicious(trap)))
    elif kind == "object in a tensor file":
        torch.save({"image": Malicious(trap)}, path)
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    else:
        torch.save(tensors[kind], path)


BAD_TENSORS = (
    "pickled object",
    "object in a tensor file",
    "truncated",
    "list of tensors",
    "complex",
    "two channels",
    "not finite",
    "only zeros",
    "other shape",
)


@pytest.mark.parametrize("kind", BAD_TENSORS)
def test_bad_tensor_fails_that_case_alone_and_runs_nothing(convert, raw, release, capfd, kind):
    trap = release / "trap"
    (release / "data/MM002/MM002_label.pt").unlink()
    torch.save(torch.zeros((1, *PADDED)), release / "data/MM002/MM002_label.pt")
    bad_image(release / "data/MM002/MM002_modalities.pt", kind, trap)
    assert convert() == 1
    errors = capfd.readouterr().err
    assert "failed MM002: " in errors
    assert "weights_only" not in errors  # torch's advice is to load it unsafely
    assert not trap.exists()
    assert names_in(raw / "Dataset101_Tulane/imagesTr") == ["MM001", "MM003"]


@pytest.mark.parametrize("kind", ["objects", "truncated", "archive", "text", "four dimensions"])
def test_bad_array_fails_that_case_alone_and_runs_nothing(convert, raw, release, arrays, capfd, kind):
    file, trap = arrays / "MM002_x.npy", release / "trap"
    if kind == "objects":
        np.save(file, np.array([Malicious(trap)], dtype=object), allow_pickle=True)
    elif kind == "truncated":
        file.write_bytes(file.read_bytes()[:-50])
    elif kind == "archive":
        with file.open("wb") as stream:
            np.savez(stream, a=scan(0))
    elif kind == "text":
        np.save(file, np.full((6, 5, 7), "a"))
    else:
        np.save(file, np.zeros((2, 6, 5, 7)))
    assert convert("--axes", "xyz", data="arrays") == 1
    assert "failed MM002: " in capfd.readouterr().err
    assert not trap.exists()
    assert names_in(raw / "Dataset101_Tulane/imagesTr") == ["MM001", "MM003"]


def test_label_of_fractions_fails(convert, release, capfd):
    torch.save(torch.full((1, *PADDED), 0.5), release / "data/MM002/MM002_label.pt")
    assert convert() == 1
    assert "whole numbers" in capfd.readouterr().err
