"""BTCV, the abdominal CT set of "Multi-Atlas Labeling Beyond the Cranial Vault" (MICCAI 2015), to a nnU-Net dataset.

Layout of the release: `RawData/Training/img/img0001.nii.gz` and `RawData/Training/label/label0001.nii.gz`. `RawData/Testing` has no
labels and is left alone.
"""

import argparse
from pathlib import Path

from nnunet_da.conversion.public_cases import Part
from nnunet_da.conversion.public_files import ABDOMEN, codes_for, files_by_case, pairs
from nnunet_da.conversion.public_sets import add_set_arguments, convert_parts

HELP = "BTCV abdominal CT (img0001.nii.gz, label0001.nii.gz), the organs you choose"

ORGANS = {
    "spleen": 1,
    "kidney_right": 2,
    "kidney_left": 3,
    "gallbladder": 4,
    "esophagus": 5,
    "liver": 6,
    "stomach": 7,
    "aorta": 8,
    "inferior_vena_cava": 9,
    "portal_vein_and_splenic_vein": 10,
    "pancreas": 11,
    "adrenal_gland_right": 12,
    "adrenal_gland_left": 13,
}
TEST_CASES = tuple(f"img{number:04d}" for number in (1, 9, 30, 32, 33, 39))  # of the DAR-UNet study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_set_arguments(parser, "the release, or its folder RawData/Training", paper_split="the DAR-UNet study")
    parser.add_argument(
        "--organs",
        nargs="+",
        default=list(ABDOMEN),
        metavar="NAME",
        help=f"label values 1, 2, ... in this order; 'all' for all of {', '.join(ORGANS)} (default: {' '.join(ABDOMEN)}, as in chaos)",
    )


def run(options: argparse.Namespace) -> int:
    """Convert."""
    from nnunet_da.conversion.public_labels import load_pair

    codes = codes_for(list(ORGANS) if options.organs == ["all"] else options.organs, ORGANS)
    images = _training_files(options.input, r"(img\d{4})\.nii\.gz")
    labels = {f"img{number}": path for number, path in _training_files(options.input, r"label(\d{4})\.nii\.gz").items()}
    part = Part(pairs(images, labels, codes), ("CT",), dict(codes.names), TEST_CASES)
    return convert_parts(options, load_pair, [part], "nnunet-da convert btcv")


def _training_files(root: Path, pattern: str) -> dict[str, Path]:
    """By case, without those below the release's folder `Testing`."""
    training = next((folder for folder in (root / "RawData" / "Training", root / "Training") if folder.is_dir()), root)
    return files_by_case(training, pattern)
