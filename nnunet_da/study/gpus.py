"""NVIDIA GPUs by the driver's own tool; importing torch would take seconds."""

import shutil
import subprocess
from collections.abc import Collection

from nnunet_da import paths

TIMEOUT_SECONDS = 10


def number_of_gpus() -> int:
    """GPUs that jobs may use: all that the driver shows, or those of them that CUDA_VISIBLE_DEVICES lists."""
    there, visible = sum(line.startswith("GPU ") for line in _lines("-L")), paths.visible_gpus()
    return there if visible is None or not there else len(visible)


def gpu_memory_mb(pids: Collection[int]) -> float | None:
    """Memory of these processes on all GPUs together, in MB; None where the driver shows none of them (also within some containers)."""
    rows = [line.split(",") for line in _lines("--query-compute-apps=pid,used_gpu_memory", "--format=csv,noheader,nounits")]
    used = [
        float(row[1]) for row in rows if len(row) == 2 and row[0].strip().isdecimal() and row[1].strip().isdecimal() and int(row[0]) in pids
    ]
    return sum(used) if used else None


def _lines(*options: str) -> list[str]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        listed = subprocess.run([tool, *options], capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        return []
    return listed.stdout.splitlines() if listed.returncode == 0 else []
