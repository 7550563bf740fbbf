import pytest

from nnunet_da.errors import UserError
from nnunet_da.settings import AdaptationSettings, parse_assignment, settings_from_dict, settings_from_plans, settings_to_dict


def test_settings_survive_the_plans():
    settings = AdaptationSettings(target_datasets={"Dataset102_B": ["a"]}, w_mmd=0.2, mirror_axes=[0, 1], seed=3)
    assert settings_from_plans({"nnunet_da": settings_to_dict(settings)}) == settings


def test_weight_of_a_term_is_its_setting():
    assert AdaptationSettings(w_mmd=0.2).weight("mmd") == 0.2


@pytest.mark.parametrize(("batch_size", "forced", "expected"), [(2, 0.33, 1), (3, 0.33, 2), (2, 0.0, 2), (4, 0.33, 3)])
def test_random_samples_follow_stock_rounding(batch_size, forced, expected):
    assert AdaptationSettings(oversample_foreground_percent=forced).random_source_samples(batch_size) == expected


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"w_mdm": 0.1}, "w_mdm"),
        ({"w_mmd": "much"}, "a number"),
        ({"w_mmd": True}, "a number"),
        ({"w_mmd": -1}, "0 or more"),
        ({"num_epochs": 2.5}, "whole number"),
        ({"num_epochs": 0}, "1 or more"),
        ({"pooling": "max"}, '"mean", "mean_std"'),
        ({"pooling": "class_mean", "align_at": "output"}, "the classes themselves"),
        ({"align_at": "decoder"}, '"bottleneck", "encoder", "output"'),
        ({"mirror_axes": ["x"]}, "a list of a whole number"),
        ({"seg_mix": 1.5}, "between 0 and 1"),
        ({"target_datasets": ["Dataset102_B"]}, "an object"),
        ({"w_adv": float("nan")}, "a number"),
        ({"clip_grad_norm": 0}, "above 0"),
        ({"seed": -1}, "between 0"),
        ({"focal_alpha": 5}, "between 0 and 1"),
        ({"mirror_axes": [7]}, "patch axes"),
        ({"weight_decay": -0.1}, "0 or more"),
        ({"restyle_probability": 1.1}, "between 0 and 1"),
        ({"fourier_window": 0.6}, "between 0 and 0.5"),
        ({"fourier_window": -0.1}, "between 0 and 0.5"),
        ({"fourier_mix": 2}, "between 0 and 1"),
    ],
)
def test_bad_settings_are_refused_by_name(values, word):
    with pytest.raises(UserError) as error:
        settings_from_dict(values)
    assert next(iter(values)) in str(error.value)
    assert word in str(error.value)


def test_plans_without_settings_are_refused():
    with pytest.raises(UserError, match="nnunet-da plan"):
        settings_from_plans({"batch_size": 2})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("w_mmd=0.2", ("w_mmd", 0.2)),
        ("pooling=mean", ("pooling", "mean")),
        ("seed=null", ("seed", None)),
        ("mirror_axes=[0]", ("mirror_axes", [0])),
    ],
)
def test_assignments(text, expected):
    assert parse_assignment(text) == expected


@pytest.mark.parametrize("text", ["w_mmd", "=3"])
def test_an_assignment_needs_a_name_and_a_value(text):
    with pytest.raises(UserError, match="name=value"):
        parse_assignment(text)
