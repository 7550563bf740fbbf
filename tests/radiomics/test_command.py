"""`nnunet-da radiomics` from the command line's side."""

import json

import pandas as pd
import pytest

pytest.importorskip("radiomics", reason="pyradiomics is not installed")

from nnunet_da.cli.main import main
from nnunet_da.radiomics.agreement import Agreement


def folders_of(folder):
    return ["--images", str(folder / "images"), "-r", str(folder / "references"), "-p", str(folder / "predictions")]


def arguments(folder, *more):
    return ["radiomics", *folders_of(folder), "-o", str(folder / "out"), "--processes", "1", "--no-null", *more]


def test_writes_the_tables_and_prints_ccc_and_bias(cohort_folder, capsys):
    command = [*arguments(cohort_folder, "--domain", "Tulane", "--calibration", "0.8", "5")]
    command[command.index("--no-null") : command.index("--no-null") + 1] = ["--null", "1"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "CCC median" in printed
    assert "reference eroded 1 mm" in printed
    assert "case_4, label 1, prediction: empty mask" in printed
    out = cohort_folder / "out"
    columns = {name: list(pd.read_csv(out / f"{name}.csv")) for name in ("features", "agreement", "endpoints", "endpoint_agreement")}
    statistics = list(Agreement.columns())
    assert columns["features"] == ["case", "domain", "label", "mask", "feature", "value"]
    assert columns["agreement"] == ["domain", "label", "mask", "feature", "family", *statistics, "note"]
    assert columns["endpoints"] == ["case", "domain", "label", "mask", "endpoint", "value", "unit"]
    assert set(columns["endpoint_agreement"]) >= {"endpoint", *statistics, "r2_correlation", "r2_p", "r2_identity", "note"}
    endpoints = set(pd.read_csv(out / "endpoints.csv")["endpoint"])
    assert endpoints >= {"volume_mm3", "mean_hu", "bmd_mg_cm3", "bmc_mg", "cortical_thickness_mm", "cortical_hu"}
    manifest = json.loads((out / "radiomics.json").read_text())
    assert manifest["layout"] == 1
    assert manifest["undefined"][0]["case"] == "case_4"
    assert manifest["versions"]["pyradiomics"] != "unknown"
    assert manifest["settings"]["pyradiomics"]["setting"]["binWidth"] == 25
    assert "5 cases only" in manifest["warnings"][0]


def test_an_undefined_value_is_empty(cohort_folder):
    assert main(arguments(cohort_folder)) == 0
    endpoints = pd.read_csv(cohort_folder / "out" / "endpoints.csv", dtype=str, keep_default_na=False).set_index(
        ["case", "mask", "endpoint"]
    )
    assert endpoints.loc[("case_4", "prediction", "mean_hu"), "value"] == ""
    assert endpoints.loc[("case_4", "prediction", "volume_mm3"), "value"] == "0.0"


def test_reads_evaluations(cohort_folder, capsys):
    for index, domain in enumerate(("Tulane", "Rochester")):
        out = cohort_folder / f"evaluation_{domain}"
        evaluate = ["evaluate", *folders_of(cohort_folder), "--domain", domain, "--method", "m", "-o", str(out), "--processes", "1"]
        assert main(evaluate) == 0, index
    command = ["radiomics", "--evaluation", *map(str, sorted(cohort_folder.glob("evaluation_*")))]
    assert main([*command, "-o", str(cohort_folder / "out"), "--no-null", "--processes", "1"]) == 0
    assert set(pd.read_csv(cohort_folder / "out" / "agreement.csv")["domain"]) == {"Tulane", "Rochester"}
    assert json.loads((cohort_folder / "out" / "radiomics.json").read_text())["method"] == "m"
    assert main([*command[:2], command[2], command[2], "-o", str(cohort_folder / "twice")]) == 2
    assert "twice" in capsys.readouterr().err


def test_a_missing_prediction_ends_with_1_and_the_rest_done(cohort_folder, capsys):
    (cohort_folder / "predictions" / "case_0.nii.gz").unlink()
    assert main(arguments(cohort_folder)) == 1
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1].startswith("error: 1 of 5 cases")
    assert "case_0: no prediction" in captured.out
    assert (cohort_folder / "out" / "radiomics.json").is_file()


def test_refuses_results_that_exist(cohort_folder, capsys):
    assert main(arguments(cohort_folder)) == 0
    before = (cohort_folder / "out" / "features.csv").read_bytes()
    assert main(arguments(cohort_folder)) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(arguments(cohort_folder, "--overwrite")) == 0
    assert "(5 measured before)" in capsys.readouterr().out
    assert (cohort_folder / "out" / "features.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--evaluation", "."], "give --evaluation alone"),
        (["--calibration", "0", "5"], "slope above 0"),
        (["--shell", "-1"], "above 0 mm"),
        (["--settings", "none.yaml"], "does not exist"),
    ],
)
def test_refuses_wrong_options(cohort_folder, refuses, more, words):
    refuses(cohort_folder, arguments(cohort_folder, *more), words)


def test_refuses_nothing_to_measure(cohort_folder, refuses, write, make_bone):
    import numpy as np

    refuses(cohort_folder, ["radiomics", "-o", str(cohort_folder / "out")], "--evaluation DIR")
    refuses(cohort_folder, ["radiomics", "--evaluation", str(cohort_folder), "-o", str(cohort_folder / "out")], "evaluation.json")
    empty = cohort_folder / "empty"
    empty.mkdir()
    command = arguments(cohort_folder)
    command[command.index("-p") + 1] = str(empty)
    refuses(cohort_folder, command, "got none")
    for index in range(5):
        write(np.zeros((14, 36, 36), np.uint8), cohort_folder / "references" / f"case_{index}.nii.gz")
    refuses(cohort_folder, arguments(cohort_folder), "every reference is empty")


def test_refuses_an_evaluation_without_images(cohort_folder, refuses):
    evaluate = ["evaluate", *folders_of(cohort_folder)[2:], "--domain", "Tulane", "-o", str(cohort_folder / "evaluation")]
    assert main([*evaluate, "--processes", "1"]) == 0
    refuses(cohort_folder, ["radiomics", "--evaluation", str(cohort_folder / "evaluation"), "-o", str(cohort_folder / "out")], "--images")
