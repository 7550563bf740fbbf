"""The gate: what its numbers mean, which scans it makes, and one whole run in miniature."""

import importlib
import json
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest

from nnunet_da import paths
from nnunet_da.phantom.cohort import SWITCHES, draw_scanner, label_protocol, scan_case

NAN = float("nan")


@pytest.fixture
def table():
    return importlib.import_module("gate_table")


@pytest.fixture
def gate():
    return importlib.import_module("gate")


# --- numbers


def test_losses_are_positive_where_a_set_is_worse(table):
    assert table.loss([0.99, 0.97], [0.95, 0.95], "dice").mean == pytest.approx(3.0)  # hundredths
    assert table.loss([1.0, 3.0], [4.0, 5.0], "hd95_mm").mean == pytest.approx(2.5)
    assert table.loss([0.9, 0.9], [0.95, 0.95], "dice").mean == pytest.approx(-5.0)


def test_interval_is_that_of_two_independent_means(table):
    rng = np.random.default_rng(1)
    source, other = rng.normal(0.98, 0.01, 200), rng.normal(0.95, 0.02, 100)
    found = table.loss(source, other, "dice")
    half = 1.96 * 100 * np.sqrt(source.var() / 200 + other.var() / 100)
    assert found.high - found.mean == pytest.approx(half, rel=0.1)
    assert found.mean - found.low == pytest.approx(half, rel=0.1)


def test_undefined_values_are_left_out_and_counted(table):
    source = {"dice": [0.9, 0.9], "hd95_mm": [1.0, 1.0], "asd_mm": [1.0, 1.0]}
    failed = {"dice": [0.0, 0.9], "hd95_mm": [NAN, 3.0], "asd_mm": [NAN, 2.0]}
    row = table.row("kernel", failed, source)
    assert (row["cases"], row["failed"], row["hd95_mm"]) == (2, 1, 3.0)
    assert row["hd95_mm_loss"]["mean"] == 2.0
    assert np.isnan(row["hd95_mm_loss"]["low"])  # one case has no interval
    assert not table.loses_clearly({metric: table.Loss(**row[f"{metric}_loss"]) for metric in ("hd95_mm", "dice")} | {})


@pytest.mark.parametrize(
    ("dice", "hd95", "clear"),
    [
        ((1.5, 0.1, 3), (0, -1, 1), True),
        ((1.4, 1, 2), (0.9, 0.5, 2), False),
        ((2, -0.1, 4), (0, 0, 0), False),
        ((0, 0, 0), (1, 0.2, 2), True),
    ],
)
def test_a_clear_loss_is_large_and_sure(table, dice, hd95, clear):
    assert table.loses_clearly({"dice": table.Loss(*dice), "hd95_mm": table.Loss(*hd95)}) is clear


def test_table_names_what_loses_and_whether_the_source_is_good_enough(table):
    good = {"dice": [0.99, 0.99, 0.988], "hd95_mm": [1.0, 1.1, 1.0], "asd_mm": [0.3, 0.3, 0.3]}
    poor = {"dice": [0.95, 0.94, 0.95], "hd95_mm": [1.2, 1.1, 1.0], "asd_mm": [0.5, 0.5, 0.5]}
    text = table.markdown(
        [table.row(name, scores, good) for name, scores in (("source", good), ("slice", good), ("kernel", poor))], "source"
    )
    assert "0.9893. The gate asks for 0.985: **reached**." in text
    assert "above 0): kernel. Only" in text
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1
    bad = table.markdown([table.row("source", poor, poor)], "source")
    assert "**not reached**" in bad
    assert "above 0): none." in bad


# --- scans


def test_every_factor_has_its_test_set(gate):
    assert set(SWITCHES) <= set(gate.test_centres())
    names = [f"{number} {name}" for number, name in enumerate(gate.test_centres())]
    assert names[0] == "0 control"
    assert names[-1].endswith("severity_2_same_rules")


def quick_first(factors):
    """Two scans each: a scanner's and a reader's factor stand for the others in the default run."""
    return [name if name in ("kernel", "label_protocol") else pytest.param(name, marks=pytest.mark.slow) for name in factors]


@pytest.mark.parametrize("factor", quick_first(name for name in SWITCHES if name not in ("population", "joint", "cortex")))
def test_a_factor_at_rochester_changes_itself_alone(gate, factor):
    """From one seed the same person is scanned; only what the factor stands for is different."""
    sets = gate.test_centres()
    window = gate.Window(size_mm=(220, 200, 200), pixel_mm=5, slice_scale=2)
    plain = gate.centre("rochester", gate.HARD, people="tulane", **{name: name in gate.PEOPLE for name in SWITCHES})
    one, other = (scan_case(at, 5, window=window) for at in (plain, sets[factor]))
    changed = {
        "patient": one.patient != other.patient,
        "pose": one.pose != other.pose,
        "scanner": asdict(draw_scanner(plain, 5)) != asdict(draw_scanner(sets[factor], 5)),
        "labels": label_protocol(plain) != label_protocol(sets[factor]),
    }
    expected = {"positioning": "pose", "label_protocol": "labels"}.get(factor, "scanner")
    assert {name for name, is_changed in changed.items() if is_changed} == {expected}


def test_the_plain_rochester_is_the_source(gate):
    plain = gate.centre("rochester", gate.HARD, people="tulane", **{name: name in gate.PEOPLE for name in SWITCHES})
    window = gate.Window(size_mm=(220, 200, 200), pixel_mm=5, slice_scale=2)
    here, there = (scan_case(at, 5, window=window) for at in (gate.test_centres()["control"], plain))
    np.testing.assert_array_equal(here.image, there.image)
    np.testing.assert_array_equal(here.label, there.label)


def test_old_people_come_with_their_joints_or_their_cortex(gate):
    sets = gate.test_centres()
    assert {name: sorted(sets[name].differs) for name in gate.PEOPLE} == {
        "population": ["population"],
        "joint": ["joint", "population"],
        "cortex": ["cortex", "population"],
    }
    assert {sets[name].people for name in gate.PEOPLE} == {"rochester"}


# --- a whole run


def test_weights_to_start_from_must_be_there(tmp_path):
    script = paths.PACKAGE_DIR.parent / "benchmarks" / "gate.py"
    command = [sys.executable, script, "--pretrained", tmp_path / "gone.pth", "--work", tmp_path / "work"]
    refused = subprocess.run(command, check=False, capture_output=True, text=True)
    assert refused.returncode
    assert refused.stderr.startswith("error: --pretrained must be a checkpoint of another gate")
    assert not (tmp_path / "work").exists()


@pytest.mark.slow
def test_a_gate_in_miniature_goes_on_where_it_was_killed(tmp_path):
    script = paths.PACKAGE_DIR.parent / "benchmarks" / "gate.py"
    size = ["--pixel-mm", "5", "--slice-scale", "2.4", "--patch-size", "32", "32", "32", "--train", "5", "--test", "2"]
    length = ["--epochs", "2", "--iterations", "2", "--sets", "kernel", "population", "--threads", "1"]
    command = [sys.executable, script, *size, *length, "--work", tmp_path / "work", "--output", tmp_path / "gate.md"]
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(command, check=True, capture_output=True, timeout=20)
    subprocess.run(command, check=True, capture_output=True)
    content = json.loads((tmp_path / "gate.json").read_text())
    assert [row["test set"] for row in content["rows"]] == ["source", "control", "kernel", "population"]
    assert all(row["cases"] == 2 for row in content["rows"])
    assert "/" not in content["command"].removeprefix("python benchmarks/gate.py")
    text = (tmp_path / "gate.md").read_text()
    assert "**not reached**" in text
    first, second = content["validation_dice_by_quarter"]  # two epochs
    assert f"in each quarter of the training: {first:.4f}, {second:.4f}." in text
    before = (tmp_path / "work" / "logs" / "train.log").read_text()
    again = subprocess.run(command, check=True, capture_output=True, text=True)
    assert (tmp_path / "work" / "logs" / "train.log").read_text() == before
    assert "==" not in again.stderr  # nothing was left to do
    other = subprocess.run([*command, "--epochs", "3"], check=False, capture_output=True, text=True)
    assert other.returncode
    assert "holds a gate with epochs = 2, got 3" in other.stderr

    (model,) = (tmp_path / "work" / "nnUNet_results").glob("*/*/fold_0/checkpoint_final.pth")
    finer = [*command[:2], "--pretrained", model, *command[2:-4], "--work", tmp_path / "finer"]
    found = subprocess.run(finer, check=True, capture_output=True, text=True).stdout
    assert "--pretrained CHECKPOINT" in found
    assert "--pretrained" not in text
    assert f"pretrained weights from file  {model} " in (tmp_path / "finer" / "logs" / "train.log").read_text()
