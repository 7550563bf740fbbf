"""What the converters of public data sets share: which cases, which role, which label values.

Structures are named as TotalSegmentator names them (`kidney_left`, `hip_right`), whatever a set calls them, so that two sets can be
source and target of one study. Importing this module is cheap.
"""

import argparse
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_da.conversion.options import add_output_arguments, output_of
from nnunet_da.errors import UserError

if TYPE_CHECKING:
    from nnunet_da.conversion.engine import Conversion
    from nnunet_da.conversion.scan import Loaded, Scan

ABDOMEN = ("liver", "kidney_right", "kidney_left", "spleen")  # label values 1 to 4 of the CT-MR studies on BTCV and CHAOS


@dataclass(frozen=True)
class Codes:
    """What the values of a label file mean.

    Attributes:
        values: (value in the file, our value), ours 0 where a structure is left out; 0 itself need not be named.
        names: (name, our value), background left out.
        doubtful: values in the file that are taken, with a warning.
    """

    values: tuple[tuple[int, int], ...]
    names: tuple[tuple[str, int], ...]
    doubtful: tuple[int, ...] = ()


@dataclass(frozen=True)
class Part:
    """One dataset to make.

    Attributes:
        scans: its cases; those in `TEST` stay there.
        channel_names: one per image of a scan.
        labels: name -> value, background left out.
        test_cases: cases that a published study tests on, for `--paper-split`.
        has_labels: False where the set publishes none for this part.
    """

    scans: Sequence["Scan"]
    channel_names: tuple[str, ...]
    labels: Mapping[str, int]
    test_cases: Collection[str] = ()
    has_labels: bool = True


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


def choose(parts: Sequence[Part], options: argparse.Namespace) -> list[Part]:
    """The parts with the cases asked for, test cases marked, labels left out where asked, the channel renamed where asked.

    Raises:
        UserError: an empty part, a case twice, a case that is not there, or a training case without label.
    """
    known = {scan.case for part in parts for scan in part.scans}
    wanted = _listed(options.cases, known) if options.cases else known
    test = _test_cases(parts, options, known)
    chosen = []
    for number, part in enumerate(parts):
        _refuse_twice([scan.case for scan in part.scans], "the input folder")
        drop = options.output is not None, options.unlabelled and number == len(parts) - 1
        scans = [_with_role(scan, scan.case in test, *drop) for scan in part.scans if scan.case in wanted]
        if not scans:
            raise UserError(f"no case of {' and '.join(part.channel_names)} is left in {options.input}: see the layout in docs/convert.md")
        if part.has_labels and not any(drop):
            _refuse_missing_labels(scans)
        chosen.append(replace(part, scans=scans, channel_names=_channel_names(part, options)))
    return chosen


def files_by_case(root: Path, pattern: str) -> dict[str, Path]:
    """Files anywhere below a folder whose names match, by the pattern's first group, which is the case.

    Raises:
        UserError: no such folder, or two files of one case.
    """
    found: dict[str, Path] = {}
    for path in sorted(refuse_no_folder(root).rglob("*")):
        match = re.fullmatch(pattern, path.name)
        if not match or path.name.startswith("."):
            continue
        if match[1] in found:
            raise UserError(f"the case '{match[1]}' has two files, {found[match[1]]} and {path}: keep one")
        found[match[1]] = path
    return found


def pairs(images: Mapping[str, Path], labels: Mapping[str, Path], codes: Codes) -> list["Scan"]:
    """One scan per image, with the label of the same case.

    Raises:
        UserError: a label without image.
    """
    from nnunet_da.conversion.scan import Scan

    alone = sorted(labels.keys() - images.keys())
    if alone:
        raise UserError(
            f"a label needs the image of its case, none for {labels[alone[0]]} ({len(alone)} in all): add it, or move the label"
        )
    return [Scan(case, (path,), labels.get(case), settings=codes) for case, path in sorted(images.items())]


def codes_for(names: Sequence[str], known: Mapping[str, int], ignored: Iterable[int] = ()) -> Codes:
    """Number structures 1, 2, 3, ... as they are named.

    Args:
        names: structures to keep.
        known: every structure of the set -> value in its label files.
        ignored: further values that may occur and become background.

    Raises:
        UserError: a name the set does not have, or one that comes twice.
    """
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UserError(f"the set has no structure '{unknown[0]}': choose among {', '.join(known)}")
    _refuse_twice(names, "the list of structures")
    ours = {known[name]: value for value, name in enumerate(names, start=1)}
    values = {**dict.fromkeys((*known.values(), *ignored), 0), **ours}
    return Codes(tuple(sorted(values.items())), tuple((name, value) for value, name in enumerate(names, start=1)))


def refuse_no_folder(root: Path) -> Path:
    """The folder itself; UserError where it is not one."""
    if not root.is_dir():
        raise UserError(f"expected the folder of the data set, got {root}, which is {'a file' if root.exists() else 'not there'}")
    return root


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


def _test_cases(parts: Sequence[Part], options: argparse.Namespace, known: Collection[str]) -> set[str]:
    if not getattr(options, "paper_split", False):
        return _listed(options.test_cases, known) if options.test_cases else set()
    if options.test_cases:
        raise UserError("test cases must be named once: give either --paper-split or --test-cases, not both")
    published = {case for part in parts for case in part.test_cases}
    if not published:
        raise UserError("no published split is known for this part of the set: hold cases out with --test-cases")
    missing = sorted(published - set(known))
    if missing:
        raise UserError(f"the published split tests on {', '.join(missing)}, not in {options.input}: complete it, or use --test-cases")
    return published


def _listed(file: Path, known: Collection[str]) -> set[str]:
    """Case names of a text file; # begins a comment."""
    try:
        lines = [line.split("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"a text file of case names was expected, {file} could not be read: {error}") from None
    names = [line for line in lines if line]
    _refuse_twice(names, str(file))
    missing = sorted(set(names) - set(known))
    if missing or not names:
        what = f"'{missing[0]}' is not among them ({len(missing)} in all)" if missing else "it is empty"
        raise UserError(f"{file} must list cases of the set, such as {', '.join(sorted(known)[:3]) or 'none found'}, but {what}")
    return set(names)


def _refuse_twice(names: Iterable[str], where: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(f"'{twice[0]}' stands twice in {where} ({len(twice)} such in all): keep one")


def _channel_names(part: Part, options: argparse.Namespace) -> tuple[str, ...]:
    name = getattr(options, "channel_name", None)
    if name and len(part.channel_names) != 1:
        raise UserError(
            f"--channel-name renames one channel, here are {len(part.channel_names)}: {', '.join(part.channel_names)}: leave it out"
        )
    return (name,) if name else part.channel_names


def _with_role(scan: "Scan", is_test: bool, no_labels: bool, no_training_labels: bool) -> "Scan":
    from nnunet_da.conversion.scan import TEST

    split = TEST if is_test else scan.split
    return replace(scan, split=split, label=None if no_labels or (no_training_labels and split != TEST) else scan.label)


def _refuse_missing_labels(scans: Sequence["Scan"]) -> None:
    from nnunet_da.conversion.scan import TRAINING

    without = [scan.case for scan in scans if scan.label is None and scan.split == TRAINING]
    if without:
        raise UserError(f"every case needs its label, missing for '{without[0]}' ({len(without)} in all): add it, or use --unlabelled")
