import os
import time

import pytest

from nnunet_da.errors import UserError
from nnunet_da.evaluation.workers import default_processes, each, each_in, workers


@pytest.mark.parametrize("processes", [1, 2])
def test_every_item_with_its_result_or_its_error(processes):
    found = {}
    for item, result in each(int, ["1", "2", "x"], processes):
        try:
            found[item] = result()
        except ValueError as error:
            found[item] = type(error)
    assert found == {"1": 1, "2": 2, "x": ValueError}


def test_one_pool_serves_several_times_and_one_item_needs_none():
    with workers(2, 5) as pool:
        assert pool is not None
        assert [sorted(result() for _, result in each_in(pool, abs, [-1, -2])) for _ in range(2)] == [[1, 2], [1, 2]]
    with workers(4, 1) as pool:
        assert pool is None


def test_a_process_that_dies_is_one_line_for_the_user():
    with pytest.raises(UserError, match="fewer --processes"):
        [result() for _, result in each(os._exit, [3, 3], 2)]


def test_leaving_early_cancels_what_has_not_begun():
    began = time.monotonic()
    next(iter(each(time.sleep, [0.0] + [0.5] * 60, 2)))  # the iterator is dropped at once
    assert time.monotonic() - began < 12


def test_few_cases_get_one_process():
    assert [default_processes(cases) for cases in (0, 1, 7)] == [1, 1, 1]
