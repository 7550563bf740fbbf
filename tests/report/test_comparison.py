import pytest

from nnunet_da.errors import UserError
from nnunet_da.report.comparison import commands_of
from nnunet_da.report.study import load_study

NOTHING = {"Centre A": "", "Centre <B> & co": ""}


def test_methods_get_the_names_of_the_report(study, compared):
    compared(study, NOTHING)
    comparison = load_study(study).comparison
    assert (comparison.baseline, comparison.others) == ("Source only", ["PF-DAformer"])
    row = comparison.row("Source only", "PF-DAformer", "Centre A", "1", "hd95_mm")
    assert row["difference"] == pytest.approx(-0.15)
    assert comparison.row("PF-DAformer", "Source only", "Centre A", "1", "hd95_mm") is None
    assert comparison.warnings == ["one <seed> each"]


def test_a_method_that_is_no_arm_keeps_its_name(study, compared):
    compared(study, NOTHING, second="three seeds")
    assert load_study(study).comparison.others == ["three seeds"]


def test_without_a_file_there_is_none(study):
    assert load_study(study).comparison is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("first,second\na,b\n", "no column domain"),
        ("", "comparison.csv must be a CSV"),
        (None, "better"),
    ],
)
def test_refuses_a_damaged_file_in_one_line(study, compared, text, said):
    file = compared(study, NOTHING) / "comparison.csv"
    file.write_text(file.read_text().replace(",0.7,2,0,1,,", ",0.7,2,0,1,third,") if text is None else text)
    with pytest.raises(UserError, match=said) as error:
        load_study(study)
    assert "\n" not in str(error.value)
    assert "compare" in str(error.value)


def test_refuses_a_word_where_a_number_stands(study, compared):
    compared(study, NOTHING, difference="much")
    with pytest.raises(UserError, match="'much'"):
        load_study(study)


def test_refuses_two_comparisons_of_the_same(study, compared):
    compared(study, NOTHING)
    compared(study, NOTHING, "again")
    with pytest.raises(UserError, match="got two for dice in Centre A"):
        load_study(study)


def test_refuses_a_damaged_manifest(study, compared):
    (compared(study, NOTHING) / "comparison.json").write_text('{"warnings": "none"}')
    with pytest.raises(UserError, match="warnings = 'none'"):
        load_study(study)


def test_commands_as_text_or_parts():
    assert commands_of([{"command": ["a", "b c"]}, {"commands": ["x", ["y", "z"]]}, {"command": "a 'b c'"}, {}]) == ["a 'b c'", "x", "y z"]
