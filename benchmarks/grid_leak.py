"""How much of the site do grid and padding reveal? Two phantom centres that differ in slice thickness alone, seen by an untrained network.

For each way to bring 2.5 mm and 3 mm slices into one patch: AUC of a domain probe on the tensors that enter the alignment, beside its
permutation interval. What the probe finds here is what an alignment term would spend itself on, and no anatomy.

usage: python benchmarks/grid_leak.py [--cases 20] [--batches 40]
"""

import argparse
import contextlib
import io
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import torch

SAME_LAW = {"severity": 0, "population": False, "joint": False, "cortex": False, "positioning": False}
GRIDS = {
    "native voxels, padding seen (paper)": ({"spacing_mm": "native", "padding_hu": 0.0}, {"mask_padding": False}),
    "native voxels, padding masked": ({"spacing_mm": "native", "padding_hu": "lowest"}, {}),
    "resampled in mm, padding seen": ({"spacing_mm": "source", "padding_hu": "lowest"}, {"mask_padding": False}),
    "resampled in mm, padding masked (pf_daformer)": ({"spacing_mm": "source", "padding_hu": "lowest"}, {}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=20, help="per centre")
    parser.add_argument("--batches", type=int, default=40)
    options = parser.parse_args()
    print(f"{options.cases} cases per centre, {options.batches} batches, only the slices differ (2.5 mm; 2 mm re-gridded to 3 mm)")
    print(f"{'grid':48}{'AUC':>7}{'chance (95 %)':>18}{'p':>8}")
    with tempfile.TemporaryDirectory() as folder:
        _make_centres(Path(folder), options.cases)
        for number, (name, (preset, settings)) in enumerate(GRIDS.items()):
            result = _probe(f"Grid{number}Plans", preset, settings, options.batches)
            print(f"{name:48}{result.auc:7.2f}{f'{result.null_low:.2f} to {result.null_high:.2f}':>18}{result.p_value:8.3f}")


def _make_centres(folder: Path, cases: int) -> None:
    from nnunet_da.phantom.cohort import Window, centre
    from nnunet_da.phantom.dataset import write_dataset

    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (folder / name).mkdir()
        os.environ[name] = str(folder / name)
    os.environ["nnUNet_n_proc_DA"] = "0"
    window = Window(size_mm=(150.0, 126.0, 126.0), pixel_mm=2.0)
    write_dataset(folder / "nnUNet_raw", 101, "A", centre("tulane", **SAME_LAW, slice=True), cases, 0, 0, processes=2, window=window)
    rochester = centre("rochester", **SAME_LAW, slice=True)
    write_dataset(folder / "nnUNet_raw", 102, "B", rochester, cases, 0, 1, labels=False, processes=2, window=window)


def _probe(plans_name: str, preset_changes: dict, settings: dict, batches: int):
    from nnunetv2.run.run_training import get_trainer_from_args

    from nnunet_da import paths, planning
    from nnunet_da.preprocessing import preprocess
    from nnunet_da.training.probing import probe_alignment

    os.environ["nnUNet_extTrainer"] = str(paths.trainers_dir())
    preset = replace(planning.load_preset("pf_daformer_demo"), plans_name=plans_name, patch_size=[64, 64, 64], **preset_changes)
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        patch.object(planning, "load_preset", lambda _: preset),
    ):
        file, configuration = planning.plan(planning.PlanRequest("101", ["102"], "pf_daformer_demo", {"seed": 1, **settings}))
        preprocess("101", file.stem, configuration, processes=1)
        trainer = get_trainer_from_args("101", configuration, "all", "nnUNetTrainer_PFDAformer", file.stem, device=torch.device("cpu"))
        trainer.initialize()
        return probe_alignment(trainer, batches)


if __name__ == "__main__":
    main()
