"""crossMoDA, vestibular schwannoma in contrast-enhanced T1 (source) and high-resolution T2 (target), to nnU-Net datasets.

Layout of the 2021 release: `source_training/crossmoda_1_ceT1.nii.gz` with `crossmoda_1_Label.nii.gz`,
`target_training/crossmoda_106_hrT2.nii.gz`, `target_validation/crossmoda_211_hrT2.nii.gz`. The 2022 release, whose names also hold the
year and the centre, has the same label values; the 2023 release splits the tumour in two and is refused.
"""

import argparse
from pathlib import Path

from nnunet_da.conversion.public_cases import Part
from nnunet_da.conversion.public_files import codes_for, files_by_case, pairs
from nnunet_da.conversion.public_sets import add_set_arguments, convert_parts
from nnunet_da.errors import UserError

HELP = "crossMoDA 2021 (and 2022): ceT1 with labels as source, hrT2 as target"

STRUCTURES = {"VS": 1, "cochlea": 2}
CASE = r"(crossmoda(?:2021|2022)?_(?:[a-z]+_)?\d+)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_set_arguments(parser, "the release", target="hrT2 beside ceT1")
    parser.add_argument(
        "--sequence", choices=("ceT1", "hrT2"), default="ceT1", help="of the dataset; ceT1 where --target-id asks for both (default ceT1)"
    )
    parser.add_argument("--with-validation", action="store_true", help="add the hrT2 scans of target_validation to the target's imagesTr")


def run(options: argparse.Namespace) -> int:
    """Convert one sequence, or ceT1 as source and hrT2 as target."""
    from nnunet_da.conversion.public_labels import load_pair

    both = options.target_id is not None
    if both and options.sequence != "ceT1":
        raise UserError("with --target-id the source is ceT1 and the target hrT2: leave out --sequence hrT2")
    parts = [_part(options, sequence) for sequence in (("ceT1", "hrT2") if both else (options.sequence,))]
    return convert_parts(options, load_pair, parts, "nnunet-da convert crossmoda")


def _part(options: argparse.Namespace, sequence: str) -> Part:
    codes = codes_for(list(STRUCTURES), STRUCTURES)
    images = files_by_case(options.input, rf"{CASE}_{sequence}\.nii\.gz")
    if not options.with_validation:
        images = {case: path for case, path in images.items() if not _is_validation(path, options.input)}
    labels = files_by_case(options.input, rf"{CASE}_Label\.nii\.gz") if sequence == "ceT1" else {}
    return Part(pairs(images, labels, codes), (sequence,), dict(codes.names), has_labels=sequence == "ceT1")


def _is_validation(path: Path, root: Path) -> bool:
    return any("validation" in folder for folder in path.relative_to(root).parts[:-1])
