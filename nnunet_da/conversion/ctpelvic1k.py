"""CTPelvic1K, pelvic bones in CT, to a nnU-Net dataset.

Layout of the release: masks `dataset6_CLINIC_0001_mask_4label.nii.gz` and images `dataset6_CLINIC_0001_data.nii.gz`, each in the folder
of its archive. Images come with parts 6 (CLINIC) and 7 (CLINIC-metal); those of parts 1 (BTCV), 3 (MSD colon), 4 (KiTS19) and 5 (BTCV
cervix) are found under the names they have in their own sets. Part 2 (CT colonography) is DICOM: convert it with `qct`.
"""

import argparse
import re
from pathlib import Path

from nnunet_da.conversion.public_cases import Part
from nnunet_da.conversion.public_files import codes_for, files_by_case, pairs, refuse_no_folder
from nnunet_da.conversion.public_sets import add_set_arguments, convert_parts
from nnunet_da.errors import UserError

HELP = "CTPelvic1K pelvic CT (dataset6_CLINIC_0001_data.nii.gz, ..._mask_4label.nii.gz)"

BONES = {"sacrum": 1, "hip_right": 2, "hip_left": 3, "lumbar_spine": 4}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_set_arguments(parser, "a folder with the masks and the images of one or more parts, at any depth")
    parser.add_argument(
        "--parts", type=int, nargs="+", choices=range(1, 8), metavar="N", help="parts 1 to 7 of the set (default: all there)"
    )
    parser.add_argument(
        "--bones", nargs="+", default=list(BONES), metavar="NAME", help=f"label values 1, 2, ... in this order (default: {' '.join(BONES)})"
    )


def run(options: argparse.Namespace) -> int:
    """Convert."""
    from nnunet_da.conversion.public_labels import load_pair

    codes = codes_for(options.bones, BONES)
    labels = {_case(stem): path for stem, path in files_by_case(options.input, r"(.+)_mask_4label\.nii(?:\.gz)?").items()}
    images = _images(options.input, labels)
    chosen = {case for case in {*images, *labels} if not options.parts or int(case[len("dataset")]) in options.parts}
    images, labels = ({case: files[case] for case in files.keys() & chosen} for files in (images, labels))
    part = Part(pairs(images, labels, codes), ("CT",), dict(codes.names))
    return convert_parts(options, load_pair, [part], "nnunet-da convert ctpelvic1k")


def _case(stem: str) -> str:
    """Masks of part 7 are also published without the part in their names."""
    return stem if re.match(r"dataset[1-7]_", stem) else f"dataset7_{stem}"


def _images(root: Path, labels: dict[str, Path]) -> dict[str, Path]:
    """The image of each mask, and published images without mask, which `--unlabelled` may use."""
    found: dict[str, list[Path]] = {}
    for path in sorted(refuse_no_folder(root).rglob("*.nii.gz")):
        found.setdefault(path.name, []).append(path)
        found.setdefault(f"{path.parent.name}/{path.name}", []).append(path)
    alone = (name[: -len("_data.nii.gz")] for name in found if re.fullmatch(r"dataset[67]_\w+_data\.nii\.gz", name))
    images: dict[str, Path] = {}
    for case in sorted({*labels, *alone}):
        paths = [path for name in _image_names(case) for path in found.get(name, [])]
        if len(paths) > 1:
            raise UserError(f"the case '{case}' has two files, {paths[0]} and {paths[1]}: keep one")
        if paths:
            images[case] = paths[0]
    return images


def _image_names(case: str) -> tuple[str, ...]:
    own = case.split("_", 1)[1]
    names = {
        "1": f"{own}.nii.gz",  # img0001.nii.gz
        "3": f"{own}.nii.gz",  # colon_001.nii.gz
        "4": f"{own}/imaging.nii.gz",  # case_00014/imaging.nii.gz
        "5": f"{own.removesuffix('_Image')}-Image.nii.gz",  # 0507688-Image.nii.gz
    }
    of_set = names.get(case[len("dataset")])
    return (f"{case}_data.nii.gz",) if of_set is None else (f"{case}_data.nii.gz", of_set)
