"""What stays of a study in the repository: its answer, its plots and the scores behind it, nothing large."""

import importlib
import json

import numpy as np
import pandas as pd
import pytest

from nnunet_da.errors import UserError
from nnunet_da.study.statistics.analysis import analyse
from nnunet_da.study.statistics.declaration import Declaration
from nnunet_da.study.statistics.files import write_answer

GAIN = {"zero_weight": 0.0, "grl": 0.5}  # mm of ASD in the target
SEEDS, CASES = (0, 12), 4


@pytest.fixture
def keep():
    return importlib.import_module("keep_study").keep


@pytest.fixture
def study(tmp_path):
    """Two arms, two seeds, two centres, as `nnunet-da study` leaves them; in seed 12 grl finds nothing in one case."""
    folder, rng, tables = tmp_path / "study", np.random.default_rng(0), []
    for arm, gain in GAIN.items():
        for seed in SEEDS:
            for domain in ("A", "B"):
                asd = 2 - (domain == "B") * gain + rng.normal(0, 0.1, CASES)
                asd[0] = np.nan if (arm, seed, domain) == ("grl", 12, "B") else asd[0]
                rows = [(f"c{case}", domain, "1", "asd_mm", value, "mm") for case, value in enumerate(asd)]
                rows += [(f"c{case}", domain, "1", metric, 0.9, "fraction") for case in range(CASES) for metric in ("dice", "sensitivity")]
                table = pd.DataFrame(rows, columns=["case", "domain", "label", "metric", "value", "unit"])
                for place in (f"evaluation/{arm}/seed{seed}_fold0/{domain}", f"results/{arm}/{domain}"):
                    (folder / place).mkdir(parents=True, exist_ok=True)
                    table.to_csv(folder / place / "metrics.csv", index=False)
                tables.append(table.assign(arm=arm, seed=seed, fold=0))
    declared = Declaration(tuple(GAIN), ("grl",), "A", ("B",), metrics=("dice",), margins={"dice": 0.01})
    write_answer(analyse(pd.concat(tables), declared, resamples=50), folder / "results")
    for arm in GAIN:  # the first epoch of two is not the second half
        (folder / "nnUNet_results" / arm).mkdir(parents=True)
        (folder / "nnUNet_results" / arm / "checkpoint_final.pth").write_text("large")
        curves = "".join(
            f"{epoch},gradient_seg,2\n{epoch},gradient_adv,{9 - 6 * epoch}\n{epoch},domain_accuracy,{1 - epoch / 2}\n" for epoch in (0, 1)
        )
        (folder / "nnUNet_results" / arm / "curves.csv").write_text("epoch,term,value\n" + curves)
    runs = [{"arm": arm, "seed": seed, "fold": 0, "trained": f"nnUNet_results/{arm}"} for arm in (*GAIN, "adabn") for seed in SEEDS]
    file = {"name": "tiny", "title": "Tiny", "seeds": list(SEEDS), "folds": [0]}
    (folder / "study.json").write_text(json.dumps({"file": file, "arms": [{"name": name, "title": name} for name in GAIN], "runs": runs}))
    return folder


def test_answer_plots_and_scores_are_kept_and_nothing_else(keep, study, tmp_path):
    output = tmp_path / "kept"
    output.mkdir()
    (output / "study-forest-of-an-earlier-study.png").touch()
    (study / "results" / "tables").mkdir()
    for name in ("paper_table2.md", "plans.md"):
        (study / "results" / "tables" / name).write_text("| a |")
    keep(study, output)
    kept = {file.name for file in output.iterdir()}
    answer = {file.name for file in (study / "results").glob("study_*")}
    plots = {"study-forest-asd_mm-B.png", "study-forest-dice-A.png"}
    assert kept == answer | plots | {"scores.csv", "terms.csv", "paper_table2.md", "study.json"}
    assert (output / "study-forest-asd_mm-B.png").read_bytes().startswith(b"\x89PNG")
    scores = pd.read_csv(output / "scores.csv")
    assert len(scores) == 2 * 2 * 2 * 2 * CASES  # arms, seeds, centres, metrics
    assert set(scores["metric"]) == {"dice", "asd_mm"}
    failed = scores[scores["value"].isna()]
    assert failed[["arm", "seed", "domain", "case"]].to_numpy().tolist() == [["grl", 12, "B", "c0"]]
    assert json.loads((output / "study.json").read_text())["seeds"] == [0, 12]
    terms = pd.read_csv(output / "terms.csv")
    assert list(zip(terms["arm"], terms["seed"], strict=True))[::2] == [(arm, seed) for arm in GAIN for seed in SEEDS]
    assert terms[["term", "gradient", "times_supervised", "domain_accuracy"]].to_numpy().tolist()[:2] == [
        ["seg", 2, 1, 0.5],
        ["adv", 3, 1.5, 0.5],
    ]


def test_a_study_without_an_answer_is_refused(keep, study, tmp_path):
    (study / "results/study_answer.json").unlink()
    with pytest.raises(UserError, match="no answer yet"):
        keep(study, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
