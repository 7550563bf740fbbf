"""`nnunet-da diagnose`: what adaptation did to a trained run, and whether it harmed."""

import argparse
from pathlib import Path

from nnunet_da.cli.options import positive
from nnunet_da.errors import CheckFailed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run_folder", type=Path, metavar="RUN", help="trained fold: nnUNet_results/DatasetXXX_NAME/TRAINER__PLANS__CONFIGURATION/fold_0"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="folder for diagnosis.json and pictures (default: RUN/diagnosis)")
    parser.add_argument("--source-only", type=Path, metavar="DIR", help="fold to compare with (default: the one beside RUN)")
    parser.add_argument("--covariates", type=Path, metavar="CSV", help="columns case and one per covariate (default: the phantom's own)")
    parser.add_argument("--checkpoint", choices=("final", "best"), default="final", help="which checkpoint to probe (default: final)")
    parser.add_argument("--patches-per-case", type=positive, default=8, metavar="N", help="patches that stand for a case (default: 8)")
    parser.add_argument("--permutations", type=_enough, default=200, metavar="N", help="of every null distribution (default: 200)")
    parser.add_argument("--margin", type=_dice, default=0.01, metavar="DICE", help="loss on the source that is tolerated (default: 0.01)")
    parser.add_argument("--seed", type=_seed, default=0, metavar="N", help="of patches, folds and permutations (default: 0)")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is one")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier diagnosis")


def run(options: argparse.Namespace) -> None:
    from nnunet_da.diagnosis.diagnose import Options, check_device, diagnose
    from nnunet_da.diagnosis.text import as_text
    from nnunet_da.diagnosis.write import check_output, write_diagnosis

    output = options.output or options.run_folder / "diagnosis"
    check_output(output, options.overwrite)
    chosen = Options(
        source_only=options.source_only,
        checkpoint=options.checkpoint,
        covariates=options.covariates,
        permutations=options.permutations,
        patches=options.patches_per_case,
        seed=options.seed,
        margin=options.margin,
        device=check_device(options.device),
    )
    diagnosis = diagnose(options.run_folder, chosen)
    file = write_diagnosis(diagnosis, output, overwrite=options.overwrite)
    print(as_text(diagnosis))
    print(f"\nwritten: {file}")
    if diagnosis.alarm:
        raise CheckFailed(f"negative transfer: {diagnosis.transfer.reason}; lower the alignment weights, or keep the source-only model.")


def _enough(text: str) -> int:
    if positive(text) < 40:
        raise argparse.ArgumentTypeError(f"at least 40 permutations were expected (a 95 % interval needs them), got {text}")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"a whole number of 0 or more was expected, got {text}")
    return int(text)


def _dice(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"a Dice between 0 and 1 was expected, got {text}")
    return value
