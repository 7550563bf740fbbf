import numpy as np
import pytest

from nnunet_da.diagnosis.covariates import read_covariates
from nnunet_da.errors import UserError

CASES = [("Dataset101_A", "a1"), ("Dataset101_A", "a2"), ("Dataset102_B", "b1"), ("Dataset102_B", "b2")]


def write(folder, text):
    file = folder / "cases.csv"
    file.write_text(text)
    return file


def test_kinds_and_gaps(tmp_path):
    file = write(tmp_path, "case,age,sex,treated\nb2,70.5,F,1\na1,50,M,0\nb1,,F,1\nother,1,M,0\na2,61,,0\n")
    age, sex, treated = read_covariates(file, CASES)
    assert (age.numeric, sex.numeric, treated.numeric) == (True, False, False)  # 0 and 1 are two groups
    np.testing.assert_array_equal(age.values, [50, 61, 70.5])  # in the order of the cases
    np.testing.assert_array_equal(age.known, [True, True, False, True])
    np.testing.assert_array_equal(sex.values, ["M", "F", "F"])


@pytest.mark.parametrize("unknown", ["NA", "nan", " ", "None"])
def test_an_unknown_number_leaves_the_others_numbers(tmp_path, unknown):
    (age,) = read_covariates(write(tmp_path, f"case,age\na1,50\na2,61\nb1,{unknown}\nb2,70\n"), CASES)
    assert age.numeric
    np.testing.assert_array_equal(age.known, [True, True, False, True])


def test_a_dataset_column_tells_cases_of_one_name_apart(tmp_path):
    cases = [("Dataset101_A", "x"), ("Dataset102_B", "x")]
    with pytest.raises(UserError, match="twice in the datasets"):
        read_covariates(write(tmp_path, "case,age\nx,1\n"), cases)
    (age,) = read_covariates(write(tmp_path, "dataset,case,age\nDataset102_B,x,2\nDataset101_A,x,1\n"), cases)
    np.testing.assert_array_equal(age.values, ["1", "2"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,age\na1,1\n", "column 'case'"),
        ("case\na1\n", "column 'case'"),
        ("case,age\na1,1\na1,2\n", "twice in the table"),
        ("case,age\nz,1\n", "has none"),
    ],
)
def test_bad_tables_are_refused(tmp_path, text, words):
    with pytest.raises(UserError, match=words):
        read_covariates(write(tmp_path, text), CASES)


def test_the_phantoms_own_table_is_found(nnunet_folders):
    for dataset, case in (("Dataset101_A", "a1"), ("Dataset102_B", "b1")):
        folder = nnunet_folders / "nnUNet_raw" / dataset
        folder.mkdir()
        (folder / "phantom.csv").write_text(f"case,sex,age_years,kernel,label_volume_mm3\n{case},F,50,sharp,1\n")
    found = read_covariates(None, [CASES[0], CASES[2]])
    assert [covariate.name for covariate in found] == ["sex", "age_years"]  # nothing measured on a label
    (nnunet_folders / "nnUNet_raw" / "Dataset102_B" / "phantom.csv").unlink()
    assert read_covariates(None, [CASES[0], CASES[2]]) == []
