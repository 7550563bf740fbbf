import json

import pytest

from nnunet_da.report.provenance import Provenance, read_provenance, role_of

PLANS = {
    "dataset_name": "Dataset101_A",
    "configurations": {
        "3d_fullres": {"patch_size": [1, 2, 3], "nnunet_da": {"target_datasets": {"Dataset102_B": None}, "w_mmd": 0.1, "seg_mix": 0.4}},
        "3d_fullres_strong": {"inherits_from": "3d_fullres", "nnunet_da": {"w_mmd": 1.0}},
    },
}


def predictions(folder, plans=PLANS):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plans.json").write_text(plans if isinstance(plans, str) else json.dumps(plans))
    return [folder / "case.nii.gz"]


def test_a_variant_inherits_what_it_does_not_set(tmp_path):
    found = read_provenance(predictions(tmp_path), ["mine", "nnUNetTrainer_X__Plans__3d_fullres_strong"])
    assert (found.trainer, found.configuration_name) == ("nnUNetTrainer_X", "3d_fullres_strong")
    assert found.settings == {"target_datasets": {"Dataset102_B": None}, "w_mmd": 1.0, "seg_mix": 0.4}
    assert found.configuration["patch_size"] == [1, 2, 3]


def test_what_report_json_says_goes_first(tmp_path):
    assert read_provenance(predictions(tmp_path), ["nnUNetTrainer_X"], "nnUNetTrainer_Y").trainer == "nnUNetTrainer_Y"


def test_plans_of_nnunet_s_own_validation_folder(tmp_path):
    predictions(tmp_path)
    assert read_provenance([tmp_path / "fold_0" / "validation" / "case.nii.gz"], []).source == "Dataset101_A"


@pytest.mark.parametrize("plans", ["{", "[]", '{"configurations": 3}'])
def test_damaged_plans_are_none(tmp_path, plans):
    assert read_provenance(predictions(tmp_path, plans), []) == Provenance()


def test_a_circle_of_parents_ends(tmp_path):
    plans = {"configurations": {"a": {"inherits_from": "b"}, "b": {"inherits_from": "a", "x": 1}}}
    assert read_provenance(predictions(tmp_path, plans), [], "nnUNetTrainer_X__P__a").configuration == {"x": 1}


def test_roles():
    arm = Provenance(plans=PLANS)
    assert [role_of(domain, [arm], {}) for domain in ("Dataset101_A", "Dataset102_B", "Dataset103_C")] == ["source", "target", "unseen"]
    assert role_of("Dataset101_A", [arm], {"Dataset101_A": "target"}) == "target"
    assert role_of("Dataset101_A", [Provenance()], {}) == ""
