import pytest

from nnunet_da.report.study import load_study
from nnunet_da.report.worst import chosen_cases, label_of_key, median_case, worst_label, worst_pictures


def reasons(study, arm=0, worst=5):
    loaded = load_study(study)
    return {(record.domain, record.case): reason for record, reason in chosen_cases(loaded, loaded.arms[arm], worst)}


def test_the_worst_cases_first_and_one_median_case_per_domain(study):
    found = reasons(study, worst=2)
    assert list(found)[:2] == [("Centre <B> & co", "scan_2"), ("Centre <B> & co", "scan_0")]
    assert found["Centre <B> & co", "scan_2"] == "worst 1 of this method"
    assert found["Centre A", "scan_0"] == "worst of this method in its domain"
    assert found["Centre A", "scan_1"] == "median Dice over all methods"


def test_a_case_that_is_both_is_drawn_once(study):
    assert reasons(study)["Centre A", "scan_1"].endswith(" of this method and median Dice over all methods")
    assert len(reasons(study)) == 5  # the worst five of six, and the medians are among them


def test_median_case_is_the_same_for_all_arms(study):
    loaded = load_study(study)
    # Dice per case rises with its width, so the middle case is scan_1; in the other domain scan_2 fails in one arm
    assert median_case(loaded, "Centre A") == "scan_1"
    assert median_case(loaded, "Centre <B> & co") == "scan_0"


def test_every_case_has_overlay_and_surface_with_words(study):
    drawn = worst_pictures(load_study(study), 1)["Source only"]
    assert drawn.problems == []
    worst = drawn.cases[0]
    assert worst.caption == "Centre <B> & co, scan_2 (worst 1 of this method): Dice 0.000, HD95 undefined."
    assert [picture.name.split("-")[0] for picture in worst.pictures] == ["overlay", "surface"]
    assert "not defined, the prediction is empty" in worst.pictures[1].alternative
    shifted = next(case for case in drawn.cases if "scan_0" in case.caption and "Centre A" in case.caption)
    assert "from -0.8 to 0.8 mm" in shifted.pictures[1].alternative  # the prediction is one voxel of 0.8 mm off


@pytest.mark.slow
def test_a_missing_file_is_said_and_the_rest_is_drawn(study):
    loaded = load_study(study)
    loaded.arms[1].cases["Centre A", "scan_0"].prediction.unlink()
    drawn = worst_pictures(loaded)["PF-DAformer"]
    assert len(drawn.problems) == 1
    assert "scan_0" in drawn.problems[0]
    assert len(drawn.cases) == 4


def test_the_surface_is_that_of_the_worst_label(study):
    metrics = study / "adapted" / "domain_0" / "metrics.csv"
    metrics.write_text(metrics.read_text() + "scan_0,Centre A,2,dice,0.5,fraction\n")
    arm = load_study(study).arms[1]
    assert worst_label(arm, arm.cases["Centre A", "scan_0"], {"1": "femur", "2": "pelvis"}) == "2"
    assert worst_label(arm, arm.cases["Centre A", "scan_1"], {"1": "femur", "2": "pelvis"}) == "1"


@pytest.mark.parametrize(("key", "label"), [("1", 1), ("(1, 2)", (1, 2)), ("(3,)", (3,))])
def test_keys_of_labels_and_regions(key, label):
    assert label_of_key(key) == label
