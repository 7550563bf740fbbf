import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.distance import cdist

from nnunet_da.evaluation import nearest
from nnunet_da.evaluation.nearest import boundary, boundary_distances


def brute_force(first: np.ndarray, second: np.ndarray, spacing_mm: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    places = [np.argwhere(mask & ~ndimage.binary_erosion(mask)) * spacing_mm for mask in (first, second)]
    table = cdist(*places)
    return table.min(axis=1), table.min(axis=0)


@pytest.mark.parametrize("way", ["neighbours, then tree", "tree", "transform"])
@pytest.mark.parametrize(
    ("shape", "spacing_mm"),
    [
        ((9, 20, 18), (2.5, 0.8, 0.9)),
        ((12, 12, 12), (1.0, 1.0, 1.0)),
        ((6, 30, 20), (999.0, 1.0, 1.0)),
        ((40, 6, 7), (0.1, 3.0, 2.0)),
        ((30, 25), (0.7, 0.4)),
        ((30, 25), (5.0, 0.1)),
    ],
)
def test_equals_brute_force_whichever_way_it_takes(shape, spacing_mm, way, monkeypatch):
    monkeypatch.setattr(nearest, "NEIGHBOURS", nearest.NEIGHBOURS if "neighbours" in way else 1)
    monkeypatch.setattr(nearest, "VOXELS_PER_POINT", 10**6 if way == "transform" else 0)
    nearest._ball.cache_clear()
    rng = np.random.default_rng(3)
    first, second = (ndimage.gaussian_filter(rng.normal(size=shape), 1.5) > 0 for _ in range(2))
    second[: shape[0] // 2] = False  # far from much of the first
    first[0] = second[-1] = True  # touch the border
    expected = brute_force(first, second, spacing_mm)
    for found, distances in zip(boundary_distances(first, second, spacing_mm), expected, strict=True):
        np.testing.assert_allclose(found, distances, rtol=1e-6)  # the transform is float32
    nearest._ball.cache_clear()


def test_an_island_far_away_is_answered_exactly():
    first, second = np.zeros((2, 60, 60, 60), bool)
    first[5:10, 5:10, 5:10] = second[5:10, 5:10, 5:10] = second[55, 55, 55] = True
    there, back = boundary_distances(first, second, (1.0, 0.5, 2.0))
    assert there.max() == 0
    assert back.max() == pytest.approx(np.linalg.norm(np.multiply(46, (1.0, 0.5, 2.0))))


@pytest.mark.parametrize("shape", [(1, 9, 9), (5, 9, 9), (9, 9)])
def test_boundary_is_what_erosion_removes_and_the_border_counts_as_background(shape):
    mask = np.random.default_rng(1).random(shape) < 0.8
    assert (boundary(mask) == (mask & ~ndimage.binary_erosion(mask))).all()
    assert boundary(np.ones(shape, bool)).any()


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (4.0, 1.0, 1.0), (2.6, 0.7, 0.7), (1.0, 1.3, 1.7), (0.1, 9.0), (1.0, 1.0)])
def test_no_nearer_neighbour_is_left_out(spacing_mm):
    width = 60 if len(spacing_mm) == 2 else 10
    lattice = np.stack(np.meshgrid(*(np.arange(-width, width + 1),) * len(spacing_mm)), axis=-1).reshape(-1, len(spacing_mm))
    found = [distance for distance, _ in nearest._ball(spacing_mm)]
    assert len(found) > 30
    np.testing.assert_allclose(found, np.sort(np.linalg.norm(lattice * spacing_mm, axis=1))[: len(found)], atol=1e-12)
