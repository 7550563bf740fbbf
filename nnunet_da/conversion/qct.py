"""Clinical and quantitative CT of the hip to a nnU-Net dataset: read, reoriented, one femur cut out, mirrored if it is a right one.

Importing this module is cheap: the parts that read images are imported when they are needed.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_da.conversion.options import add_output_arguments, output_of
from nnunet_da.errors import UserError

if TYPE_CHECKING:
    from nnunet_da.conversion.scan import Scan

HELP = "CT of the hip (DICOM series, NIfTI, NRRD, MetaImage or NumPy), masks as label maps, DICOM-SEG or RTSTRUCT"
FOLDS = 5  # as many as nnU-Net's own
SIDES = {"left": ("left",), "right": ("right",), "both": ("left", "right")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    where = "a folder of image files or of one folder per case, or a quoted pattern whose one * is the case name, such as 'scans/*/CT'"
    parser.add_argument("-i", "--images", required=True, metavar="SCANS", help=where)
    parser.add_argument(
        "-l", "--labels", metavar="MASKS", help="masks of the same case names, the same way; may be -i's folder; leave out for a target"
    )
    parser.add_argument("--test-images", metavar="SCANS", help="held-out scans, like -i")
    parser.add_argument("--test-labels", metavar="MASKS", help="their masks, like -l")
    parser.add_argument(
        "--label", action="append", default=[], metavar="NAME=SOURCE",
        help="a label and where it comes from: a value of the label map, number or label of a segment, or ROI name; repeat; "
        "the dataset numbers labels 1, 2, 3 in this order",
    )  # fmt: skip
    parser.add_argument(
        "--label-right", action="append", default=[], metavar="NAME=SOURCE", help="the same for the right side, if it differs"
    )
    parser.add_argument("--drop-other-labels", action="store_true", help="label values that are not named become background")
    add_output_arguments(parser)
    parser.add_argument("--channel-name", metavar="NAME", help="default CT, or QCT with --write-density")
    _add_crop_arguments(parser.add_argument_group("crop"))
    _add_reading_arguments(parser.add_argument_group("reading"))
    _add_density_arguments(parser.add_argument_group("density"))


def _add_crop_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--side", choices=SIDES, default="left", help="which femur; right ones are mirrored (default %(default)s)")
    group.add_argument("--window-mm", nargs=2, type=float, metavar=("WIDTH", "HEIGHT"), help="default 160 160")
    group.add_argument("--window-voxels", type=int, metavar="N", help="N x N voxels in place of mm; the paper's is 192")
    group.add_argument(
        "--centre", nargs=2, type=float, default=(0.75, 0.5), metavar=("WIDTH", "HEIGHT"),
        help="centre as fractions of the field of view, seen from the patient's right and front, for a left femur (default 0.75 0.5)",
    )  # fmt: skip
    group.add_argument("--no-crop", action="store_true", help="keep the whole field of view")


def _add_reading_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--series", metavar="TEXT", help="DICOM series to take where there are several: part of its description, or its UID")
    group.add_argument("--spacing-mm", nargs=3, type=float, metavar=("Z", "Y", "X"), help="of NumPy volumes")
    group.add_argument("--spacing-csv", type=Path, metavar="FILE", help="the same per case: case,z_mm,y_mm,x_mm")
    group.add_argument(
        "--orientation", default="LPS", help="of NumPy volumes, where x, y, z grow to: L or R, P or A, S or I (default %(default)s)"
    )


def _add_density_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--density", nargs=2, type=float, metavar=("SLOPE", "INTERCEPT"), help="mg/cm3 per HU, and mg/cm3; goes into the log"
    )
    group.add_argument(
        "--phantom-rods", type=Path, metavar="FILE", help="fit them: rod,nominal_mg_cm3,measured_hu, and case where they differ"
    )
    group.add_argument("--write-density", action="store_true", help="write voxels in mg/cm3 (float32) in place of HU")


def run(options: argparse.Namespace) -> int:
    """Convert, then say where the dataset is and what failed.

    Raises:
        UserError: whatever does not fit together, before any work.
    """
    from nnunet_da.conversion.engine import convert_scans, report
    from nnunet_da.conversion.qct_load import load
    from nnunet_da.conversion.qct_scans import dataset_labels, find_scans

    _refuse_contradictions(options)
    channel_name = options.channel_name or ("QCT" if options.write_density else "CT")
    output = output_of(options, (channel_name,), dataset_labels(options), "nnunet-da convert qct")
    scans = find_scans(options)
    conversion = convert_scans(scans, load, output, overwrite=options.overwrite, processes=options.processes, pictures=options.pictures)
    if options.dataset_id is not None and conversion.folder.is_dir():
        _write_folds(conversion.folder, scans, {*conversion.done, *conversion.skipped})
    return report(conversion)


def _write_folds(folder: Path, scans: "Sequence[Scan]", converted: set[str]) -> None:
    """With both sides, the left and the right femur of a scan must not be on two sides of a split."""
    from nnunet_da.conversion.patient_splits import SPLITS, drop_stale_splits, write_patient_splits
    from nnunet_da.conversion.scan import TRAINING

    both = [scan for scan in scans if scan.case in converted and scan.split == TRAINING and scan.settings.both_sides]
    if not both:
        drop_stale_splits(folder, converted)
        return
    written = write_patient_splits(folder, {scan.case: str(scan.images[0]) for scan in both}, FOLDS)
    if written:
        print(f"folds {folder / SPLITS}: {written}, both femora of a scan together")
    else:
        print("one scan cannot be split into folds: nnU-Net would train on one femur and validate on the other")


def _refuse_contradictions(options: argparse.Namespace) -> None:
    rules = {
        "labels are given but not what they mean: add --label NAME=SOURCE for each, such as --label femur=1": bool(
            (options.labels or options.test_labels) and not (options.label or options.label_right)
        ),
        "--test-labels needs the scans they belong to: add --test-images": bool(options.test_labels and not options.test_images),
        "-o writes scans to predict on, which have no labels: leave out -l, or write a dataset with -d and --name": bool(
            options.output and (options.labels or options.test_labels)
        ),
        "-o writes one folder of scans to predict on: leave out --test-images": bool(options.output and options.test_images),
        "the window is given twice: keep --window-mm or --window-voxels": bool(options.window_mm and options.window_voxels is not None),
        "--no-crop keeps the whole field, which has no window: leave out one": bool(
            options.no_crop and (options.window_mm or options.window_voxels is not None or options.side == "both")
        ),
        "the spacing is given twice: keep --spacing-mm or --spacing-csv": bool(options.spacing_mm and options.spacing_csv),
        "the calibration is given twice: keep --density or --phantom-rods": bool(options.density and options.phantom_rods),
        "--write-density needs a calibration: add --density or --phantom-rods": bool(
            options.write_density and not (options.density or options.phantom_rods)
        ),
        "--label-right is for --side right or both": bool(options.label_right and options.side == "left" and not options.label),
    }
    for text, broken in rules.items():
        if broken:
            raise UserError(text)
