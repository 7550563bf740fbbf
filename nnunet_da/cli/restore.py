"""`nnunet-da restore`: predictions of converted scans back onto the original grid."""

import argparse
import os
import sys
from pathlib import Path

from nnunet_da.cli.options import positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument(
        "-i", "--input", type=Path, required=True, metavar="PREDICTIONS", help="folder of CASE.nii.gz, from nnUNetv2_predict"
    )
    parser.add_argument(
        "-c",
        "--converted",
        type=Path,
        required=True,
        metavar="CONVERTED",
        help="the dataset or folder `nnunet-da convert` made of the scans",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="folder for CASE.nii.gz on the original grids")
    parser.add_argument("--overwrite", action="store_true", help="replace predictions restored before")
    parser.add_argument("--processes", type=positive, default=min(4, os.cpu_count() or 1), help="cases at a time (default %(default)s)")


def run(options: argparse.Namespace) -> int:
    """Restore, then say how it went; 1 where a prediction was refused."""
    from nnunet_da.conversion.restore import restore_folder

    result = restore_folder(options.input, options.converted, options.output, overwrite=options.overwrite, processes=options.processes)
    print(f"wrote {len(result.done)} predictions on their original grids to {result.folder}")
    if result.missing:
        print(f"no prediction for {len(result.missing)} converted cases: {', '.join(result.missing)}")
    for case, reason in sorted(result.failed.items()):
        print(f"failed {case}: {reason}", file=sys.stderr)
    if result.failed:
        print(f"error: {len(result.failed)} of {len(result.failed) + len(result.done)} predictions were refused", file=sys.stderr)
    return 1 if result.failed else 0
