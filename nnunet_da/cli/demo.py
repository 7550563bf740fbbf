"""`nnunet-da demo`: the whole job on the phantom, ending with the report's path."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", type=Path, default=Path("demo"), help="folder for everything (default: demo)")
    parser.add_argument("--full", action="store_true", help="also the GRL and MMD arms, and four times the training")
    parser.add_argument("--seed", type=int, default=0, help="of phantom and training (default: 0)")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier demo in that folder")


def run(options: argparse.Namespace) -> None:
    from nnunet_da.demo import Demo, run_demo

    run_demo(Demo(options.output.resolve(), options.full, options.seed), options.overwrite)
