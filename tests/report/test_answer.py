"""The answer of a study: read, refused, and shown first on the page."""

import itertools
import json
import math
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from nnunet_da.errors import UserError
from nnunet_da.report import forest
from nnunet_da.report.answer import ANSWER_FILE, COST_FILE, NOTES_FILE, read_answer, read_cost, read_notes
from nnunet_da.report.answer_cards import cards
from nnunet_da.report.answer_tables import answer_tables
from nnunet_da.report.build import write_report
from nnunet_da.report.forest import forest_plots
from nnunet_da.report.pictures import to_picture
from nnunet_da.report.study import load_study

TARGET = "Centre <B> & co"
ASD = {"source_only": 2.0, "zero_weight": 1.9, "adapted": 1.3, "oracle": 1.0}


@pytest.fixture(scope="module")
def written(answered, tmp_path_factory) -> Path:
    return answered(tmp_path_factory.mktemp("answer"))


@pytest.fixture
def folder(written, tmp_path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(written, tmp_path / "copy")


def test_no_answer_is_none(tmp_path):
    assert read_answer(tmp_path, {}) is None
    assert read_cost(tmp_path, {}).empty
    assert not read_notes(tmp_path)


def test_reads_what_the_study_wrote_by_the_names_of_the_report(written):
    found = read_answer(written, {"adapted": "PF-DAformer"})
    assert found.kind == "helped"
    assert found.answer.startswith("Adaptation helped (adapted against zero_weight")
    assert "by −0." in found.answer
    contrasts = found.tables["contrasts"]
    assert set(contrasts["arm"]) == {"source_only", "PF-DAformer", "oracle"}
    assert contrasts.loc[contrasts["role"] == "primary", "better"].item() == "PF-DAformer"
    assert contrasts["difference"].dtype == float
    assert found.level == "95 %"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layout": 2}, "must have layout 1, got 2"),
        ({"answer": None}, "answer = None"),
        ({"warnings": "none"}, "warnings = 'none'"),
        ({"declaration": []}, "declaration = \\[\\]"),
    ],
)
def test_refuses_another_layout(folder, change, words):
    file = folder / ANSWER_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(UserError, match=words):
        read_answer(folder, {})


def test_refuses_a_missing_table_and_a_missing_column(folder):
    pd.read_csv(folder / "study_gap.csv").drop(columns="ratio").to_csv(folder / "study_gap.csv", index=False)
    with pytest.raises(UserError, match=r"study_gap.csv must be a CSV .* no column ratio"):
        read_answer(folder, {})
    (folder / "study_arms.csv").unlink()
    (folder / "study_gap.csv").write_text((folder / "study_gap.csv").read_text())
    with pytest.raises(UserError, match="nnunet-da study"):
        read_answer(folder, {})


@pytest.mark.parametrize(
    ("notes", "words"),
    [
        ({"seeds": 3}, "may hold title, notes"),
        ({"transductive": {"B": "no"}}, "with true or false"),
        ({"failed": ["x"]}, "got failed"),
        ({"title": 3}, "got title = 3"),
    ],
)
def test_refuses_other_notes(tmp_path, notes, words):
    (tmp_path / NOTES_FILE).write_text(json.dumps(notes))
    with pytest.raises(UserError, match=words):
        read_notes(tmp_path)


@pytest.mark.parametrize(
    ("arms", "seeds", "declared", "expected"),
    [
        (ASD, 3, {"margins": {"dice": 0.02}}, [("better", "Yes"), ("better", "Yes, within the margin"), ("open", "")]),
        (ASD, 3, {"margins": {"dice": 0.02, "nsd_1mm": 0.02}}, [("better", "Yes"), ("mixed", "Not shown"), ("open", "")]),  # no such values
        (ASD | {"adapted": 2.6}, 3, {}, [("worse", "No, it harmed"), ("mixed", "Not shown"), ("open", "")]),
        (ASD, 1, {}, [("mixed", "Cannot tell"), ("mixed", "Not estimable"), ("mixed", "Not estimable")]),
    ],
)
def test_cards(answered, tmp_path, arms, seeds, declared, expected):
    found = cards(read_answer(answered(tmp_path, seeds, arms, **declared), {}))
    assert [card.kind for card in found] == [kind for kind, _ in expected]
    assert all(card.said == said for card, (_, said) in zip(found, expected, strict=True) if said)
    assert all(card.details for card in found)


@pytest.fixture
def study(bare_study, written) -> Path:
    """The report's study with an answer, its cost and its notes."""
    for file in written.iterdir():
        shutil.copy(file, bare_study)
    cost = [
        ("adapted", seed, 0, job, time, 5120, None, 400, 1234567) for seed in range(3) for job, time in (("train", 3900), ("predict", 42))
    ]
    columns = ["arm", "seed", "fold", "job", "seconds", "peak_mb", "gpu_peak_mb", "iterations", "parameters"]
    pd.DataFrame(cost, columns=columns).to_csv(bare_study / COST_FILE, index=False)
    notes = {
        "title": "Two <hospitals>",
        "transductive": {TARGET: True},
        "failed": {"joint seed 1 fold 0: train": "out of <memory>"},
        "notes": ["All arms ran 400 iterations."],
    }
    (bare_study / NOTES_FILE).write_text(json.dumps(notes))
    return bare_study


def test_tables_hold_every_arm_and_mark_the_primary_contrast(study):
    loaded = load_study(study)
    tables = {table.name: table for table in answer_tables(loaded, loaded.answer)}
    assert list(tables) == ["study_contrasts", "study_non_inferiority", "study_gap", "study_failures", "study_arms"]
    own = [row for _, row in tables["study_contrasts"].rows if row.own]
    assert [row.header.text for row in own] == ["PF-DAformer"]
    assert own[0].cells[1].mark == "better"
    assert own[0].cells[0].warn == "1 left out"
    assert own[0].cells[-1].text == "shown"
    assert not any("Centre A" in title for title, _ in tables["study_contrasts"].groups)  # the source's are losses in the next table
    assert len(tables["study_contrasts"].numbers) == 3 * 2 * 3
    assert tables["study_arms"].groups[0][1][0].cells[4].text.count(",") == 2  # three trained models


def test_an_oracle_that_is_no_better_leaves_a_gap_that_is_not_estimable(answered, bare_study):
    answered(bare_study, arms=ASD | {"oracle": 2.0})
    loaded = load_study(bare_study)
    gap = next(table for table in answer_tables(loaded, loaded.answer) if table.name == "study_gap")
    row = next(row for _, row in gap.rows)
    assert row.cells[1].text == "not estimable"
    assert "do not differ" in row.header.small or "oracle is worse" in row.header.small


def test_forest_plots_show_targets_and_the_source(study):
    loaded = load_study(study)
    target, source = forest_plots(loaded, loaded.answer)
    assert target.name.startswith("study-forest-asd_mm")
    assert source.name == "study-forest-dice-Centre-A"
    assert "PF-DAformer: −0." in target.alternative
    assert "Green half (left)" in target.caption
    assert "Green half (right)" in source.caption
    assert "margin of non-inferiority" in source.caption


def test_forest_of_one_training_says_that_it_is_over_cases(answered, bare_study):
    answered(bare_study, seeds=1)
    loaded = load_study(bare_study)
    assert forest_plots(loaded, loaded.answer)
    contrasts = answer_tables(loaded, loaded.answer)[0]
    assert next(row for _, row in contrasts.rows).cells[1].warn == "cases alone"


def test_long_names_stay_apart_in_a_forest(answered, bare_study):
    answered(bare_study, arms=ASD | {"trial of alignment early in the encoder": 2.0, "trial of alignment at the output": 2.0})
    loaded = load_study(bare_study)
    drawn = forest_plots(loaded, loaded.answer)[0].svg.decode()
    assert "the encoder" in drawn
    assert "the output" in drawn


def test_small_numbers_of_an_axis_stay_apart_in_a_forest(answered, bare_study, monkeypatch):
    answered(bare_study, arms=ASD | {"both terms, on mean and standard deviation": 1.3})
    (file,) = bare_study.rglob("study_contrasts.csv")
    table = pd.read_csv(file)
    table.loc[table["metric"] == "dice", ["difference", "ci_low", "ci_high"]] = [-0.0012, -0.0153, 0.0129]
    table.to_csv(file, index=False)
    figures = []
    monkeypatch.setattr(forest, "to_picture", lambda figure, *_: figures.append(figure) or to_picture(figure, "drawn", ""))
    loaded = load_study(bare_study)
    forest_plots(loaded, loaded.answer)
    axes = figures[-1].axes[0]
    low, high = axes.get_xlim()
    inside = [label.get_window_extent() for label in axes.get_xticklabels() if low <= label.get_position()[0] <= high]
    assert len(inside) >= 3
    assert all(right.x0 > left.x1 for left, right in itertools.pairwise(inside))


def test_a_ruined_arm_does_not_flatten_the_others_in_a_forest(answered, bare_study):
    answered(bare_study, arms=ASD | {"ruined": 60.0})
    loaded = load_study(bare_study)
    target, source = forest_plots(loaded, loaded.answer)
    assert "Arrow: farther out" in target.caption
    numbers = target.alternative.split("ruined: ")[1].removesuffix(".")
    assert numbers in target.svg.decode()
    assert "Arrow" not in source.caption
    ticks = [float(text.replace("−", "-")) for text in re.findall(r">(−?\d+\.\d+)<", target.svg.decode())]
    assert max(map(abs, ticks)) < 10  # the axis is that of the others


def test_the_page_begins_with_the_answer(study):
    (study / "report.json").unlink()
    page = write_report(study, progress=False, worst=0).read_text(encoding="utf-8")
    assert page.index('id="answer"') < page.index('id="summary"')
    assert "<title>Two &lt;hospitals&gt;</title>" in page
    assert "Adaptation helped (adapted against zero_weight" in page
    assert "joint seed 1 fold 0: train (out of &lt;memory&gt;)" in page
    assert "Centre &lt;B&gt; &amp; co: its test cases were seen without labels in training (transductive)" in page
    assert "All arms ran 400 iterations." in page
    assert "1 h 05 min" in page
    for name in ("study_contrasts", "study_non_inferiority", "study_gap", "study_failures", "study_arms", "study_cost"):
        assert {path.suffix for path in (study / "tables").glob(f"{name}.*")} == {".csv", ".md", ".tex"}
    assert (study / "figures" / "study-forest-dice-Centre-A.svg").is_file()


def test_a_page_without_an_answer_has_no_such_section(bare_study):
    page = write_report(bare_study, progress=False, worst=0).read_text(encoding="utf-8")
    assert 'id="answer"' not in page


def test_cost_and_notes_stand_without_an_answer(bare_study):
    (bare_study / NOTES_FILE).write_text(json.dumps({"transductive": {TARGET: False}}))
    page = write_report(bare_study, progress=False, worst=0).read_text(encoding="utf-8")
    assert "were not seen in training, not even without labels" in page
    assert ">The study</h2>" in page


def test_several_trained_models_of_an_arm_are_averaged_per_case(study):
    first = sorted((study / "adapted").rglob("metrics.csv"))[0]
    second = study / "adapted" / "seed1" / "metrics.csv"
    second.parent.mkdir()
    table = pd.read_csv(first)
    table.assign(value=[0.5, *table["value"].iloc[1:-1], math.nan]).to_csv(second, index=False)
    loaded = load_study(study)
    arm = next(arm for arm in loaded.arms if arm.name == "PF-DAformer")
    values = arm.metrics.set_index(["domain", "case"])["value"]
    assert arm.runs == 2
    assert values.iloc[0] == pytest.approx((0.5 + table["value"].iloc[0]) / 2)
    assert math.isnan(values.loc[(table["domain"].iloc[-1], table["case"].iloc[-1])])
    assert len(values) == 6
    (study / ANSWER_FILE).unlink()
    with pytest.raises(UserError, match="got two of dice"):
        load_study(study)
