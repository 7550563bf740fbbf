import numpy as np
import pytest

from nnunet_da.phantom.kernels import KERNELS


@pytest.mark.parametrize("name", KERNELS)
def test_mtf_is_one_half_and_a_tenth_where_stated(name):
    kernel = KERNELS[name]
    frequencies = np.array([0.0, kernel.f50_lp_cm / 10, kernel.f10_lp_cm / 10])
    np.testing.assert_allclose(kernel.mtf(frequencies), [1.0, 0.5, 0.1], atol=1e-12)


def test_only_the_bone_kernel_overshoots():
    f = np.linspace(0, 1.5, 300)
    assert KERNELS["bone"].mtf(f).max() > 1.15
    assert KERNELS["b30s"].mtf(f).max() <= 1
    assert KERNELS["standard"].mtf(f).max() <= 1


def test_sharper_kernels_pass_more():
    f = np.linspace(0.2, 0.8, 20)
    assert (KERNELS["b30s"].mtf(f) < KERNELS["standard"].mtf(f)).all()
    assert (KERNELS["standard"].mtf(f) < KERNELS["bone"].mtf(f)).all()
