"""`nnunet-da preprocess`: source by stock nnU-Net, target scans on the source's plans."""

import argparse

from nnunet_da.cli.options import positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-d", "--source", required=True, help="id or name of the source dataset")
    parser.add_argument("-p", "--plans", required=True, help="name of the plans, such as PFDAformerPlans")
    parser.add_argument("-c", "--configuration", default="3d_fullres", help="configuration (default: 3d_fullres)")
    parser.add_argument("--processes", type=positive, default=2, help="(default: 2)")
    parser.add_argument("--targets-only", action="store_true", help="leave the source's preprocessed data as they are")


def run(options: argparse.Namespace) -> None:
    from nnunet_da.preprocessing import preprocess

    folders = preprocess(options.source, options.plans, options.configuration, options.processes, options.targets_only)
    for folder in folders:
        print(f"preprocessed: {folder}")
