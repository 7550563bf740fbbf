import numpy as np
import pytest

from nnunet_da.study.statistics.sentences import metric_name, primary_sentence, shown, source_sentences
from nnunet_da.study.statistics.text import answer_text


def test_the_answer_names_arms_place_difference_and_interval(analysed):
    answer = analysed()
    sentence = primary_sentence(answer)
    assert sentence.startswith("Adaptation helped (grl against zero_weight, ASD in B: from ")
    estimate = answer.primary.estimate
    assert f"{estimate.low:+.3f} to {estimate.high:+.3f} mm" in sentence
    assert "3 trained models per arm, 8 cases" in sentence


@pytest.mark.parametrize(
    ("grl", "seeds", "opening"),
    [
        (2.5, 4, "Adaptation harmed"),
        (1.92, 4, "Adaptation did not help: a gain of 0.100 mm"),
        (1.85, 2, "Whether adaptation helped cannot be told: the interval holds both no gain and one of 0.1"),
    ],
)
def test_other_answers(analysed, grl, seeds, opening):
    asd = {"source_only": 2.0, "zero_weight": 1.9, "grl": grl, "mmd": 1.85, "oracle": 1.0}
    assert primary_sentence(analysed(asd, seeds=seeds, cases=20)).startswith(opening)


def test_the_text_holds_every_part_and_fits_a_terminal(analysed):
    text = answer_text(analysed(failed=("grl",)))
    for part in (
        "# The study's answer",
        "Trainings of one seed paired",
        "## Source",
        "## Gap closed",
        "## Failed segmentations",
        "## Arms",
        "Mixed model",
        "By ranks",
    ):
        assert part in text
    assert "grl 3, zero_weight 0 of 24; exact McNemar over all p = 0.250, each case once p = 1.000" in text.replace("\n  ", " ")
    assert max(len(line) for line in text.splitlines() if not line.startswith("|")) <= 120
    assert "nan" not in text


def test_source_sentences_name_loss_interval_and_margin(analysed):
    dice, hd95 = source_sentences(analysed())
    assert dice.startswith("Dice of the source A: grl is ")
    assert "margin 0.0010" in dice
    assert "margin 0.200 mm" in hd95


def test_names_and_numbers():
    assert [metric_name(metric) for metric in ("dice", "asd_mm", "hd95_mm", "nsd_1mm", "precision")] == [
        "Dice",
        "ASD",
        "HD95",
        "NSD at 1 mm",
        "precision",
    ]
    assert shown(-0.00001, "fraction", sign=True) == "0.0000"
    assert shown(np.nan, "mm") == "-"
