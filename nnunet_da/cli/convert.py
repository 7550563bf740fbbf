"""`nnunet-da convert FORMAT`: one module of `nnunet_da.conversion` per format, each with HELP, add_arguments and run."""

import argparse
import importlib

FORMATS = (
    "nifti", "qct", "pfdaformer", "totalsegmentator", "ctpelvic1k", "mmwhs", "btcv", "chaos", "crossmoda", "msd", "hrpqct", "sites",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Every format is a sub-verb; its module imports light at the top."""
    formats = parser.add_subparsers(dest="format", metavar="FORMAT", required=True)
    for name in FORMATS:
        module = importlib.import_module(f"nnunet_da.conversion.{name}")
        format_parser = formats.add_parser(name, help=module.HELP, description=f"Read {module.HELP}; write a nnU-Net dataset.")
        module.add_arguments(format_parser)
        format_parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error")
        format_parser.set_defaults(run_format=module.run)


def run(options: argparse.Namespace) -> int | None:
    return options.run_format(options)
