"""Files of public data sets by case, and what the values of their labels mean. Importing this module is cheap."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_da.errors import UserError

if TYPE_CHECKING:
    from nnunet_da.conversion.scan import Scan

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

    refuse_labels_alone(images, labels)
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
    refuse_twice(names, "the list of structures")
    ours = {known[name]: value for value, name in enumerate(names, start=1)}
    values = {**dict.fromkeys((*known.values(), *ignored), 0), **ours}
    return Codes(tuple(sorted(values.items())), tuple((name, value) for value, name in enumerate(names, start=1)))


def refuse_labels_alone(images: Mapping[str, Path], labels: Mapping[str, Path]) -> None:
    """Raises UserError for a label without the image of its case."""
    alone = sorted(labels.keys() - images.keys())
    if alone:
        raise UserError(
            f"a label needs the image of its case, none for {labels[alone[0]]} ({len(alone)} in all): add it, or move the label"
        )


def refuse_no_folder(root: Path) -> Path:
    """The folder itself; UserError where it is not one."""
    if not root.is_dir():
        raise UserError(f"expected the folder of the data set, got {root}, which is {'a file' if root.exists() else 'not there'}")
    return root


def refuse_twice(names: Iterable[str], where: str) -> None:
    """Raises UserError for a name that comes twice."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(f"'{twice[0]}' stands twice in {where} ({len(twice)} such in all): keep one")
