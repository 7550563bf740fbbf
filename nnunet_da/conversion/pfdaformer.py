"""The files of the PF-DAformer release to nnU-Net datasets, one per centre.

Layouts: `CASE_x.npy` with `CASE_y.npy`, or, one step later, `CASE/CASE_modalities.pt` with `CASE/CASE_label.pt`, padded to 192 voxels per
axis. Cases of Tulane begin with MM, those of Rochester with BH. `train.csv` and `validation.csv` have the columns data_path and
case_name. Arrays carry no spacing: a CSV with the columns case, z_mm, y_mm, x_mm gives it.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_da.conversion.public_cases import Part, choose
from nnunet_da.conversion.public_files import files_by_case, refuse_labels_alone, refuse_no_folder
from nnunet_da.conversion.public_sets import add_set_arguments, conversions
from nnunet_da.errors import UserError

if TYPE_CHECKING:
    from nnunet_da.conversion.pfdaformer_lists import CaseLists
    from nnunet_da.conversion.scan import Scan

HELP = "files of the PF-DAformer release (CASE_x.npy or CASE_modalities.pt), Tulane and Rochester, padding undone, with its case lists"

FORMS = {"npy": (r"(.+)_x\.npy", r"(.+)_y\.npy"), "pt": (r"(.+)_modalities\.pt", r"(.+)_label\.pt")}
LABELS = {"femur": 1}


@dataclass(frozen=True)
class ArraySettings:
    """How the array of one case lies in space.

    Attributes:
        spacing_mm: Z, Y, X.
        axes: what the array's axes are, in their order, such as "zyx".
        orientation: where x, y and z grow to, in the patient, such as "LPS".
        keep_padding: leave planes of zeros where they are.
    """

    spacing_mm: tuple[float, float, float]
    axes: str
    orientation: str
    keep_padding: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_set_arguments(parser, "the folder with the arrays, at any depth", target="cases that begin with --target-prefix")
    parser.add_argument("--spacing", type=Path, required=True, metavar="CSV", help="columns case, z_mm, y_mm, x_mm")
    parser.add_argument("--prefix", default="MM", help="cases of the dataset begin with this (default MM, Tulane)")
    parser.add_argument("--target-prefix", default="BH", help="those of the second dataset (default BH, Rochester)")
    parser.add_argument("--form", choices=FORMS, help="which files to read where a case has both (default: those there are)")
    parser.add_argument("--axes", choices=("zyx", "zxy", "yzx", "yxz", "xzy", "xyz"), default="zyx", help="the arrays' axes (default zyx)")
    parser.add_argument(
        "--orientation",
        default="LPS",
        metavar="XYZ",
        help="where x, y, z grow to: L or R, P or A, S or I (default LPS); look at the pictures",
    )
    parser.add_argument("--keep-padding", action="store_true", help="leave the zeros that pad a volume to 192 voxels")
    parser.add_argument(
        "--train-csv", type=Path, nargs="+", default=[], metavar="CSV", help="the release's train.csv, of one or both centres"
    )
    parser.add_argument("--validation-csv", type=Path, nargs="+", default=[], metavar="CSV", help="its validation.csv")
    parser.add_argument(
        "--validation-as-test", action="store_true", help="hold validation cases out in imagesTs (default: fold 0 of splits_final.json)"
    )


def run(options: argparse.Namespace) -> int:
    """Convert one centre, or one as source and the other as target."""
    from nnunet_da.conversion.engine import report
    from nnunet_da.conversion.pfdaformer_lists import read_lists, write_splits
    from nnunet_da.conversion.pfdaformer_voxels import load

    if (options.train_csv or options.validation_csv) and options.output is not None:
        raise UserError("case lists split a dataset: give -d and --name, or leave out --train-csv and --validation-csv")
    prefixes = [options.prefix, *([options.target_prefix] if options.target_id is not None else [])]
    found = _files(options, prefixes)
    lists = read_lists(
        options.train_csv, options.validation_csv, options.input, [case for of_prefix in found for case in of_prefix], prefixes
    )
    chosen = choose([Part(_scans(files, options, lists), ("CT",), LABELS) for files in found], options)
    status = 0
    for conversion in conversions(options, load, chosen, "nnunet-da convert pfdaformer"):
        status = max(status, report(conversion))
        if lists:
            write_splits(conversion, lists, as_test=options.validation_as_test)
    return status


Files = dict[str, tuple[Path, Path | None]]  # case -> image and label


def _files(options: argparse.Namespace, prefixes: Sequence[str]) -> list[Files]:
    """Files per prefix.

    Raises:
        UserError: a case in both forms, a label without image, or a case of both prefixes.
    """
    by_form = {form: _of_form(options.input, form) for form in ([options.form] if options.form else FORMS)}
    both = sorted(set.intersection(*map(set, by_form.values()))) if len(by_form) > 1 else []
    if both:
        raise UserError(f"the case '{both[0]}' has .npy and .pt files ({len(both)} such in all): choose with --form npy or --form pt")
    files = {case: paths for of_form in by_form.values() for case, paths in of_form.items()}
    found = [{case: paths for case, paths in sorted(files.items()) if case.startswith(prefix)} for prefix in prefixes]
    if len(found) == 2 and found[0].keys() & found[1].keys():
        raise UserError(
            f"the prefixes {' and '.join(prefixes)} must tell the centres apart, '{min(found[0].keys() & found[1].keys())}' has both"
        )
    others = sorted(set(files).difference(*found))
    if others:
        print(f"{len(others)} cases do not begin with {' or '.join(prefixes)} and are left out, such as {others[0]}")
    return found


def _of_form(root: Path, form: str) -> Files:
    images, labels = (files_by_case(refuse_no_folder(root), pattern) for pattern in FORMS[form])
    refuse_labels_alone(images, labels)
    return {case: (path, labels.get(case)) for case, path in images.items()}


def _scans(files: Files, options: argparse.Namespace, lists: "CaseLists | None") -> list["Scan"]:
    from nnunet_da.conversion.arrays import checked_orientation, read_spacings
    from nnunet_da.conversion.scan import TEST, TRAINING, Scan

    spacings, orientation = read_spacings(options.spacing), checked_orientation(options.orientation)
    wanted = [case for case in files if lists is None or case in lists]
    _refuse_no_spacing(wanted, spacings, options.spacing)
    test = lists.validation if lists and options.validation_as_test else ()
    return [
        Scan(
            case,
            (files[case][0],),
            files[case][1],
            TEST if case in test else TRAINING,
            ArraySettings(spacings[case], options.axes, orientation, options.keep_padding),
        )
        for case in wanted
    ]


def _refuse_no_spacing(cases: Sequence[str], spacings: Mapping[str, object], file: Path) -> None:
    missing = [case for case in cases if case not in spacings]
    if missing:
        raise UserError(f"every case needs its spacing, {file} has none for '{missing[0]}' ({len(missing)} in all): add a line")
