"""Datasets that share files: hard links, which take no space and outlive the original, else symbolic ones."""

import os
from pathlib import Path

from nnunet_da.errors import UserError


def link(file: Path, aside: Path, final: Path) -> bool:
    """Link a file under the name it has for now; whether a symbolic link was needed, which points from its final place.

    Args:
        file: to link; of a link, what it points at.
        aside: where the link is made.
        final: where it will be moved with the folders that hold it.

    Raises:
        UserError: the file is not there, or can be linked neither way.
    """
    aside.parent.mkdir(parents=True, exist_ok=True)
    file = file.resolve()
    if not file.is_file():
        raise UserError(f"{file} is listed in dataset.json but not there: restore it")
    try:
        os.link(file, aside)
        return False
    except OSError:
        pass
    try:
        aside.symlink_to(os.path.relpath(file, final.parent.resolve()))
    except OSError as error:
        raise UserError(f"{file} can be linked neither hard nor symbolically to {final} ({error}): keep both on one disk") from None
    return True
