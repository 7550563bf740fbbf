"""What we ourselves make different between the domains: nothing.

Two phantom centres that follow one law are planned, preprocessed, loaded and encoded like source and target; a probe on the very tensors
that enter the alignment terms must stay at chance. The same probe finds a real difference (another scanner altogether), so it is not blind.
Two finite cohorts of one law differ by chance, so one arm in forty would fail with other seeds; these seeds are fixed.
"""

import contextlib
import io

import pytest
import torch
from nnunetv2.run.run_training import get_trainer_from_args

from nnunet_da import paths
from nnunet_da.phantom.cohort import SWITCHES, Window, centre
from nnunet_da.phantom.dataset import write_dataset
from nnunet_da.planning import PlanRequest, plan
from nnunet_da.preprocessing import preprocess
from nnunet_da.training.probing import probe_alignment

pytestmark = pytest.mark.slow
SAME_LAW = {"severity": 0, "population": False, "joint": False, "cortex": False}
FACTORS = ("kernel", "noise", "calibration", "cupping", "voltage")
OTHER_SCANNER = {**SAME_LAW, "severity": 2, **dict.fromkeys(SWITCHES, False), **dict.fromkeys(FACTORS, True)}
CASES, BATCHES = 28, 40


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """law -> a folder with a planned and preprocessed pair of centres."""
    made = {}
    for law, switches in (("same", SAME_LAW), ("other", OTHER_SCANNER)):
        root = tmp_path_factory.mktemp(law)
        for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            (root / name).mkdir()
        window = Window(size_mm=(150.0, 126.0, 126.0), pixel_mm=2.0)
        write_dataset(root / "nnUNet_raw", 101, "A", centre("tulane", **switches), CASES, 0, 11, window=window)
        write_dataset(root / "nnUNet_raw", 102, "B", centre("rochester", **switches), CASES, 0, 12, labels=False, window=window)
        made[law] = root
    return made


def probe(root, monkeypatch, preset, trainer_name, **options):
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(name, str(root / name))
    monkeypatch.setenv("nnUNet_extTrainer", str(paths.trainers_dir()))
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    with contextlib.redirect_stdout(io.StringIO()):
        file, configuration = plan(PlanRequest("101", ["102"], preset, {"seed": 1}, overwrite=True, **options))
        preprocess("101", file.stem, configuration, processes=1)
        trainer = get_trainer_from_args("101", configuration, "all", trainer_name, file.stem, device=torch.device("cpu"))
        trainer.initialize()
    return probe_alignment(trainer, BATCHES, permutations=100)


ARMS = [
    (
        "pf_daformer_demo",
        "nnUNetTrainer_PFDAformer",
        {"patch_size": [64, 64, 64], "spacing_mm": [3.0, 2.5, 2.5]},
    ),  # larger than a scan: padding on every side
    (
        "pf_daformer_demo",
        "nnUNetTrainer_PFDAformer",
        {"patch_size": [32, 32, 32], "spacing_mm": [3.0, 2.5, 2.5]},
    ),  # smaller: patches are cut anywhere
    ("uda", "nnUNetTrainer_UDA_GRL_MMD", {"spacing_mm": [5.0, 4.0, 4.0]}),  # stock network, foreground forced in the source
]


@pytest.mark.parametrize(("preset", "trainer", "options"), ARMS, ids=["padded", "cut", "forced"])
def test_identical_centres_cannot_be_told_apart(folders, monkeypatch, preset, trainer, options):
    result = probe(folders["same"], monkeypatch, preset, trainer, **options)
    print(result)
    assert result.at_chance, result


def test_the_probe_finds_another_scanner(folders, monkeypatch):
    result = probe(folders["other"], monkeypatch, *ARMS[0][:2], **ARMS[0][2])
    print(result)
    assert result.auc > 0.8
    assert not result.at_chance, result
