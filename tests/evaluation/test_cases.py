from pathlib import Path

import numpy as np
import pytest

from nnunet_da.errors import UserError
from nnunet_da.evaluation.cases import method_name, pair_folders, read_domains


def test_pairs_by_case_whatever_the_ending(folders, write):
    (folders / "predictions" / "case_0.nii.gz").unlink()
    write(np.zeros((2, 3, 4), np.uint8), folders / "predictions" / "case_0.nrrd")
    (folders / "predictions" / "case_1.nii.gz").rename(folders / "predictions" / "extra.nii.gz")
    paired = pair_folders(folders / "references", folders / "predictions", folders / "images", "A")
    assert [files.case for files in paired.cases] == ["case_0", "case_2", "case_3"]
    assert paired.cases[0].prediction.name == "case_0.nrrd"
    assert paired.cases[0].image == folders / "images" / "case_0_0000.nii.gz"
    assert (paired.without_prediction, paired.without_reference) == (["case_1"], ["extra"])


def test_domain_from_the_path_of_a_dataset(folders):
    labels = folders / "Dataset102_Rochester" / "labelsTs"
    labels.parent.mkdir()
    (folders / "references").rename(labels)
    assert pair_folders(labels, folders / "predictions", None, None).cases[0].domain == "Dataset102_Rochester"


def test_domains_from_a_table(folders, tmp_path):
    table = tmp_path / "domains.csv"
    table.write_text("case,domain,age\n" + "".join(f"case_{index},{'AB'[index % 2]},70\n" for index in range(4)))
    paired = pair_folders(folders / "references", folders / "predictions", None, read_domains(table))
    assert [files.domain for files in paired.cases] == ["A", "B", "A", "B"]


def test_refuses_a_case_without_domain_and_folders_with_nothing_in_common(folders):
    with pytest.raises(UserError, match="3 of 4 have none, first case_1"):
        pair_folders(folders / "references", folders / "predictions", None, {"case_0": "A"})
    with pytest.raises(UserError, match="none in common"):
        pair_folders(folders / "references", folders / "images", None, None)


@pytest.mark.parametrize("text", ["case;domain\na;b\n", "case,domain\nonly_one\n", "\xff"])
def test_refuses_a_table_of_other_columns(tmp_path, text):
    file = tmp_path / "domains.csv"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match="columns case and domain"):
        read_domains(file)


def test_refuses_two_domains_for_one_case(tmp_path):
    file = tmp_path / "domains.csv"
    file.write_text("case,domain\na,A\nb,B\na,B\n")
    with pytest.raises(UserError, match="one domain per case, got two for a"):
        read_domains(file)


@pytest.mark.parametrize(
    "name",
    [
        "fold_0/validation",
        "fold_all/validation",
        "fold_12/validation_highres",
        "x/crossval_results_folds_0_1",
        "crossval_results_folds_0/postprocessed",
    ],
)
def test_a_folds_validation_is_not_asked_for_cases_of_other_folds(folders, name):
    validation = folders / name
    validation.parent.mkdir(exist_ok=True)
    (folders / "predictions").rename(validation)
    (validation / "case_1.nii.gz").unlink()
    paired = pair_folders(folders / "references", validation, None, None)
    assert (paired.without_prediction, paired.not_expected) == ([], ["case_1"])


def test_the_user_may_ask_for_predicted_cases_only(folders):
    (folders / "predictions" / "case_1.nii.gz").unlink()
    paired = pair_folders(folders / "references", folders / "predictions", None, None, only_predicted=True)
    assert (paired.without_prediction, paired.not_expected) == ([], ["case_1"])


def test_method_is_the_trainer_in_the_path():
    folder = Path("results/Dataset101_A/nnUNetTrainer__nnUNetPlans__3d_fullres/fold_0/validation")
    assert method_name(folder) == "nnUNetTrainer__nnUNetPlans__3d_fullres"
    assert method_name(Path("somewhere/predictions")) == "predictions"
