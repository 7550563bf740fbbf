"""Entry point of `nnunet-da`: find the verb, run it, turn user errors into one line."""

import argparse
import importlib
import shlex
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from nnunet_da import __version__
from nnunet_da.errors import CheckFailed, UserError

# verb -> (module in nnunet_da.cli, one line of help)
VERBS = {
    "demo": ("demo", "run the whole job on the synthetic two-centre phantom"),
    "doctor": ("doctor", "check that training and prediction can work here"),
    "trainer-path": ("trainer_path", "print the folder for nnUNet_extTrainer"),
    "phantom": ("phantom", "make nnU-Net datasets of a synthetic centre"),
    "convert": ("convert", "turn folders of scans into a nnU-Net dataset"),
    "audit": ("audit", "what differs between two centres, and what would leak between them"),
    "plan": ("plan", "plan source and target on the source's fingerprint"),
    "preprocess": ("preprocess", "preprocess source and target on the source's plans"),
    "adapt-bn": ("adapt_bn", "fit a trained model's batch normalisation to a target, without training"),
    "pseudo-label": ("pseudo_label", "label a target's scans by a trained model, to train on them as well"),
    "restore": ("restore", "put predictions of converted scans back onto their original grid"),
    "evaluate": ("evaluate", "score predictions in mm, per case, label and site"),
    "compare": ("compare", "paired statistics between methods scored on the same cases"),
    "radiomics": ("radiomics", "features and bone endpoints of the predictions, and their agreement with the references"),
    "vnet-femur": ("vnet_femur", "the protocol of V-Net femur: split by sex, hold-out, scores beside the paper's"),
    "diagnose": ("diagnose", "what adaptation did to a trained run, and whether it harmed"),
    "study": ("study", "compare arms under the same conditions: train, predict, score, test and report all of them"),
    "report": ("report", "one HTML page from metrics, curves and predictions"),
    "export": ("export", "take a trained model away, cleaned, for stock nnU-Net where its network is stock"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb. Returns 0 done, 1 a check failed, 2 bad input."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        parser = _parser_for(arguments)
        options = parser.parse_args(arguments)
        if options.verb is None:
            parser.print_help()
            return 2
        options.command = shlex.join(["nnunet-da", *arguments])  # for the records that verbs write
        return options.run(options) or 0
    except (UserError, CheckFailed, OSError) as error:
        if "--debug" in arguments:
            traceback.print_exc()
        return print_error(error)


def print_error(error: Exception) -> int:
    """One line on stderr. Returns the exit code: 1 for a failed check, 2 for bad input."""
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    return 1 if isinstance(error, CheckFailed) else 2


class _Parser(argparse.ArgumentParser):
    """Reports wrong options like every other bad input; its sub-parsers do so too."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} -h")


def _parser_for(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """A parser that knows every verb by name and loads only the one asked for."""
    parser = _Parser(prog="nnunet-da", description="Domain adaptation for stock nnU-Net v2.")
    parser.add_argument("--version", action="version", version=f"nnunet-da {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    asked_for = next((argument for argument in arguments if argument in VERBS), None)
    for verb, (module_name, help_line) in VERBS.items():
        verb_parser = verbs.add_parser(verb, help=help_line, description=help_line[0].upper() + help_line[1:] + ".")
        if verb == asked_for:
            module = importlib.import_module(f"nnunet_da.cli.{module_name}")
            module.add_arguments(verb_parser)
            verb_parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
            verb_parser.set_defaults(run=module.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
