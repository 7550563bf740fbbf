import json
from itertools import chain

import pytest

from nnunet_da.errors import UserError
from nnunet_da.report.paper import paper_for, paper_tables, published
from nnunet_da.report.study import load_study

TRAINERS = {"source_only": "nnUNetTrainer_PFDAformer_SourceOnly", "adapted": "nnUNetTrainer_PFDAformer"}


def named(study, **more):
    settings = json.loads((study / "report.json").read_text())
    (study / "report.json").write_text(json.dumps(settings | {"trainers": TRAINERS} | more))
    return load_study(study)


def write_plans(study, **settings):
    """plans.json beside the predictions of the adapted arm, as nnUNetv2_predict leaves it."""
    plans = {
        "dataset_name": "Centre A",
        "configurations": {"3d_fullres": {"nnunet_da": {"target_datasets": {"Centre <B> & co": None}} | settings}},
    }
    for seed in (0, 1):
        (study.parent / f"data_{seed}" / "adapted" / "plans.json").write_text(json.dumps(plans))


def headers(table):
    return [row.header.text for _, row in table.rows]


def test_shown_for_our_trainers_alone(study):
    assert paper_for(load_study(study)) == ""
    assert paper_for(load_study(study), "pfdaformer") == "pfdaformer"
    assert paper_for(named(study)) == "pfdaformer"
    assert paper_for(load_study(study), "none") == ""
    with pytest.raises(UserError, match="--paper must be auto, none or one of pfdaformer, got swin"):
        paper_for(load_study(study), "swin")


def test_shown_for_a_preset_of_the_paper(study):
    write_plans(study, preset="pf_daformer_small")
    assert paper_for(load_study(study)) == "pfdaformer"
    write_plans(study, preset="uda")
    assert paper_for(load_study(study)) == ""


def test_ours_stands_below_the_row_it_matches(study):
    tables = paper_tables(named(study), "pfdaformer")
    assert [table.name for table in tables[:5]] == [f"paper_table{number}" for number in range(1, 6)]
    assert headers(tables[0])[2:5] == ["TransUNet (no DA)", "ours: Source only", "ours: Source only"]
    assert headers(tables[0])[-3:] == ["DA (GRL + MMD)", "ours: PF-DAformer", "ours: PF-DAformer"]
    ours = [row for _, row in tables[0].rows if row.own]
    assert ours[-1].cells[2].text == "100.0000"  # Dice in percent, with the paper's decimals
    assert ours[-1].cells[1].text == "3"
    assert not any(text.startswith("ours") for text in headers(tables[1]))  # the loss mix is not known


def test_a_known_loss_mix_finds_its_row(study):
    write_plans(study, preset="pf_daformer", seg_mix=0.3)
    tables = paper_tables(named(study), "pfdaformer")
    assert headers(tables[1])[2:] == ["0.7/0.3", "ours: PF-DAformer", "ours: PF-DAformer"]
    assert "ours: PF-DAformer" not in headers(tables[0])  # Table 1 is of the mix 0.6/0.4


def test_our_tests_and_features_beside_the_paper_s(study, compared, measured):
    compared(study, {"Centre A": "second", "Centre <B> & co": "second"})
    measured(study / "adapted")
    *_, tests, features = paper_tables(named(study), "pfdaformer")
    ours = next(row for _, row in tests.rows if row.own)
    assert [cell.text for cell in ours.cells] == [
        "Centre A",
        "3",
        "90.859",
        "100.000",
        "3.10",
        "0.002",
    ]  # off by one voxel of 10, 11 and 12
    found = {(row.header.text, row.cells[0].text): row.cells[2].text for _, row in features.rows}
    assert found["Sphericity", "paper, Tulane (source)"] == "0.906"
    assert [row.cells[2].text for _, row in features.rows if row.own][-1] == "3 of 3 above 0.99"


def test_every_footnote_is_used_and_every_letter_explained():
    content = published()["pfdaformer"]
    tables = [*content["tables"], content["t_tests"], content["radiomics"]]
    rows = list(chain.from_iterable(table["rows"] for table in tables))
    notes = [row.get("notes", "") for row in rows]
    letters = content["notes"] + "".join(table.get("notes", "") for table in tables)
    letters += "".join("".join(note.values()) if isinstance(note, dict) else note for note in notes)
    assert set(letters) == set(content["footnotes"])


def test_published_values_as_printed(study):
    tables = paper_tables(named(study), "pfdaformer")
    rows = {row.header.text: [cell.text for cell in row.cells[2:]] for _, row in tables[0].rows if not row.own}
    assert rows["DA (GRL + MMD)"] == ["99.5307", "99.6369", "99.4252", "3.1313", "0.7706", "0.0622"]
    assert rows["SegFormer3D"][2] == "98.4120"
    mixes = {row.header.text: [cell.text for cell in row.cells[2:]] for _, row in tables[4].rows if not row.own}
    assert mixes["0.7/0.3"] == ["99.51", "99.58", "99.44", "3.53", "0.85", "0.100"]


def test_several_labels_need_one_that_is_named_femur(study):
    for file in study.rglob("metrics.csv"):
        rows = file.read_text().splitlines()
        file.write_text("\n".join([*rows, *(row.replace(",1,", ",2,", 1) for row in rows[1:])]) + "\n")
    assert paper_for(named(study)) == ""
    for file in study.rglob("evaluation.json"):
        content = json.loads(file.read_text())
        file.write_text(json.dumps(content | {"labels": {"1": "pelvis", "2": "left femur"}}))
    assert paper_for(load_study(study)) == "pfdaformer"
