"""What every verb that writes results does alike: see that it may, write whole files, and say with what."""

import math
import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from nnunet_da.errors import UserError


def check_folder(folder: Path) -> None:
    """See that a folder is there or can be made, before any work is done for it.

    Raises:
        UserError: it or one above it is a file.
    """
    above = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not above.is_dir():
        raise UserError(f"a folder was expected for the output, but {above} is a file: choose another with -o")


def check_output(folder: Path, results: Iterable[str], overwrite: bool) -> None:
    """See that a folder can take results and holds none yet, unless they may be replaced.

    Args:
        folder: there or not.
        results: names of the files that are results.
        overwrite: whether they may be replaced.

    Raises:
        UserError: as above.
    """
    check_folder(folder)
    existing = [name for name in results if (folder / name).exists()]
    if existing and not overwrite:
        raise UserError(
            f"an output without results was expected, but {folder} holds {', '.join(existing)}: choose another or add --overwrite."
        )


def write_whole(file: Path, text: str) -> None:
    """Write to a temporary name, then rename: never half a file."""
    temporary = file.with_name(f".{file.name}.part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, file)


def relative(file: Path, folder: Path) -> str:
    """A file's path as seen from a folder, so that both can be moved together."""
    try:
        return Path(os.path.relpath(file.resolve(), folder.resolve())).as_posix()
    except ValueError:  # another drive on Windows
        return file.resolve().as_posix()


def plain_values(value: Any) -> Any:
    """A value that JSON can hold: no NumPy, None for NaN and infinity, keys as text; through dictionaries, lists and tuples."""
    if isinstance(value, dict):
        return {str(key): plain_values(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_values(item) for item in value]
    if hasattr(value, "item") and not hasattr(value, "__len__"):  # a NumPy number; NumPy itself would make `nnunet-da --help` slow
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def versions_of(*packages: str) -> dict[str, str]:
    """Versions of Python, this package and others, "unknown" where one is not installed as a package."""
    found = {"python": platform.python_version()}
    for package in ("nnunet-da", *packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found
