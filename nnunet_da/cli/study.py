"""`nnunet-da study`: arms under the same conditions, from one file to one report."""

import argparse
from pathlib import Path

from nnunet_da.cli.options import positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="study file (YAML), or the name of one that ships with the package")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="folder for everything (default: study_NAME)")
    parser.add_argument("--cores", type=positive, metavar="N", help="of this machine, at most (default: all); with --profile per job")
    parser.add_argument("--gpus", type=positive, metavar="N", help="of this machine, one job on each at a time (default: all)")
    parser.add_argument("--profile", metavar="P", help="run on a cluster: slurm, or the folder of a Snakemake profile")
    parser.add_argument("-n", "--dry-run", action="store_true", help="list the jobs, run nothing")
    parser.add_argument("--overwrite", action="store_true", help="throw away results of other settings in DIR")


def run(options: argparse.Namespace) -> None:
    from nnunet_da.study.engine import check_engine

    check_engine()
    import os

    from nnunet_da.study.file import read_study
    from nnunet_da.study.resolve import resolve
    from nnunet_da.study.run import Engine, run_study

    file = read_study(options.file)
    engine = Engine(options.cores or os.cpu_count() or 1, options.gpus, options.profile, options.dry_run)
    run_study(resolve(file), options.output or Path(f"study_{file.name}"), engine, overwrite=options.overwrite)
