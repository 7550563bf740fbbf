"""What the converters of public data sets share: options, and one dataset or a source and a target.

Structures are named as TotalSegmentator names them (`kidney_left`, `hip_right`), whatever a set calls them, so that two sets can be
source and target of one study. Importing this module is cheap.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_da.conversion.options import add_output_arguments, output_of
from nnunet_da.conversion.public_cases import Part, choose
from nnunet_da.errors import UserError

if TYPE_CHECKING:
    from nnunet_da.conversion.engine import Conversion
    from nnunet_da.conversion.scan import Loaded, Scan


def add_set_arguments(
    parser: argparse.ArgumentParser, layout: str, *, paper_split: str = "", target: str = "", channel_name: bool = True
) -> None:
    """Options of every public set.

    Args:
        parser: of one format.
        layout: what the input folder holds.
        paper_split: whose test cases `--paper-split` stands for, "" for none.
        target: what becomes the second dataset, "" for formats that make one.
        channel_name: whether there is one channel, whose name may be changed.
    """
    parser.add_argument("-i", "--input", type=Path, required=True, metavar="FOLDER", help=layout)
    parser.add_argument("--cases", type=Path, metavar="FILE", help="convert these alone, one case name per line")
    parser.add_argument("--test-cases", type=Path, metavar="FILE", help="hold these out in imagesTs and labelsTs, one case name per line")
    if paper_split:
        parser.add_argument("--paper-split", action="store_true", help=f"hold out the test cases of {paper_split}")
    whose = "of the target (of the only dataset where there is one)"
    parser.add_argument("--unlabelled", action="store_true", help=f"leave out labelsTr {whose}; labelsTs stays, for evaluate")
    if channel_name:
        parser.add_argument(
            "--channel-name", metavar="NAME", help="in place of the set's own; nnU-Net clips and scales a channel called CT by the source"
        )
    if target:
        parser.add_argument("--target-id", type=int, metavar="ID", help=f"also write a second dataset, the target: {target}")
        parser.add_argument("--target-name", metavar="NAME", help="its name")
    add_output_arguments(parser)


def convert_parts(options: argparse.Namespace, load: Callable[["Scan"], "Loaded"], parts: Sequence[Part], converted_by: str) -> int:
    """Choose the cases and convert one dataset, or a source and a target.

    Args:
        options: parsed options of `add_set_arguments`.
        load: the format's loader.
        parts: the source, and perhaps the target.
        converted_by: the command, for dataset.json.

    Returns:
        0, or 1 where a case failed.

    Raises:
        UserError: nothing found, cases that are not there, labels missing, or options that do not fit together.
    """
    from nnunet_da.conversion.engine import report

    return max(report(conversion) for conversion in conversions(options, load, choose(parts, options), converted_by))


def conversions(
    options: argparse.Namespace, load: Callable[["Scan"], "Loaded"], chosen: Sequence[Part], converted_by: str
) -> Iterator["Conversion"]:
    """Convert one part after the other, as `convert_parts` does after choosing."""
    from nnunet_da.conversion.engine import convert_scans
    from nnunet_da.conversion.standing import find_standing

    outputs = [
        output_of(of_part, part.channel_names, {"background": 0, **part.labels}, converted_by)
        for of_part, part in zip(_options_per_part(options, len(chosen)), chosen, strict=True)
    ]
    for output in outputs:
        find_standing(output, options.overwrite)  # refuse the second before the first is written
    for part, output in zip(chosen, outputs, strict=True):
        yield convert_scans(part.scans, load, output, overwrite=options.overwrite, processes=options.processes, pictures=options.pictures)


def _options_per_part(options: argparse.Namespace, count: int) -> list[argparse.Namespace]:
    if count == 1:
        return [options]
    if options.output is not None:
        raise UserError("a source and a target are two datasets: give -d, --name, --target-id and --target-name, not -o")
    if options.target_id is None or not options.target_name:
        raise UserError("a target dataset needs both --target-id and --target-name, such as --target-id 102 --target-name CentreB")
    if options.target_id == options.dataset_id:
        raise UserError(f"source and target must be two datasets, got the id {options.target_id} for both: choose another --target-id")
    return [options, argparse.Namespace(**(vars(options) | {"dataset_id": options.target_id, "name": options.target_name}))]
