"""`nnunet-da doctor`: check that training and prediction can work here."""

import argparse

from nnunet_da.errors import CheckFailed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments of its own."""


def run(options: argparse.Namespace) -> None:
    from nnunet_da.doctor import Status, run_checks, table

    checks = run_checks()
    print(table(checks))
    failed = [check.name for check in checks if check.status is Status.FAIL]
    if failed:
        raise CheckFailed(f"training cannot work yet, {len(failed)} check(s) failed: {', '.join(failed)}; the fix stands after '->'")
