"""`nnunet-da compare`: paired statistics between methods scored on the same cases."""

import argparse
from pathlib import Path

from nnunet_da.cli.options import positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "methods",
        nargs="+",
        metavar="METHOD",
        help="two or more: a folder that `evaluate` wrote, NAME=FOLDER, or NAME=FOLDER,FOLDER with one folder per seed",
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT", help="folder for comparison.csv, .json and .md, anova.csv"
    )
    parser.add_argument(
        "--metrics",
        default="",
        metavar="LIST",
        help="names with commas between (default: dice, hd95_mm, asd_mm, precision, recall, hd_mm, nsd_*)",
    )
    parser.add_argument("--against-first", action="store_true", help="compare each method with the first alone (default: all pairs)")
    parser.add_argument("--common-cases", action="store_true", help="compare what all methods have instead of refusing unpaired cases")
    parser.add_argument(
        "--alpha", type=float, default=0.05, metavar="P", help="level for naming a method better, after Holm (default: 0.05)"
    )
    parser.add_argument("--resamples", type=positive, default=9999, metavar="N", help="of the bootstrap (default: 9999)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the bootstrap (default: 0)")
    parser.add_argument("--overwrite", action="store_true", help="replace a comparison in OUT")


def run(options: argparse.Namespace) -> None:
    from nnunet_da.evaluation.compare import CompareSettings, compare
    from nnunet_da.evaluation.comparison_files import RESULTS, TABLE_FILE, write_comparison
    from nnunet_da.evaluation.comparison_text import console_text
    from nnunet_da.evaluation.paired import read_methods
    from nnunet_da.outputs import check_output

    check_output(options.output, RESULTS, options.overwrite)
    settings = CompareSettings(
        metrics=tuple(name.strip() for name in options.metrics.split(",") if name.strip()),
        against_first=options.against_first,
        common_cases=options.common_cases,
        alpha=options.alpha,
        resamples=options.resamples,
        seed=options.seed,
    )
    comparison = compare(read_methods(options.methods), settings)
    write_comparison(comparison, options.output, command=options.command, overwrite=options.overwrite)
    print(console_text(comparison))
    print(f"written: {options.output / TABLE_FILE}")
