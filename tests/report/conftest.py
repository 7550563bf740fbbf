"""A small study: two arms, two domains, three cases each, one of them with an empty prediction."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from nnunet_da.evaluation.evaluate import evaluate_folders
from nnunet_da.evaluation.results import write_results
from nnunet_da.study.statistics.analysis import analyse
from nnunet_da.study.statistics.declaration import Declaration
from nnunet_da.study.statistics.files import write_answer

ARMS = {"source_only": 1, "adapted": 0}  # voxels by which the prediction is off
DOMAINS = ("Centre A", "Centre <B> & co")


def write_volume(array: np.ndarray, file: Path) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.8, 0.8, 2.5))
    file.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(file), True)


def write_domain(folder: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for case in range(3):
        reference = np.zeros((9, 30, 32), np.uint8)
        reference[2:7, 8:18, 10 : 20 + case] = 1
        name = f"scan_{case}.nii.gz"
        write_volume(reference, folder / "references" / name)
        write_volume((reference * 900.0 + rng.normal(0, 60, reference.shape)).astype(np.int16), folder / "images" / name)
        for arm, shift in ARMS.items():
            empty = seed == 1 and case == 2 and arm == "source_only"
            write_volume(np.roll(reference, shift, 2) * (not empty), folder / arm / name)


@pytest.fixture
def study(scored_study: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return shutil.copytree(scored_study.parent, tmp_path / "copy") / "study"


@pytest.fixture
def light_study(light: Path, tmp_path: Path) -> Path:
    """A copy of the study with three metrics, quick to draw, that a test may change."""
    return shutil.copytree(light.parent, tmp_path / "copy") / "study"


@pytest.fixture
def bare_study(light_study: Path) -> Path:
    """A copy with Dice alone and no files of cases: three figures."""
    for file in light_study.rglob("metrics.csv"):
        file.write_text("".join(row for row in file.read_text().splitlines(keepends=True) if row.split(",")[3] in ("metric", "dice")))
    for file in [*light_study.rglob("evaluation.json"), *light_study.rglob("curves.csv")]:
        file.unlink()
    return light_study


@pytest.fixture(scope="session")
def light(scored_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = shutil.copytree(scored_study.parent, tmp_path_factory.mktemp("light") / "copy") / "study"
    for file in copy.rglob("metrics.csv"):
        rows = file.read_text().splitlines()
        kept = [row for row in rows if row.split(",")[3] in ("metric", "dice", "hd95_mm", "asd_mm")]
        file.write_text("\n".join(kept) + "\n")
    return copy


@pytest.fixture(scope="session")
def compared() -> Callable[..., Path]:
    """Writes a comparison of the study by the contract: every metric better, worse, or open, see `write_comparison`."""
    return write_comparison


@pytest.fixture(scope="session")
def measured() -> Callable[[Path], Path]:
    """Writes radiomics of one arm by the contract, see `write_radiomics`."""
    return write_radiomics


@pytest.fixture(scope="session")
def answered() -> Callable[..., Path]:
    """Writes the answer of a small study into a folder, see `write_study_answer`."""
    return write_study_answer


def write_study_answer(folder: Path, seeds: int = 3, arms: dict[str, float] | None = None, **declared: object) -> Path:
    """study_answer.json and its tables: `arms` by their ASD in the second centre; the first is the source, where all are alike.

    It has more arms than the report's two, for a study may keep arms that were not scored again.
    """
    arms = arms or {"source_only": 2.0, "zero_weight": 1.9, "adapted": 1.3, "oracle": 1.0}
    declaration = Declaration(tuple(arms), ("adapted",), DOMAINS[0], DOMAINS[1:], **declared)
    write_answer(analyse(study_values(seeds, arms), declaration, resamples=200), folder, overwrite=True)
    return folder


def study_values(seeds: int, arms: dict[str, float]) -> pd.DataFrame:
    """One label, nine cases; in the target `adapted` finds nothing in one case of seed 0."""
    rng = np.random.default_rng(0)
    rows = []
    for domain in DOMAINS:
        cases = rng.normal(0, 0.3, 9)
        for arm, asd in arms.items():
            for seed in range(seeds):
                scores = (asd if domain == DOMAINS[1] else 0.8) + cases + rng.normal(0, 0.02) + rng.normal(0, 0.03, 9)
                for case, score in enumerate(scores):
                    lost = (domain, arm, seed, case) == (DOMAINS[1], "adapted", 0, 4)
                    numbers = {"dice": 0.98 - score / 25, "asd_mm": np.nan if lost else score, "hd95_mm": np.nan if lost else 3 * score}
                    rows += [(arm, seed, 0, domain, f"scan_{case}", "1", metric, value) for metric, value in numbers.items()]
    return pd.DataFrame(rows, columns=["arm", "seed", "fold", "domain", "case", "label", "metric", "value"])


def write_comparison(study: Path, better: dict[str, str], folder: str = "comparison", **changed: object) -> Path:
    """comparison.csv and comparison.json of source_only against adapted; `better` by domain, `changed` columns in every row.

    Counts and means are those of the metrics, the rest is made up.
    """
    rows = []
    arms = [pd.concat(map(pd.read_csv, sorted((study / arm).rglob("metrics.csv")))) for arm in ARMS]
    for domain in DOMAINS:
        for metric, unit, gain in (("dice", "fraction", 0.02), ("hd95_mm", "mm", -1.5), ("asd_mm", "mm", -0.25)):
            which = better[domain]
            difference = {"second": gain, "first": -gain, "": gain / 10}[which]
            place = {"first": "source_only", "second": "adapted", "domain": domain, "label": "1", "metric": metric, "unit": unit}
            interval = {"ci_low": difference - abs(gain) / 2, "ci_high": difference + abs(gain) / 2}
            p = 0.004 if which else 0.4
            tests = {"t": 3.1, "df": 2, "p_t": p / 2, "wilcoxon": 0, "p_wilcoxon": 0.25, "p_holm": p, "family": 6, "p_wilcoxon_holm": 1}
            chosen = [arm[(arm["domain"] == domain) & (arm["metric"] == metric)].set_index("case")["value"] for arm in arms]
            both = pd.concat(chosen, axis=1).dropna()
            means = {"n": len(both), "n_undefined": 3 - len(both), "n_seeds": 1, "difference": difference}
            means |= {"mean_first": both.iloc[:, 0].mean(), "mean_second": both.iloc[:, 1].mean()}
            counts = {"sd_difference": 0.1, "cohen_dz": 0.7, "wins": 2, "ties": 0, "losses": 1, "better": which, "note": ""}
            rows.append(place | means | interval | tests | counts | changed)
    (study / folder).mkdir()
    pd.DataFrame(rows).to_csv(study / folder / "comparison.csv", index=False)
    manifest = {
        "layout": 1,
        "alpha": 0.05,
        "warnings": ["one <seed> each"],
        "versions": {"scipy": "1.2.3"},
        "commands": ["nnunet-da compare"],
    }
    (study / folder / "comparison.json").write_text(json.dumps(manifest))
    return study / folder


def write_radiomics(arm: Path) -> Path:
    """agreement.csv, endpoints.csv, endpoint_agreement.csv and radiomics.json of one arm: three features, one endpoint, two nulls."""
    folder = arm / "radiomics"
    folder.mkdir()
    masks = {"prediction": 0.99, "reference_eroded_0.5mm": 0.9, "reference_dilated_0.5mm": 0.8}
    numbers = {
        **{"n": 3, "n_undefined": 0, "constant": "no", "pearson_r": 0.995, "pearson_low": 0.9, "pearson_high": 1, "icc_a1": 0.98},
        **{"icc_low": 0.9, "icc_high": 1, "bias": 1000.0, "loa_low": -500.0, "loa_high": 2500.0, "bias_percent": 2.5, "note": ""},
    }
    places = [{"domain": domain, "label": "1", "mask": mask, "ccc": ccc} for domain in DOMAINS for mask, ccc in masks.items()]
    features = {"original_shape_Sphericity": "shape", "original_shape_VoxelVolume": "shape", "original_ngtdm_Busyness": "ngtdm"}
    rows = [place | numbers | {"feature": name, "family": family} for place in places for name, family in features.items()]
    pd.DataFrame(rows).to_csv(folder / "agreement.csv", index=False)
    r2 = {"r2_correlation": 0.97, "r2_p": 0.0001, "r2_identity": 0.9}
    pd.DataFrame([place | numbers | r2 | {"endpoint": "mean_hu"} for place in places]).to_csv(
        folder / "endpoint_agreement.csv", index=False
    )
    values = [
        {"case": f"scan_{case}", "domain": domain, "label": "1", "mask": mask, "endpoint": "mean_hu", "value": 300 + 10 * case + extra}
        for domain in DOMAINS
        for case in range(3)
        for mask, extra in (("reference", 0), ("prediction", 5 + case))
    ]
    pd.DataFrame(values).assign(unit="HU").to_csv(folder / "endpoints.csv", index=False)
    manifest = {
        "layout": 1,
        "warnings": ["3 cases only"],
        "versions": {"pyradiomics": "3.0.1"},
        "command": ["nnunet-da", "radiomics", "-o", "a b"],
    }
    (folder / "radiomics.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="session")
def scored_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp_path = tmp_path_factory.mktemp("scored")
    for seed, domain in enumerate(DOMAINS):
        data = tmp_path / f"data_{seed}"
        write_domain(data, seed)
        for arm in ARMS:
            evaluation = evaluate_folders(
                data / "references", data / arm, images=data / "images", domains=domain, method=arm, processes=1, progress=False
            )
            write_results(evaluation, tmp_path / "study" / arm / f"domain_{seed}", command=f"nnunet-da evaluate -o {arm}")
    for arm in ARMS:
        rows = "".join(f"{epoch},{term},{1 / (epoch + 1)}\n" for epoch in range(4) for term in ("train_loss", "mmd"))
        (tmp_path / "study" / arm / "curves.csv").write_text("epoch,term,value\n" + rows + "4,mmd,nan\n")
    settings = {
        "title": "Two <centres>",
        "demonstration": True,
        "note": "Trained for <script>alert(1)</script> minutes.",
        "commands": ["nnunet-da plan -d 101 && echo done"],
        "versions": {"nnunetv2": "2.8.1"},
        "arms": {"source_only": "Source only", "adapted": "PF-DAformer"},
    }
    (tmp_path / "study" / "report.json").write_text(json.dumps(settings))
    return tmp_path / "study"
