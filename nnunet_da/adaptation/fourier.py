"""Fourier amplitude mixing: an image keeps its content, which is in the phase, and takes over low frequencies of another's amplitude.

Yang & Soatto, FDA, CVPR 2020, arXiv:2004.05498 replace them; Liu et al., FedDG, CVPR 2021, arXiv:2103.06030 mix them. In 3D here, with a
window that is symmetric about frequency 0, so that a real image stays real (released code of FDA leaves its upper end out).
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.fft import fftn, fftshift, ifftn, ifftshift


def mix_amplitudes(image: Tensor, reference: Tensor, window: float, mix: float) -> Tensor:
    """Restyle an image: A = A_image outside the window, (1 - mix) A_image + mix A_reference inside it; the phase is the image's.

    Args:
        image: (C, ...) with two or three spatial axes.
        reference: the same shape.
        window: L in [0, 0.5]: the window holds frequencies -b to b along each axis, b = floor(L * shortest axis). 0 means no window, and
            the image comes back; a small L with b = 0 holds the mean alone.
        mix: the reference's share in [0, 1].

    Returns:
        (C, ...), real.

    Raises:
        ValueError: other shapes, or numbers out of range.
    """
    if image.shape != reference.shape or image.ndim not in (3, 4):
        raise ValueError(
            f"image and reference must be (C, ...) of one shape, with 2 or 3 axes, got {tuple(image.shape)} and {tuple(reference.shape)}."
        )
    if not (0 <= window <= 0.5 and 0 <= mix <= 1):
        raise ValueError(f"window must be in [0, 0.5] and mix in [0, 1], got {window} and {mix}.")
    if window == 0 or mix == 0:
        return image
    axes = tuple(range(1, image.ndim))
    spectrum, other = (fftshift(fftn(one, dim=axes), dim=axes) for one in (image, reference))
    inside = (slice(None), *_window(image.shape[1:], window))
    amplitude, amplitude_reference = spectrum[inside].abs(), other[inside].abs()
    mixed = torch.polar((1 - mix) * amplitude + mix * amplitude_reference, spectrum[inside].angle())
    spectrum[inside] = mixed
    return ifftn(ifftshift(spectrum, dim=axes), dim=axes).real


def _window(shape: Sequence[int], window: float) -> tuple[slice, ...]:
    """Frequencies -b to b of a shifted spectrum; the mean stands at half the length."""
    b = int(window * min(shape))
    return tuple(slice(max(0, length // 2 - b), length // 2 + b + 1) for length in shape)
