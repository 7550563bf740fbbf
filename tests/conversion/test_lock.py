import subprocess
import sys

import pytest

from nnunet_da.conversion.lock import LOCK, locked, refuse_busy
from nnunet_da.errors import UserError

pytest.importorskip("fcntl")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / LOCK).parent.mkdir()
    return tmp_path


def test_one_process_at_a_time(folder):
    refuse_busy(folder)  # nobody has been here
    with locked(folder):
        with pytest.raises(UserError, match=r"another `convert` is writing into"):
            refuse_busy(folder)
        with pytest.raises(UserError, match="another `convert`"), locked(folder):
            pass
    refuse_busy(folder)


def test_a_killed_process_leaves_no_lock(folder):
    imports = "import os; from pathlib import Path; from nnunet_da.conversion.lock import locked"
    subprocess.run([sys.executable, "-c", f"{imports}\nwith locked(Path({str(folder)!r})):\n    os._exit(1)"], check=False)
    assert (folder / LOCK).is_file()
    refuse_busy(folder)
