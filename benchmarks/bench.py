"""What training with this package costs: every figure beside its reference, both measured in one run on the same work. One table.

usage: python benchmarks/bench.py [--device cpu] [--only step loaders start presets] [--compile off|on|both] [--seconds 40] [--out DIR]
"""

import argparse
import datetime
import importlib.metadata
import os
import tempfile
from pathlib import Path

import loading
import presets
import step
import surface_metrics
import torch
from table import Case, run, write
from workload import Setup, prepare

SECTIONS = {
    "step": step.cases,
    "loaders": loading.loader_cases,
    "start": loading.start_cases,
    "presets": presets.cases,
    "metrics": surface_metrics.cases,
}
COMPILED = {"off": (False,), "on": (True,), "both": (False, True)}


def main() -> None:
    options = _options()
    device = torch.device(options.device)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # as nnUNetv2_train sets it
    size = "tiny" if options.tiny else "full" if device.type == "cuda" else "small"
    setup = Setup(device, options.seconds, size, COMPILED[options.compile])
    heading = _heading(device)
    print(heading, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        rows = run(_cases(setup, options.only), device, options.limit)
    if options.out is not None:
        write(rows, options.out, heading)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="sections, measured in this order")
    parser.add_argument("--compile", choices=COMPILED, default="off", help="torch.compile, on a GPU only")
    parser.add_argument("--seconds", type=float, default=40, help="for each comparison")
    parser.add_argument("--limit", type=float, default=3600, help="start no measurement after so many seconds")
    parser.add_argument("--tiny", action="store_true", help="small networks everywhere: tries the script itself")
    parser.add_argument("--out", type=Path, help="also write bench.md and bench.json here")
    return parser.parse_args()


def _cases(setup: Setup, only: list[str]) -> list[Case]:
    cases = []
    for section in only:
        if section == "presets" and setup.size == "small":
            print("no CUDA device: the presets' speed and memory are not measured", flush=True)
            continue
        cases += SECTIONS[section](setup)
    return cases


def _heading(device: torch.device) -> str:
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "nnunetv2"))
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads of {os.cpu_count()}"
    return f"{name}; {versions}; {datetime.date.today()}; medians, ratios round by round with their 95 % interval"


if __name__ == "__main__":
    main()
