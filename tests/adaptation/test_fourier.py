import math

import pytest
import torch
from torch.fft import fftn, fftshift
from torch.testing import assert_close

from nnunet_da.adaptation import mix_amplitudes

SHAPES = [(2, 8, 8), (1, 6, 8, 10), (1, 5, 7, 9), (1, 4, 9, 6)]


def pair(shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator) * 3, torch.rand(shape, generator=generator) + 1


def test_value_worked_by_hand():
    """A wave keeps its place and takes over half of the other's height; so does the mean."""
    x = torch.arange(8).float() * 2 * math.pi / 8
    image = (2 + torch.cos(x)).expand(1, 8, 8)
    reference = (6 + 3 * torch.sin(x)).expand(1, 8, 8)
    expected = (4 + 2 * torch.cos(x)).expand(1, 8, 8)
    assert_close(mix_amplitudes(image, reference, window=0.125, mix=0.5), expected)


def test_a_window_of_the_mean_alone_moves_the_mean_alone():
    image, reference = pair((1, 8, 8, 8))
    mixed = mix_amplitudes(image, reference, window=0.05, mix=1.0)  # b = 0
    assert_close(mixed, image - image.mean() + reference.mean())


@pytest.mark.parametrize(("window", "mix"), [(0.0, 1.0), (0.3, 0.0)])
def test_nothing_to_mix_is_the_identity(window, mix):
    image, reference = pair((1, 8, 8, 8))
    assert torch.equal(mix_amplitudes(image, reference, window, mix), image)


@pytest.mark.parametrize("shape", SHAPES)
def test_an_image_mixed_with_itself_stays(shape):
    image, _ = pair(shape)
    assert_close(mix_amplitudes(image, image, 0.4, 0.7), image)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("window", [0.1, 0.25, 0.4, 0.5])
def test_amplitudes_are_mixed_inside_and_kept_outside_and_the_image_is_real(shape, window):
    """The amplitudes of the real part are those that were asked for: nothing was lost with an imaginary part."""
    image, reference = pair(shape)
    axes = tuple(range(1, len(shape)))
    before, other, after = (
        fftshift(fftn(one, dim=axes), dim=axes) for one in (image, reference, mix_amplitudes(image, reference, window, 0.8))
    )
    inside = torch.ones(shape[1:], dtype=torch.bool)
    for axis, length in enumerate(shape[1:]):
        frequency = (torch.arange(length) - length // 2).abs() <= int(window * min(shape[1:]))
        inside &= frequency.view([-1 if i == axis else 1 for i in range(len(shape) - 1)])
    expected = torch.where(inside, 0.2 * before.abs() + 0.8 * other.abs(), before.abs())
    assert_close(after.abs(), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("image", "reference", "window", "mix"),
    [((1, 8, 8), (1, 8, 9), 0.1, 1), ((8, 8), (8, 8), 0.1, 1), ((1, 8, 8), (1, 8, 8), 0.6, 1), ((1, 8, 8), (1, 8, 8), 0.1, 1.5)],
)
def test_unfit_input_is_refused(image, reference, window, mix):
    with pytest.raises(ValueError, match="got"):
        mix_amplitudes(torch.zeros(image), torch.zeros(reference), window, mix)
