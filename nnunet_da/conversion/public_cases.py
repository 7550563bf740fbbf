"""Which cases of a public set are converted, and in which role. Importing this module is cheap."""

import argparse
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_da.conversion.public_files import refuse_twice
from nnunet_da.errors import UserError

if TYPE_CHECKING:
    from nnunet_da.conversion.scan import Scan


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
        refuse_twice([scan.case for scan in part.scans], "the input folder")
        drop = options.output is not None, options.unlabelled and number == len(parts) - 1
        scans = [_with_role(scan, scan.case in test, *drop) for scan in part.scans if scan.case in wanted]
        if not scans:
            raise UserError(f"no case of {' and '.join(part.channel_names)} is left in {options.input}: see the layout in docs/convert.md")
        if part.has_labels and not any(drop):
            _refuse_missing_labels(scans)
        chosen.append(replace(part, scans=scans, channel_names=_channel_names(part, options)))
    return chosen


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
    refuse_twice(names, str(file))
    missing = sorted(set(names) - set(known))
    if missing or not names:
        what = f"'{missing[0]}' is not among them ({len(missing)} in all)" if missing else "it is empty"
        raise UserError(f"{file} must list cases of the set, such as {', '.join(sorted(known)[:3]) or 'none found'}, but {what}")
    return set(names)


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
