"""`nnunet-da report`: one HTML page from metrics, curves and predictions."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder with one sub-folder per method, holding what `evaluate` wrote")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="HTML", help="the page (default: DIR/report.html); figures and tables go to DIR"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier report")


def run(options: argparse.Namespace) -> None:
    from nnunet_da.report.build import write_report

    print(f"written: {write_report(options.folder, options.output, overwrite=options.overwrite)}")
