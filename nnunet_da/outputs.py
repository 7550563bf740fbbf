"""Where results may be written."""

from pathlib import Path

from nnunet_da.errors import UserError


def check_folder(folder: Path) -> None:
    """See that a folder is there or can be made, before any work is done for it.

    Raises:
        UserError: it or one above it is a file.
    """
    above = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not above.is_dir():
        raise UserError(f"a folder was expected for the output, but {above} is a file: choose another with -o")
