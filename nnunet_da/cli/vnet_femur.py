"""`nnunet-da vnet-femur split|hold-out|score`: the protocol of V-Net femur around stock training and prediction."""

import argparse
import shlex
from pathlib import Path

from nnunet_da.cli.options import positive
from nnunet_da.errors import UserError

TRAINER, PLANS = "nnUNetTrainer_VNetFemur", "VNetFemurPlans"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    steps = parser.add_subparsers(dest="step", metavar="STEP", required=True)
    _add_split(_step(steps, "split", "hold-out and folds stratified by sex, as splits_final.json", _split))
    _add_hold_out(_step(steps, "hold-out", "the hold-out as folders for nnUNetv2_predict", _hold_out))
    _add_score(_step(steps, "score", "fold models and ensemble on the hold-out, beside the paper's numbers", _score))


def run(options: argparse.Namespace) -> None:
    options.run_step(options)


def _step(steps: argparse._SubParsersAction, name: str, help_line: str, function: object) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = steps.add_parser(name, help=help_line, description=help_line[0].upper() + help_line[1:] + ".")
    parser.add_argument("-d", "--dataset", required=True, metavar="ID", help="id or name of the labelled dataset")
    parser.add_argument("--overwrite", action="store_true", help="replace what this step wrote before")
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error")
    parser.set_defaults(run_step=function)
    return parser


def _add_split(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--table", type=Path, required=True, metavar="CSV", help="one row per case")
    parser.add_argument("--sex-column", default="sex", metavar="NAME", help="column of the table to stratify by (default: sex)")
    parser.add_argument("--case-column", default="case", metavar="NAME", help="column of the table with the case names (default: case)")
    parser.add_argument("--hold-out", type=float, default=0.1, metavar="SHARE", help="of the cases, in no fold (default: 0.1)")
    parser.add_argument("--folds", type=int, default=10, metavar="N", help="of the rest (default: 10)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the draw (default: 0)")


def _add_hold_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for images and labels")
    parser.add_argument("--cohort", default="all", help="all, or a sex as the table has it (default: all)")


def _add_score(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-p",
        "--predictions",
        required=True,
        nargs="+",
        metavar="[COHORT=]DIR",
        help="folder with fold_0, fold_1, ... and ensemble, per cohort (default: the whole one)",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="folder for the tables")
    parser.add_argument(
        "--field-of-view", type=float, metavar="MM", help="count specificity in a box around the reference with this margin (default: all)"
    )
    parser.add_argument("--label", metavar="NAME", help="which label, where the dataset has several")
    parser.add_argument("--processes", type=positive, default=1, metavar="N", help="cases at a time (default: 1)")


def _split(options: argparse.Namespace) -> None:
    from nnunet_da.vnet_femur.split import SplitRequest, split

    request = SplitRequest(
        options.dataset,
        options.table,
        options.sex_column,
        options.case_column,
        options.hold_out,
        options.folds,
        options.seed,
        options.overwrite,
    )
    file, record = split(request, options.command)
    print(f"written: {file}")
    for name, cohort in record["cohorts"].items():
        first, last = cohort["folds"][0], cohort["folds"][-1]
        print(f"cohort {name}: {cohort['cases']} cases, {len(cohort['hold_out'])} of them held out, folds {first} to {last}")
    print(f"note: {record['cautions'][0]}")


def _hold_out(options: argparse.Namespace) -> None:
    from nnunet_da.vnet_femur.hold_out import IMAGES, write_hold_out

    cases, folds = write_hold_out(options.dataset, options.output, options.cohort, options.overwrite)
    print(f"written: {len(cases)} cases of the cohort {options.cohort} in {options.output}")
    print("next, for each trained fold and for all of them together:")
    output = shlex.quote(str(options.output / "predictions"))
    images = shlex.quote(str(options.output / IMAGES))
    model = f"nnUNetv2_predict -d {options.dataset} -c 3d_fullres -tr {TRAINER} -p {PLANS} -i {images}"
    print(f"  {model} -f {folds[0]} -o {output}/fold_{folds[0]}")
    print(f"  {model} -f {' '.join(map(str, folds))} -o {output}/ensemble")
    print(f"  nnunet-da vnet-femur score -d {options.dataset} -p {options.cohort}={output} -o SCORES")


def _score(options: argparse.Namespace) -> None:
    from nnunet_da.outputs import check_output
    from nnunet_da.vnet_femur.score import score_cohorts
    from nnunet_da.vnet_femur.split import WHOLE
    from nnunet_da.vnet_femur.tables import RESULTS, TEXT, write_scores

    check_output(options.output, RESULTS, options.overwrite)
    predictions: dict[str, Path] = {}
    for text in options.predictions:
        cohort, separator, folder = text.partition("=")
        cohort, folder = (cohort, folder) if separator else (WHOLE, text)
        if cohort in predictions:
            raise UserError(f"each cohort must be given once, got '{cohort}' twice: write COHORT=DIR for each")
        predictions[cohort] = Path(folder)
    view = options.field_of_view
    cohorts = score_cohorts(options.dataset, predictions, field_of_view_mm=view, label=options.label, processes=options.processes)
    print(write_scores(cohorts, options.output, view, options.command, options.overwrite))
    print(f"written: {options.output / TEXT}")
