"""Is the workflow engine installed?"""

from importlib.util import find_spec

from nnunet_da.errors import UserError

NEEDED = ("yaml", "psutil", "rich", "snakemake")


def missing_packages() -> list[str]:
    """Packages of the extra `study` that are not installed; nothing is imported."""
    return [name for name in NEEDED if find_spec(name) is None]


def check_engine() -> None:
    """Raises UserError where a package of the extra `study` is missing."""
    missing = missing_packages()
    if missing:
        raise UserError(f"studies need the extra `study`, {', '.join(missing)} is not installed: pip install 'nnunet-da[study]'")
