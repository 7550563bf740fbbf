"""What the driver's tool says, played by a script."""

import os

import pytest

from nnunet_da.study.gpus import gpu_memory_mb, number_of_gpus

LISTED = """#!/bin/sh
case "$1" in
  -L) echo 'GPU 0: NVIDIA H200 (UUID: GPU-1)'; echo '  MIG 1g.18gb Device 0: (UUID: MIG-1)'; echo 'GPU 1: NVIDIA H200 (UUID: GPU-2)';;
  --query-compute-apps*) echo '11, 1024'; echo '12, 2048'; echo '12, 512'; echo '13, [N/A]';;
esac
"""


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """Content of `nvidia-smi` -> it stands first on the path."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    def write(content: str) -> None:
        tool = tmp_path / "nvidia-smi"
        tool.write_text(content)
        tool.chmod(0o755)

    return write


def test_memory_is_that_of_the_processes_on_all_gpus(driver):
    driver(LISTED)
    assert gpu_memory_mb([11, 12, 99]) == 1024 + 2048 + 512
    assert gpu_memory_mb([99]) is None
    assert gpu_memory_mb([13]) is None


def test_gpus_are_counted_unless_the_environment_says_which(driver, monkeypatch):
    driver(LISTED)
    assert number_of_gpus() == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert number_of_gpus() == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,none,0")  # CUDA stops reading at what is no GPU
    assert number_of_gpus() == 1
    driver("#!/bin/sh\nexit 9\n")
    assert number_of_gpus() == 0  # nothing to be seen, whatever the variable says


def test_a_driver_that_fails_or_hangs_is_none(driver, monkeypatch):
    driver("#!/bin/sh\necho 'GPU 0: lost'; exit 15\n")
    assert (number_of_gpus(), gpu_memory_mb([1])) == (0, None)
    monkeypatch.setattr("nnunet_da.study.gpus.TIMEOUT_SECONDS", 0.2)
    driver("#!/bin/sh\nexec sleep 30\n")
    assert number_of_gpus() == 0
