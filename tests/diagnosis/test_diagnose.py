import json
import shutil

import pytest

from nnunet_da.cli.main import main

FEW = ["--permutations", "40", "--patches-per-case", "2", "--device", "cpu"]


def result(folder):
    return json.loads((folder / "diagnosis" / "diagnosis.json").read_text())


def lower_dice(folder, by):
    file = folder / "validation" / "summary.json"
    content = json.loads(file.read_text())
    for index, entry in enumerate(content["metric_per_case"]):
        entry["metrics"]["1"]["Dice"] -= by * (1 + 0.1 * index)
    file.write_text(json.dumps(content))


def test_a_run_is_diagnosed(runs, tmp_path, capsys):
    table = tmp_path / "cases.csv"
    cases = [f"A_0{index}" for index in range(4)] + [f"A_test_{i}" for i in range(3)] + [f"B_test_{i}" for i in range(5)]
    table.write_text("case,age,sex\n" + "".join(f"{case},{50 + 3 * index},F\n" for index, case in enumerate(cases)))
    assert main(["diagnose", str(runs["adapted"]), "--covariates", str(table), *FEW]) == 0
    text, found = capsys.readouterr().out, result(runs["adapted"])
    assert max(map(len, text.splitlines()[:-1])) <= 120  # the last names a file
    assert found["comparable"]
    for phase in ("before", "after"):
        assert 0 <= found["domain_probe"][phase]["auc"] <= 1
        assert (found["domain_probe"][phase]["n_source"], found["domain_probe"][phase]["n_target"]) == (7, 5)
    assert set(found["covariates"]["age"]) == {"not_assessed", "before", "after"}
    assert found["covariates"]["sex"]["not_assessed"] == "it is the same in all cases"
    assert found["negative_transfer"]["status"] == "none"
    assert found["negative_transfer"]["difference"] == pytest.approx(-0.005)
    assert "MMD sends 30 times the supervised gradient" in text
    pictures = {file.name for file in (runs["adapted"] / "diagnosis").glob("*.png")}
    assert pictures == {f"diagnosis-{name}.png" for name in ("probe", "gradients", "curves", "transfer")}


@pytest.mark.slow
def test_the_same_command_gives_the_same_numbers(runs, tmp_path, capsys):
    folders = [tmp_path / "one", tmp_path / "two"]
    texts = []
    for folder in folders:
        assert main(["diagnose", str(runs["adapted"]), "-o", str(folder), *FEW]) == 0
        texts.append((folder / "diagnosis.json").read_text())
    assert texts[0] == texts[1]


def test_the_alarm_is_exit_code_1_with_everything_written(runs, capsys):
    lower_dice(runs["adapted"], 0.2)
    assert main(["diagnose", str(runs["adapted"]), *FEW]) == 1
    assert result(runs["adapted"])["negative_transfer"]["status"] == "ALARM"
    assert "negative transfer" in capsys.readouterr().err


def test_source_only_is_silent(runs, capsys):
    assert main(["diagnose", str(runs["source_only"]), *FEW]) == 0
    found = result(runs["source_only"])
    assert found["negative_transfer"]["reason"] == "this is the source-only run"
    assert set(found["domain_probe"]) == {"not_assessed", "before"}


@pytest.mark.parametrize(
    "case", ["absent", *(pytest.param(case, marks=pytest.mark.slow) for case in ("other seed", "no validation", "other cases"))]
)
def test_what_cannot_be_compared_raises_no_alarm(runs, edit_checkpoint, capsys, case):
    lower_dice(runs["adapted"], 0.2)
    summary = runs["source_only"] / "validation" / "summary.json"
    if case == "absent":
        shutil.rmtree(runs["source_only"])
    elif case == "other seed":
        edit_checkpoint(runs["source_only"], lambda content: content["nnunet_da"]["settings"].update(seed=8))
    elif case == "no validation":
        summary.unlink()
    else:
        summary.write_text(summary.read_text().replace("A_03", "A_04"))
    assert main(["diagnose", str(runs["adapted"]), *FEW]) == 0
    check = result(runs["adapted"])["negative_transfer"]
    words = {"absent": "was found", "other seed": "seed is 7 here and 8 there", "no validation": "--val", "other cases": "validated"}
    assert check["status"] == "not assessed"
    assert words[case] in check["reason"]
    assert f"Negative transfer: not assessed: {check['reason'][:30]}" in capsys.readouterr().out


def test_a_target_of_few_cases_is_not_assessed(runs, centres_copy, capsys):
    shutil.rmtree(centres_copy / "nnUNet_raw" / "Dataset102_B" / "imagesTs")
    assert main(["diagnose", str(runs["adapted"]), *FEW]) == 0
    found = result(runs["adapted"])
    assert "there are 4 of the target" in found["domain_probe"]["not_assessed"]
    assert "after" not in found["domain_probe"]


def test_labels_of_the_target_are_never_opened(runs, centres_copy):
    for folder in ("labelsTr", "labelsTs"):
        labels = centres_copy / "nnUNet_raw" / "Dataset102_B" / folder
        labels.mkdir(exist_ok=True)
        for index in range(5):
            (labels / f"B_test_{index}.nii.gz").symlink_to("/nowhere")
    assert main(["diagnose", str(runs["adapted"]), *FEW]) == 0


def test_a_diagnosis_is_not_overwritten_unasked(runs, refuses):
    assert main(["diagnose", str(runs["source_only"]), *FEW]) == 0
    refuses(runs["source_only"], ["diagnose", str(runs["source_only"]), *FEW], "--overwrite")
    assert main(["diagnose", str(runs["source_only"]), *FEW, "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--margin", "2"], "between 0 and 1"),
        (["--permutations", "5"], "at least 40"),
        (["--covariates", "/nowhere.csv"], "column"),
        (["--source-only", "/nowhere"], "fold"),
    ],
)
def test_bad_options_are_refused(runs, refuses, options, words):
    refuses(runs["adapted"], ["diagnose", str(runs["adapted"]), "--device", "cpu", *options], words)
