"""`nnunet-da compare` from the command line's side: files, exit codes, one line of error."""

import json

import numpy as np
import pandas as pd
import pytest

from nnunet_da.cli.main import main

CONTRACT = [
    *("first", "second", "domain", "label", "metric", "unit", "n", "n_undefined", "n_seeds", "mean_first", "mean_second", "difference"),
    *("sd_difference", "ci_low", "ci_high", "t", "df", "p_t", "wilcoxon", "p_wilcoxon", "p_holm", "p_wilcoxon_holm", "family"),
    *("cohen_dz", "wins", "ties", "losses", "better", "note"),
]
ANOVA_CONTRACT = [
    *("domain", "label", "metric", "n", "methods", "f_repeated", "df1", "df2", "p_repeated", "p_greenhouse_geisser", "f_plain", "p_plain"),
    "note",
]


def write(folder, seed, shift=0.0, cases=8, failed=()):
    """An evaluation of two domains; `failed` cases of domain B have no distances."""
    for domain in ("DatasetA", "DatasetB"):
        rng = np.random.default_rng(sum(domain.encode()))
        noise = np.random.default_rng(seed)
        rows = []
        for case in range(cases):
            values = rng.uniform(0.7, 0.9, 6) + shift + noise.normal(0, 0.01, 6)
            for metric, value in zip(("dice", "precision", "recall", "hd_mm", "hd95_mm", "asd_mm"), values, strict=True):
                distance = metric.endswith("mm")
                shown = "" if distance and case in failed and domain == "DatasetB" else repr(float(value) * (10 if distance else 1))
                rows.append(f"case_{case},{domain},1,{metric},{shown},{'mm' if distance else 'fraction'}")
        (folder / domain).mkdir(parents=True)
        (folder / domain / "metrics.csv").write_text("\n".join(["case,domain,label,metric,value,unit", *rows, ""]))
        manifest = {"layout": 1, "method": folder.name, "labels": {"1": "femur"}, "cases": []}
        (folder / domain / "evaluation.json").write_text(json.dumps(manifest))
    return str(folder)


@pytest.fixture
def arms(tmp_path):
    return [write(tmp_path / "source_only", 0), write(tmp_path / "adapted", 1, 0.03, failed=(2, 5)), write(tmp_path / "other", 2, 0.01)]


def run(arms, tmp_path, *more):
    return main(["compare", *arms, "-o", str(tmp_path / "out"), "--resamples", "200", *more])


def refused(arms, tmp_path, capsys, *more):
    assert run(arms, tmp_path, *more) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert not (tmp_path / "out").exists()
    return captured.err


def test_two_methods(arms, tmp_path, capsys):
    assert run(arms[:2], tmp_path) == 0
    printed = capsys.readouterr().out
    assert "source_only (first), adapted (second): DatasetB, femur" in printed
    assert "hd95_mm: undefined in 0 cases of first only and 2 of second only, left out (exact McNemar p 0.5)" in printed
    assert "warning: one trained model each: source_only, adapted" in printed
    assert "corrected over the 12 tests" in " ".join(printed.split())
    assert max(map(len, printed.splitlines()[:-1])) <= 120
    table = pd.read_csv(tmp_path / "out" / "comparison.csv", keep_default_na=False)
    assert [column for column in table if column in CONTRACT] == CONTRACT
    assert len(table) == 12
    row = table.query("domain == 'DatasetB' and metric == 'asd_mm'").iloc[0]
    assert (row["n"], row["n_undefined"], row["n_undefined_second"], str(row["label"])) == (6, 2, 2, "1")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["comparison.csv", "comparison.json", "comparison.md"]


def test_three_methods_with_an_analysis_of_variance(arms, tmp_path, capsys):
    assert run(arms, tmp_path) == 0
    printed = capsys.readouterr().out
    assert "all 3 methods at once, analysis of variance: DatasetA, femur" in printed
    assert max(map(len, printed.splitlines()[:-1])) <= 120
    table = pd.read_csv(tmp_path / "out" / "anova.csv")
    assert [column for column in table if column in ANOVA_CONTRACT] == ANOVA_CONTRACT
    assert table.query("domain == 'DatasetB' and metric == 'hd_mm'")["n"].item() == 6
    assert len(pd.read_csv(tmp_path / "out" / "comparison.csv")) == 36


def test_manifest_tells_how_and_can_be_moved(arms, tmp_path):
    assert run([arms[0], f"ours={arms[1]},{arms[2]}"], tmp_path, "--seed", "3") == 0
    manifest = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert manifest["layout"] == 1
    assert manifest["methods"] == [
        {"name": "source_only", "folders": ["../source_only"]},
        {"name": "ours", "folders": ["../adapted", "../other"]},
    ]
    assert manifest["bootstrap"] | {"resamples": 200, "seed": 3} == manifest["bootstrap"]
    assert {"scipy", "statsmodels", "numpy"} <= set(manifest["versions"])
    assert manifest["alpha"] == 0.05
    assert manifest["warnings"]
    assert manifest["commands"][0].startswith("nnunet-da compare ")
    assert len(pd.read_csv(tmp_path / "out" / "seeds.csv")) == 3 * 2 * 6


def test_the_page_has_the_tables_and_what_to_know_before(arms, tmp_path):
    assert run(arms, tmp_path) == 0
    page = (tmp_path / "out" / "comparison.md").read_text()
    assert page.index("one trained model each") < page.index("## source_only (first), adapted (second): DatasetA, femur")
    rows = [line for line in page.splitlines() if line.startswith("| dice")]
    assert len(rows) == 3 * 2 + 2
    for line in page.splitlines():
        assert line.startswith("|") == line.endswith("|")


def test_the_same_command_gives_the_same_files(arms, tmp_path):
    assert run(arms[:2], tmp_path) == 0
    before = (tmp_path / "out" / "comparison.csv").read_bytes()
    assert run(arms[:2], tmp_path, "--overwrite") == 0
    assert (tmp_path / "out" / "comparison.csv").read_bytes() == before


def test_results_are_not_replaced_unasked_and_then_wholly(arms, tmp_path, capsys):
    assert run(arms, tmp_path) == 0
    assert run(arms[:2], tmp_path) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "out" / "anova.csv").exists()
    assert run(arms[:2], tmp_path, "--overwrite") == 0
    assert not (tmp_path / "out" / "anova.csv").exists()


def test_refuses_unpaired_cases_by_name(arms, tmp_path, capsys):
    short = write(tmp_path / "short", 4, cases=7)
    error = refused([arms[0], short], tmp_path, capsys)
    assert "short" in error
    assert "lacks 2 of 16: case_7 of DatasetA (label 1), case_7 of DatasetB (label 1)" in error
    assert run([arms[0], short], tmp_path, "--common-cases") == 0
    assert "warning: not in every method and left out: 2 of 16: case_7 of DatasetA" in " ".join(capsys.readouterr().out.split())
    manifest = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert manifest["left_out"] == [{"domain": domain, "case": "case_7", "label": "1"} for domain in ("DatasetA", "DatasetB")]


def test_refuses_an_older_layout(arms, tmp_path, capsys):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "metrics.csv").write_text("case,label,metric,value\ncase_0,1,Dice,0.9\n")
    error = refused([arms[0], str(tmp_path / "old")], tmp_path, capsys)
    assert "no column domain, unit" in error
    assert "run nnunet-da evaluate again" in error


def test_identical_methods_have_no_p_value(arms, tmp_path, capsys):
    assert run([f"a={arms[0]}", f"b={arms[0]}"], tmp_path) == 0
    assert "dice: identical in every case: no test, p not defined" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "out" / "comparison.csv")
    assert table["p_t"].isna().all()
    assert (table["ties"] == 8).all()


def test_one_case_says_what_it_cannot(tmp_path, capsys):
    assert run([write(tmp_path / "a", 0, cases=1), write(tmp_path / "b", 1, cases=1), write(tmp_path / "c", 2, cases=1)], tmp_path) == 0
    printed = capsys.readouterr().out
    assert "one pair: no spread, so no test, interval or effect size" in printed
    assert "1 case defined for every method: two at least are needed" in printed


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--metrics", "dice,shine"], "shine in every method was expected"),
        (["--alpha", "2"], "alpha must lie between 0 and 1"),
        (["--resamples", "10"], "100 or more resamples"),
        (["--resamples", "0"], "a whole number of 1 or more"),
    ],
)
def test_refuses_impossible_options(arms, tmp_path, capsys, more, said):
    assert said in refused(arms, tmp_path, capsys, *more)


def test_refuses_a_single_method_and_what_is_not_there(arms, tmp_path, capsys):
    assert "two or more methods were expected" in refused(arms[:1], tmp_path, capsys)
    assert "does not exist" in refused([arms[0], "nowhere"], tmp_path, capsys)
