import pandas as pd
import pytest

from nnunet_da.report.study import load_study
from nnunet_da.report.verdict import how_to_compare, kind_of, p_value, signed, verdicts


def row(metric="dice", better="", low=-1.0, high=1.0, p=0.5, seeds=1, low_seeds=float("nan"), high_seeds=float("nan")):
    seed_interval = {"ci_low_seeds": low_seeds, "ci_high_seeds": high_seeds}
    return {"metric": metric, "better": better, "ci_low": low, "ci_high": high, "p_holm": p, "n_seeds": seeds} | seed_interval


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        ([row(better="second"), row()], "better"),
        ([row(better="first")], "worse"),
        ([row(better="second"), row("hd95_mm", better="first")], "mixed"),
        ([row()], "open"),
        ([row(low=0.1, high=0.2)], "hint better"),
        ([row("hd95_mm", low=0.1, high=0.2)], "hint worse"),  # a longer distance
        ([row(low=0.1, high=0.2), row("hd95_mm", low=0.1, high=0.2)], "open"),
        ([row(low=0.1, high=0.2, seeds=3, low_seeds=-0.1, high_seeds=0.3)], "open"),  # over seeds it holds 0
        ([row(p=float("nan"))], "untested"),
    ],
)
def test_what_rows_say_together(rows, kind):
    assert kind_of(pd.DataFrame(rows)) == kind


def test_no_rows_are_untested():
    assert kind_of(pd.DataFrame([row()]).head(0)) == "untested"


def test_a_worse_source_and_no_roles(study, compared):
    compared(study, {"Centre A": "first", "Centre <B> & co": ""})
    found = {verdict.domain: (verdict.question, verdict.answer) for verdict in verdicts(load_study(study))}
    assert found == {"Centre A": ("Improved?", "Worse"), "Centre <B> & co": ("Improved?", "No difference shown")}


def test_many_labels_are_counted(study, compared):
    folder = compared(study, {"Centre A": "second", "Centre <B> & co": ""})
    table = pd.read_csv(folder / "comparison.csv")
    pd.concat([table.assign(label=str(label)) for label in range(1, 6)]).to_csv(folder / "comparison.csv", index=False)
    for file in study.rglob("metrics.csv"):
        metrics = pd.read_csv(file)
        pd.concat([metrics.assign(label=label) for label in range(1, 6)]).to_csv(file, index=False)
    details = verdicts(load_study(study))[0].details
    assert details == ["Of 5 labels: 5 better, 0 worse, 0 mixed, the rest not shown."]


def test_one_method_needs_no_command(study):
    assert how_to_compare(load_study(study / "adapted" / "domain_0")) == ""


def test_numbers_in_words():
    assert [signed(value, "fraction") for value in (0.01234, -0.01234, 0.00001, -0.00001)] == ["+0.0123", "−0.0123", "0.0000", "0.0000"]
    assert signed(-2500.0, "mm3") == "−2.500"
    assert [p_value(value) for value in (0.0004, 0.04, float("nan"))] == ["<0.001", "0.040", "–"]
