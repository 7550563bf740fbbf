"""Hold-out and folds by sex: nobody twice, nobody lost, the shares kept, and every refusal leaves the folders as they were."""

import json

import pytest

from nnunet_da.cli.main import main
from nnunet_da.vnet_femur.split import stratified

SPLIT = ["vnet-femur", "split", "-d", "301", "--table"]


def split(root, *arguments):
    return main([*SPLIT, str(root / "table.csv"), *arguments])


def written(root):
    folder = root / "nnUNet_preprocessed" / "Dataset301_F"
    return [json.loads((folder / name).read_text()) for name in ("splits_final.json", "vnet_femur_split.json")]


def test_the_cohort_of_the_paper():
    """397 subjects: 40 held out, 18 of 181 men and 22 of 216 women; every fold has 18 men or 19, or their share."""
    sexes = {f"{sex}{index:03d}": sex for sex, count in (("M", 181), ("F", 216)) for index in range(count)}
    held_out, folds = stratified(sexes, 0.1, 10, seed=0)
    assert (len(held_out), sum(case[0] == "M" for case in held_out)) == (40, 18)
    assert len(folds) == 10
    for train, validation in folds:
        assert len(validation) in (35, 36)
        assert sum(case[0] == "M" for case in validation) in (16, 17)
        assert not set(train) & set(validation)
        assert set(train) | set(validation) | set(held_out) == set(sexes)
    validated = [case for _, validation in folds for case in validation]
    assert sorted(validated + held_out) == sorted(sexes)


def test_three_cohorts_in_one_file(dataset, capsys):
    assert split(dataset) == 0
    folds, record = written(dataset)
    assert len(folds) == 30
    assert {name: cohort["folds"] for name, cohort in record["cohorts"].items()} == {
        "all": list(range(10)),
        "F": list(range(10, 20)),
        "M": list(range(20, 30)),
    }
    women = {case for case, sex in record["sex"].items() if sex == "F"}
    for index in range(10):
        whole = folds[index]
        assert folds[10 + index] == {kind: [case for case in cases if case in women] for kind, cases in whole.items()}
        assert folds[20 + index] == {kind: [case for case in cases if case not in women] for kind, cases in whole.items()}
        assert all(folds[index + first]["val"] for first in (0, 10, 20))
    held_out = set(record["cohorts"]["all"]["hold_out"])
    assert len(held_out) == 3  # a tenth of 26, rounded up
    assert not held_out & {case for fold in folds for cases in fold.values() for case in cases}
    assert held_out == set(record["cohorts"]["F"]["hold_out"]) | set(record["cohorts"]["M"]["hold_out"])
    assert "test_case" not in record["sex"]
    shown = capsys.readouterr().out
    assert "cohort F: 14 cases, 2 of them held out, folds 10 to 19" in shown
    assert "fingerprint" in shown  # what the hold-out is not held out from


def test_the_seed_decides(dataset):
    splits = []
    for seed in ("1", "1", "2"):
        split(dataset, "--seed", seed, "--overwrite")
        splits.append(written(dataset)[0])
    assert splits[0] == splits[1] != splits[2]


def test_other_columns_and_sizes(dataset):
    text = (dataset / "table.csv").read_text().replace("case,sex", "Subject;Gender").replace(",", ";")
    (dataset / "table.csv").write_text(text)
    assert split(dataset, "--sex-column", "gender", "--case-column", "subject", "--folds", "3", "--hold-out", "0.2") == 0
    folds, record = written(dataset)
    assert len(folds) == 9
    assert len(record["cohorts"]["all"]["hold_out"]) == 6


def test_nnunet_trains_on_any_of_these_folds(dataset, monkeypatch):
    """Stock `do_split` reads fold 17 as it is."""
    from types import SimpleNamespace

    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    split(dataset)
    folds, _ = written(dataset)
    trainer = SimpleNamespace(
        dataset_class=lambda *_, **__: None,
        fold=17,
        preprocessed_dataset_folder="",
        preprocessed_dataset_folder_base=str(dataset / "nnUNet_preprocessed" / "Dataset301_F"),
        folder_with_segs_from_previous_stage=None,
        print_to_log_file=lambda *_: None,
    )
    assert nnUNetTrainer.do_split(trainer) == (folds[17]["train"], folds[17]["val"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--sex-column", "gender"], ("gender", "sex")),
        (["--case-column", "id"], ("id",)),
        (["--hold-out", "0"], ("between 0 and 1",)),
        (["--hold-out", "1.5"], ("between 0 and 1",)),
        (["--folds", "1"], ("2 folds or more",)),
        (["--folds", "12"], ("every sex", "'M'", "--folds")),
        (["--hold-out", "0.03"], ("every sex", "hold-out")),
        (["--hold-out", "0.9"], ("every sex", "--folds")),
        (["--seed", "-1"], ("seed",)),
    ],
)
def test_bad_requests(dataset, refuses, arguments, words):
    refuses(dataset, [*SPLIT, str(dataset / "table.csv"), *arguments], *words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("case_03,F\n", ""), ("case_03", "row for every training case")),
        (lambda text: text + "case_03,M\n", ("one sex per case", "case_03")),
        (lambda text: text.replace("case_03,F", "case_03,"), ("value for 'sex'", "line 5")),
        (lambda text: text.replace(",M", ",F"), ("two sexes", "F alone")),
        (lambda text: text.replace(",M", ",all"), ("whole cohort",)),
    ],
)
def test_bad_tables(dataset, refuses, change, words):
    file = dataset / "table.csv"
    file.write_text(change(file.read_text()))
    refuses(dataset, [*SPLIT, str(file)], *words)


def test_a_table_that_is_not_there(dataset, refuses):
    refuses(dataset, [*SPLIT, str(dataset / "absent.csv")], "absent.csv")


def test_an_unknown_dataset(dataset, refuses):
    refuses(dataset, ["vnet-femur", "split", "-d", "999", "--table", str(dataset / "table.csv")], "999", "Dataset301_F")


def test_splits_that_are_there_are_kept(dataset, refuses):
    assert split(dataset) == 0
    refuses(dataset, [*SPLIT, str(dataset / "table.csv"), "--seed", "3"], "splits_final.json", "--overwrite")
