"""Two centres from one: hippocampus MRI of the test data, the target half with a simulated scanner shift.

Writes Dataset301_HippocampusA (source) and Dataset302_HippocampusB (target) for plans/studies/hippocampus.yaml. Cases
alternate between the halves; in each, every fourth is a test case. The target's scanner has another contrast (a power of the normalised
intensity), a stronger bias field, more noise, and thicker slices put back onto the old grid. Labels stay as they are.

usage: python benchmarks/hippocampus_centres.py --raw "$nnUNet_raw" [--gamma 1.6] [--bias 0.5] [--noise 0.04] [--slice-voxels 2] [--seed 0]
"""

import argparse
import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from nnunet_da import paths
from nnunet_da.errors import UserError

NAMES = ("Dataset301_HippocampusA", "Dataset302_HippocampusB")
TEST_EVERY = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--raw", type=Path, help="nnU-Net's folder of raw datasets, where the two go")
    parser.add_argument("--gamma", type=float, default=1.6, help="power of the normalised intensity")
    parser.add_argument("--bias", type=float, default=0.5, help="largest relative change by the bias field")
    parser.add_argument("--noise", type=float, default=0.04, help="standard deviation, of the intensity range")
    parser.add_argument("--slice-voxels", type=int, default=2, help="voxels that a slice averages over")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.raw is None:
        print("hippocampus_centres.py writes two datasets: say with --raw where they go")
        return
    make(options.raw, options)


def make(raw: Path, shift: argparse.Namespace) -> None:
    """Write both datasets.

    Raises:
        UserError: the test data are not here, or a dataset is there already.
    """
    data = paths.test_data_dir()
    if data is None or not (data / "hippocampus").is_dir():
        raise UserError("the test data must be beside the checkout or in NNUNET_DA_TEST_DATA, they are not: get them first")
    for name in NAMES:
        if (raw / name).exists():
            raise UserError(f"{raw / name} must not be there yet, it is: move it away, or name another --raw")
    images = sorted((data / "hippocampus" / "imagesTr").glob("*.nii.gz"))
    rng = np.random.default_rng(shift.seed)
    for half, name in enumerate(NAMES):
        folder, cases = raw / name, images[half::2]
        for number, image in enumerate(cases):
            write_case(image, folder, number % TEST_EVERY == 0, shift if half else None, rng)
        write_description(folder, sum(number % TEST_EVERY != 0 for number in range(len(cases))))
        print(f"wrote {folder}: {len(cases)} cases")


def write_case(file: Path, folder: Path, test: bool, shift: argparse.Namespace | None, rng: np.random.Generator) -> None:
    """Image and label of one case, the image as the target's scanner would show it where `shift` is given."""
    image, which = sitk.ReadImage(str(file)), "Ts" if test else "Tr"
    case = file.name.removesuffix(".nii.gz")
    label = sitk.ReadImage(str(file.parent.parent / "labelsTr" / file.name))
    voxels = sitk.GetArrayFromImage(image).astype(np.float32)
    shown = voxels if shift is None else shifted(voxels, shift, rng)
    result = sitk.GetImageFromArray(shown)
    result.CopyInformation(image)
    for kind, content, name in (("images", result, f"{case}_0000.nii.gz"), ("labels", label, f"{case}.nii.gz")):
        (folder / f"{kind}{which}").mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(content, str(folder / f"{kind}{which}" / name), True)


def shifted(voxels: NDArray[np.float32], shift: argparse.Namespace, rng: np.random.Generator) -> NDArray[np.float32]:
    """The (Z, Y, X) scan on the target's scanner, in the same range of intensities."""
    low, high = float(voxels.min()), float(np.percentile(voxels, 99.5))
    normal = np.clip((voxels - low) / (high - low), 0, None) ** shift.gamma
    axes = np.meshgrid(*(np.linspace(-1, 1, size) for size in voxels.shape), indexing="ij")
    field = 1 + shift.bias * np.tensordot(rng.uniform(-1, 1, 3) / 3, np.stack(axes), 1)
    thick = uniform_filter1d(normal * field, shift.slice_voxels, axis=0)
    noisy = thick + rng.normal(0, shift.noise, voxels.shape)
    return (low + noisy * (high - low)).astype(np.float32)


def write_description(folder: Path, training: int) -> None:
    content = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "anterior": 1, "posterior": 2}}
    (folder / "dataset.json").write_text(json.dumps({**content, "numTraining": training, "file_ending": ".nii.gz"}, indent=4))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
