"""`nnunet-da report`: one HTML page from metrics, statistics, curves and predictions."""

import argparse
from pathlib import Path

from nnunet_da.cli.options import positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder with one sub-folder per method, holding what `evaluate` wrote")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="HTML", help="the page (default: DIR/report.html); figures and tables go to DIR"
    )
    parser.add_argument(
        "--paper",
        default="auto",
        metavar="NAME",
        help="published tables beside ours: pfdaformer, none, or auto (default: where a method's preset or trainer follows a paper)",
    )
    parser.add_argument("--worst", type=positive, default=5, metavar="N", help="cases drawn per method, the worst first (default: 5)")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier report")


def run(options: argparse.Namespace) -> None:
    from nnunet_da.report.build import write_report

    page = write_report(options.folder, options.output, overwrite=options.overwrite, paper=options.paper, worst=options.worst)
    print(f"written: {page}")
