import numpy as np
import pytest

from nnunet_da.phantom.grid import Grid
from nnunet_da.phantom.kernels import KERNELS
from nnunet_da.phantom.noise import coloured_noise, streak_noise

GRID = Grid((20, 96, 100), (2.5, 0.8, 0.8), (0.0, 0.0, 0.0))


@pytest.mark.parametrize("make", [coloured_noise, streak_noise])
def test_sd_is_one_and_slices_are_independent(make):
    noise = make(GRID, KERNELS["standard"], np.random.default_rng(0))
    assert noise.shape == GRID.shape
    assert noise.std() == pytest.approx(1, abs=0.08)
    assert abs((noise[1:] * noise[:-1]).mean()) < 0.08


def test_colour_follows_the_kernel():
    """A sharper kernel moves the noise to higher frequencies: neighbours are less alike."""

    def alike(name):
        noise = coloured_noise(GRID, KERNELS[name], np.random.default_rng(1))
        return (noise[..., 1:] * noise[..., :-1]).mean()

    assert alike("b30s") > alike("standard") + 0.05 > alike("bone") + 0.2


def test_streaks_run_from_side_to_side():
    noise = streak_noise(GRID, KERNELS["standard"], np.random.default_rng(2))
    along_x = (noise[..., 4:] * noise[..., :-4]).mean()
    along_y = (noise[:, 4:] * noise[:, :-4]).mean()
    assert along_x > 0.5 > along_y
