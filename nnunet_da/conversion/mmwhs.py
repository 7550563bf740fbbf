"""MM-WHS 2017, whole hearts in CT and in MR, to nnU-Net datasets.

Layout of the release: `ct_train/ct_train_1001_image.nii.gz` with `ct_train_1001_label.nii.gz`, `mr_train/mr_train_1001_image.nii.gz`
likewise. The challenge's test scans have no open labels and are left alone.
"""

import argparse
from dataclasses import replace

from nnunet_da.conversion.public_cases import Part
from nnunet_da.conversion.public_files import codes_for, files_by_case, pairs
from nnunet_da.conversion.public_sets import add_set_arguments, convert_parts
from nnunet_da.errors import UserError

HELP = "MM-WHS 2017 whole-heart CT and MR (ct_train_1001_image.nii.gz, ..._label.nii.gz)"

STRUCTURES = {"MYO": 205, "LAC": 420, "LVC": 500, "AA": 820, "RAC": 550, "RVC": 600, "PA": 850}
STUDY = ("MYO", "LAC", "LVC", "AA")  # label values 1 to 4 of the CT-MR studies
STRAY = 421  # a few voxels of the left atrium's 420
TEST_NUMBERS = {"ct": (1003, 1008, 1014, 1019), "mr": (1007, 1009, 1018, 1019)}  # of the SIFA studies and those after them


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_set_arguments(
        parser, "the release, or its folder ct_train or mr_train", paper_split="the SIFA studies", target="see --target-modality"
    )
    parser.add_argument("--modality", choices=TEST_NUMBERS, required=True, help="of the dataset, or of the source where there are two")
    parser.add_argument("--target-modality", choices=TEST_NUMBERS, help="write this one as a second dataset, --target-id")
    parser.add_argument(
        "--structures",
        nargs="+",
        default=list(STUDY),
        metavar="NAME",
        help=f"label values 1, 2, ... in this order, of {', '.join(STRUCTURES)} (default: {' '.join(STUDY)})",
    )


def run(options: argparse.Namespace) -> int:
    """Convert one modality, or one as source and the other as target."""
    from nnunet_da.conversion.public_labels import load_pair

    if (options.target_modality is None) != (options.target_id is None):
        raise UserError("a target dataset needs --target-modality, --target-id and --target-name together")
    if options.target_modality == options.modality:
        raise UserError(f"source and target must be two modalities, got {options.modality} for both: choose another --target-modality")
    modalities = [modality for modality in (options.modality, options.target_modality) if modality]
    return convert_parts(options, load_pair, [_part(options, modality) for modality in modalities], "nnunet-da convert mmwhs")


def _part(options: argparse.Namespace, modality: str) -> Part:
    codes = codes_for(options.structures, STRUCTURES)
    left_atrium = dict(codes.values)[STRUCTURES["LAC"]]
    codes = replace(codes, values=(*codes.values, (STRAY, left_atrium)), doubtful=(STRAY,))
    name = rf"({modality}_train_\d{{4}})"
    scans = pairs(files_by_case(options.input, rf"{name}_image\.nii\.gz"), files_by_case(options.input, rf"{name}_label\.nii\.gz"), codes)
    test_cases = [f"{modality}_train_{number}" for number in TEST_NUMBERS[modality]]
    return Part(scans, (modality.upper(),), dict(codes.names), test_cases)
