import pytest

from nnunet_da.errors import UserError
from nnunet_da.report.radiomics import mask_title, null_masks
from nnunet_da.report.sections import endpoint_table, feature_table
from nnunet_da.report.study import load_study


def test_radiomics_of_an_arm_is_found_below_it(study, measured):
    measured(study / "adapted")
    first, second = load_study(study).arms
    assert first.radiomics is None
    assert null_masks(second.radiomics.agreement) == ["reference_eroded_0.5mm", "reference_dilated_0.5mm"]
    assert second.radiomics.commands == ["nnunet-da radiomics -o 'a b'"]


def test_tables_hold_the_nulls_beside_the_prediction(study, measured):
    measured(study / "adapted")
    loaded = load_study(study)
    features, endpoints = feature_table(loaded, loaded.arms[1]), endpoint_table(loaded, loaded.arms[1])
    assert features.columns[-3:] == ["prediction", "eroded 0.5 mm", "dilated 0.5 mm"]
    assert [(row.header.text, row.cells[0].text, row.cells[-1].text) for _, row in features.rows][:3] == [
        ("shape", "2", "0.800"),
        ("ngtdm", "1", "0.800"),
        ("all features", "3", "0.800"),
    ]
    row = next(row for _, row in endpoints.rows)
    assert row.header.text == "mean density (HU)"
    assert row.cells[1].text == "+1\N{NARROW NO-BREAK SPACE}000.00"
    assert [cell.text for cell in row.cells[-2:]] == ["0.900", "0.800"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("agreement.csv", "domain,label\nA,1\n", "agreement.csv must be a CSV.*no column mask"),
        ("endpoint_agreement.csv", "", "endpoint_agreement.csv must be a CSV"),
        ("radiomics.json", "[1]", "radiomics.json must hold a JSON object"),
    ],
)
def test_refuses_damaged_files_in_one_line(study, measured, name, text, said):
    (measured(study / "adapted") / name).write_text(text)
    with pytest.raises(UserError, match=said) as error:
        load_study(study)
    assert "\n" not in str(error.value)


def test_refuses_the_same_features_twice(study, measured):
    folder = measured(study / "adapted")
    folder.rename(study / "adapted" / "old")
    measured(study / "adapted")
    with pytest.raises(UserError, match=r"one agreement\.csv per arm and domain"):
        load_study(study)


def test_masks_in_words():
    assert mask_title("reference_eroded_0.5mm") == "eroded 0.5 mm"
    assert mask_title("prediction") == "prediction"
