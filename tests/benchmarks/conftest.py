"""The scripts of benchmarks/ import each other by their bare names."""

import sys

import pytest

from nnunet_da import paths


@pytest.fixture(autouse=True, scope="session")
def scripts_are_importable():
    folder = str(paths.PACKAGE_DIR.parent / "benchmarks")
    sys.path.insert(0, folder)
    yield
    sys.path.remove(folder)
