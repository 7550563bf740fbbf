import pytest

from nnunet_da.errors import UserError
from nnunet_da.study.statistics.declaration import Declaration, unit_of

ARMS = ("source_only", "zero_weight", "grl", "mmd", "oracle")
PLAIN = {"arms": ARMS, "methods": ("grl", "mmd"), "source": "A", "targets": ("B", "C")}


def test_defaults_are_filled_in():
    found = Declaration(**PLAIN)
    assert (found.baseline, found.primary_method, found.primary_target) == ("zero_weight", "grl", "B")
    assert (found.source_only, found.oracle, found.endpoint) == ("source_only", "oracle", "asd_mm")
    assert found.margins == {"dice": 0.001, "hd95_mm": 0.2}
    assert found.least_gain == 0.1
    assert found.compared_metrics == ("asd_mm", "dice", "hd95_mm")


def test_without_zero_weight_the_baseline_is_source_only_and_without_an_oracle_there_is_no_gap():
    found = Declaration(**PLAIN | {"arms": ("source_only", "grl", "mmd")})
    assert found.baseline == "source_only"
    assert found.oracle == ""


def test_a_label_may_be_a_number():
    assert Declaration(**PLAIN, label=2).label == "2"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"arms": ("grl", "mmd")}, "a baseline was expected"),
        ({"arms": ("zero_weight", "zero_weight")}, "distinct names"),
        ({"methods": ()}, "at least one"),
        ({"methods": ("grl", "gan")}, "methods must be among the arms"),
        ({"methods": ("zero_weight",)}, "name another baseline"),
        ({"primary_method": "oracle"}, "primary_method must be one of grl, mmd"),
        ({"primary_target": "D"}, "primary_target must be one of B, C"),
        ({"source": "B"}, "must not be a target"),
        ({"endpoint": "volume_mm3"}, "better end"),
        ({"margins": {"dice": 0}}, "margin of dice must be a number above 0"),
        ({"smallest_gain": -1}, "smallest_gain must be a number above 0"),
        ({"margins": {"dice": "0.1 points"}}, "margin of dice must be a number"),
        ({"alpha": 5}, "alpha must lie between"),
        ({"oracle": "perfect"}, "oracle must be among the arms"),
    ],
)
def test_refuses(changed, words):
    with pytest.raises(UserError, match=words):
        Declaration(**PLAIN | changed)


@pytest.mark.parametrize(("metric", "unit"), [("asd_mm", "mm"), ("nsd_1mm", "fraction"), ("dice", "fraction"), ("volume_mm3", "mm3")])
def test_units(metric, unit):
    assert unit_of(metric) == unit
