"""Scanco HR-pQCT and micro-CT files (AIM, ISQ) to a nnU-Net dataset, in HU or mg HA/cm3, 3D or slice by slice.

Importing this module is cheap: the parts that read images are imported when they are needed.
"""

import argparse

from nnunet_da.conversion.options import add_output_arguments, output_of

HELP = "Scanco AIM and ISQ files of HR-pQCT, in HU or mg HA/cm3, 3D or slice by slice"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    source = "a folder, or a quoted pattern whose one * is the case name, such as 'scans/*.AIM'"
    parser.add_argument("-i", "--images", required=True, metavar="IMAGES", help=f"grey scans, AIM or ISQ: {source}")
    parser.add_argument(
        "-l", "--labels", metavar="LABELS", help="label maps of the same case names, AIM or any image format: a folder or pattern"
    )
    parser.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="with -l: what a value in these files means, such as bone=127; repeat",
    )
    parser.add_argument(
        "--mask", action="append", default=[], metavar="NAME=MASKS",
        help="in place of -l: one file per case and label, all voxels but 0 count, such as cortex='scans/*_CORT_MASK.AIM'; repeat",
    )  # fmt: skip
    parser.add_argument("--density", action="store_true", help="write mg HA/cm3 by the header's calibration in place of HU")
    parser.add_argument("--mu-water", type=float, metavar="VALUE", help="attenuation of water in 1/cm, for files that do not hold it")
    parser.add_argument("--slices", action="store_true", help="one 2D case per slice, CASE_zNNNN")
    parser.add_argument("--folds", type=int, default=5, help="with --slices: folds by scan in splits_final.json (default %(default)s)")
    parser.add_argument("--channel-name", default="CT", metavar="NAME", help="default CT, which nnU-Net normalises by the dataset's values")
    add_output_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Find the scans, convert them, say where they are."""
    from nnunet_da.conversion.engine import convert_scans, report
    from nnunet_da.conversion.hrpqct_files import find_scans, label_values, write_slice_folds
    from nnunet_da.conversion.hrpqct_scans import load

    labels = label_values(options)
    scans = find_scans(options, labels)
    names = {"background": 0} | {name: index for index, (name, _) in enumerate(labels, start=1)}
    output = output_of(options, (options.channel_name,), names, "nnunet-da convert hrpqct")
    conversion = convert_scans(scans, load, output, overwrite=options.overwrite, processes=options.processes, pictures=options.pictures)
    if options.slices and options.dataset_id is not None and conversion.folder.is_dir():
        write_slice_folds(conversion.folder, scans, [*conversion.done, *conversion.skipped], options.folds)
    return report(conversion)
