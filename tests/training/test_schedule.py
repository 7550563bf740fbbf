import math

import pytest
import torch

from nnunet_da.training.schedule import WarmupCosineSchedule, warmup_cosine


def test_values_by_hand():
    rate = [warmup_cosine(epoch, 1e-4, 0.0, 3, 7) for epoch in range(7)]
    assert rate == pytest.approx(
        [2.5e-5, 5e-5, 7.5e-5, 1e-4, 1e-4 * (1 + math.cos(math.pi / 4)) / 2, 5e-5, 1e-4 * (1 - math.cos(math.pi / 4)) / 2]
    )


def test_paper_schedule_rises_then_falls_to_the_floor():
    rates = [warmup_cosine(epoch, 1e-4, 6e-6, 38, 300) for epoch in range(300)]
    assert rates[:39] == sorted(rates[:39])
    assert rates[38] == max(rates) == 1e-4
    assert rates[38:] == sorted(rates[38:], reverse=True)
    assert 6e-6 < rates[-1] < 6.1e-6


def test_a_run_shorter_than_the_warm_up_only_rises():
    rates = [warmup_cosine(epoch, 1.0, 0.1, 5, 3) for epoch in range(3)]
    assert rates == sorted(rates)
    assert rates[-1] < 1


def test_every_parameter_group_follows():
    weights = [torch.nn.Parameter(torch.ones(1)) for _ in range(2)]
    optimizer = torch.optim.AdamW([{"params": [w]} for w in weights], lr=9.0)
    WarmupCosineSchedule(optimizer, 1.0, 0.0, 0, 4).step(2)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.5, 0.5])
