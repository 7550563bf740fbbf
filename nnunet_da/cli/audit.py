"""`nnunet-da audit`: what differs between two centres, and what would leak."""

import argparse
from pathlib import Path

from nnunet_da.cli.options import positive
from nnunet_da.errors import CheckFailed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-d", "--source", required=True, metavar="ID", help="id or name of the source dataset")
    parser.add_argument("-t", "--targets", required=True, nargs="+", metavar="ID", help="ids or names of target datasets")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for audit.html, audit.json, features.csv")
    parser.add_argument("--patients", type=Path, metavar="CSV", help="columns case, patient and, where case names repeat, dataset")
    parser.add_argument("-p", "--plans", metavar="PLANS", help="the source's plans, to look at preprocessed scans as well")
    parser.add_argument("-c", "--configuration", default="3d_fullres", help="of the plans (default: 3d_fullres)")
    parser.add_argument(
        "--target-labels", action="store_true", help="also open label maps of the targets, to compare how labels were drawn"
    )
    parser.add_argument("--permutations", type=_enough, default=200, metavar="N", help="of every probe (default: 200)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of folds and permutations (default: 0)")
    parser.add_argument("--processes", type=positive, metavar="N", help="scans at a time (default: one per core, at most 8)")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier audit")


def run(options: argparse.Namespace) -> None:
    from nnunet_da.audit.audit import Options, audit
    from nnunet_da.audit.text import as_text
    from nnunet_da.audit.write import RESULTS, write_audit
    from nnunet_da.outputs import check_output

    check_output(options.output, RESULTS, options.overwrite)
    found = audit(
        Options(
            source=options.source,
            targets=tuple(options.targets),
            patients=options.patients,
            plans=options.plans,
            configuration=options.configuration,
            target_labels=options.target_labels,
            permutations=options.permutations,
            seed=options.seed,
            processes=options.processes,
        )
    )
    page = write_audit(found, options.output, options.command)
    print(as_text(found))
    print(f"\nwritten: {page}")
    problems = [f"{len(found.leaks)} leak(s), listed above"] if found.leaks else []
    problems += [f"{len(found.unreadable)} scan(s) could not be read"] if found.unreadable else []
    if problems:
        raise CheckFailed(f"{' and '.join(problems)}: remove one of each pair, or correct the files, then audit again.")


def _enough(text: str) -> int:
    if positive(text) < 40:
        raise argparse.ArgumentTypeError(f"at least 40 permutations were expected (a 95 % interval needs them), got {text}")
    return int(text)
