"""Folders of image files (NIfTI, NRRD, MetaImage, whatever SimpleITK reads) to a nnU-Net dataset.

Importing this module is cheap: the parts that read images are imported when they are needed.
"""

import argparse
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_da.conversion.cases import find_cases
from nnunet_da.conversion.options import add_output_arguments, output_of
from nnunet_da.errors import UserError

if TYPE_CHECKING:
    from nnunet_da.conversion.scan import Loaded, Scan

VERSION = 1  # of `load`: a second run converts again what an older one made

HELP = "folders of NIfTI, NRRD or MetaImage files (any format SimpleITK reads), with or without labels"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    source = "a folder, or a quoted pattern whose one * is the case name, such as 'scans/*/ct.nii.gz'"
    parser.add_argument("-i", "--images", action="append", required=True, metavar="IMAGES", help=f"{source}; once per channel")
    parser.add_argument(
        "-l", "--labels", metavar="LABELS", help="label maps of the same case names, a folder or pattern; leave out for a target"
    )
    parser.add_argument(
        "--label", action="append", default=[], metavar="NAME=VALUE", help="what a label value means, such as femur=1; repeat"
    )
    parser.add_argument(
        "--labels-json", type=Path, metavar="FILE", help="the same from a JSON file; another dataset's dataset.json will do"
    )
    parser.add_argument(
        "--channel-name", action="append", metavar="NAME", help="one per channel, default CT (nnU-Net normalises a CT differently)"
    )
    parser.add_argument("--test-images", action="append", default=[], metavar="IMAGES", help="held-out scans, like -i")
    parser.add_argument("--test-labels", metavar="LABELS", help="their labels, like -l")
    add_output_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Match files to cases, convert them, say how it went."""
    from nnunet_da.conversion.engine import convert_scans, report
    from nnunet_da.conversion.scan import TEST, TRAINING, Scan

    channel_names = tuple(options.channel_name or ["CT"])
    labels = declared_labels(options.label, options.labels_json)
    if (options.labels or options.test_labels) and len(labels) == 1:
        raise UserError("labels are given but not what their values mean: add --label NAME=VALUE for each, such as --label femur=1")
    if options.test_labels and not options.test_images:
        raise UserError("--test-labels needs the scans they belong to: add --test-images")
    output = output_of(options, channel_names, labels, "nnunet-da convert nifti")
    cases = {TRAINING: find_cases(options.images, options.labels, channel_names)}
    cases[TEST] = find_cases(options.test_images, options.test_labels, channel_names) if options.test_images else []
    scans = [Scan(case.name, case.images, case.label, split) for split, of_split in cases.items() for case in of_split]
    return report(convert_scans(scans, load, output, overwrite=options.overwrite, processes=options.processes, pictures=options.pictures))


def load(scan: "Scan") -> "Loaded":
    """Read the files of one scan; a .nii.gz may be copied as it is."""
    from nnunet_da.conversion.images import read_image
    from nnunet_da.conversion.scan import Loaded
    from nnunet_da.conversion.stated_orientation import orientation_warnings

    images = tuple(read_image(path) for path in scan.images)
    label = read_image(scan.label) if scan.label else None
    warnings = tuple(dict.fromkeys(text for path in scan.images for text in orientation_warnings(path)))
    unchanged = tuple(path if path.name.endswith(".nii.gz") else None for path in scan.images)
    return Loaded(images, label, warnings=warnings, unchanged=unchanged)


def declared_labels(pairs: Sequence[str], json_file: Path | None) -> dict[str, int]:
    """Label names and values, background first.

    Args:
        pairs: texts NAME=VALUE.
        json_file: an object of names and values, alone or under the key "labels".

    Raises:
        UserError: text that is no pair, values that are no integers, or a name given twice.
    """
    if pairs and json_file:
        raise UserError("labels must be declared once: give either --label or --labels-json, not both")
    labels = {"background": 0}
    for name, value in _pairs_from_json(json_file) if json_file else map(_split_pair, pairs):
        if name in labels and (name, value) != ("background", 0):
            raise UserError(f"label '{name}' is declared twice: keep one")
        labels[name] = value
    return labels


def _split_pair(text: str) -> tuple[str, int]:
    match = re.fullmatch(r"\s*([^=]+?)\s*=\s*(\d+)\s*", text)
    if not match:
        raise UserError(f"a label must be declared as NAME=VALUE with an integer, such as femur=1, got '{text}'")
    return match[1], int(match[2])


def _pairs_from_json(path: Path) -> Iterator[tuple[str, int]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"--labels-json must name a JSON file, {path} could not be read: {error}") from None
    labels = content.get("labels", content) if isinstance(content, dict) else content
    if not isinstance(labels, dict) or not all(type(value) is int for value in labels.values()):
        raise UserError(f'--labels-json must hold names and integers, such as {{"background": 0, "femur": 1}}, got {labels} in {path}')
    yield from labels.items()
