"""The reference's surface seen from outside, coloured by how far the prediction's surface is from it."""

from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from scipy.ndimage import affine_transform, gaussian_filter
from scipy.spatial import cKDTree

from nnunet_da.evaluation.nearest import boundary
from nnunet_da.evaluation.surface import surface_distances

PIXELS = 180  # along the longest side
SMOOTHING_VOXELS = 0.7  # of the drawn shape alone; the distances come from the unsmoothed masks
LIGHT = np.array([0.45, 0.75, -0.5])  # Z, Y towards the viewer, X: from above, the front and the viewer's left
COLOURS = "RdBu_r"
NO_DISTANCE = (0.54, 0.56, 0.6, 1.0)  # grey
STEPS_MM = (0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 50.0, 100.0)


@dataclass(frozen=True)
class SurfaceView:
    """A parallel projection of the surface.

    Attributes:
        title: where it is seen from.
        distance_mm: (H, W), signed; NaN beside the surface and where no distance is defined.
        shade: (H, W) brightness 0 to 1; NaN beside the surface.
        pixel_mm: size of a pixel.
    """

    title: str
    distance_mm: np.ndarray
    shade: np.ndarray
    pixel_mm: float


def signed_surface_distances(reference: np.ndarray, prediction: np.ndarray, spacing_mm: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Distance of the prediction's surface at every boundary voxel of the reference.

    Its size is that of `surface_distances(...).reference_to_prediction_mm`; it is positive where the boundary voxel lies inside the
    prediction (which reaches beyond the reference) and negative where the prediction leaves it out.

    Args:
        reference: boolean, (Z, Y, X).
        prediction: boolean, same shape.
        spacing_mm: Z, Y, X.

    Returns:
        (N, 3) positions in mm (index times spacing) and (N,) distances in mm, NaN where the prediction is empty.
    """
    voxels = np.argwhere(boundary(reference))
    distances_mm = surface_distances(reference, prediction, spacing_mm).reference_to_prediction_mm  # in the order of the array, too
    return voxels * np.asarray(spacing_mm), np.where(prediction[tuple(voxels.T)], distances_mm, -distances_mm)


def surface_views(reference: np.ndarray, prediction: np.ndarray, spacing_mm: tuple[float, ...]) -> list[SurfaceView]:
    """The reference's surface from the front and from behind; axes (Z, Y, X) towards head, back and the patient's left.

    Raises:
        ValueError: the reference is empty.
    """
    if not reference.any():
        raise ValueError("a surface needs a mask with at least one voxel, got an empty reference.")
    positions_mm, distances_mm = signed_surface_distances(reference, prediction, spacing_mm)
    shape, start_mm, pixel_mm = _resampled(reference, spacing_mm)
    tree = cKDTree(positions_mm)
    front = _view("from the front", shape, start_mm, pixel_mm, tree, distances_mm)
    behind = _view("from behind", shape[:, ::-1, ::-1], start_mm, pixel_mm, tree, distances_mm, turned=True)
    return [front, behind]


def common_scale_mm(views: list[SurfaceView]) -> float:
    """One end of the colour scale for all views: the 98th percentile of the distances' sizes, rounded up to an even figure."""
    sizes = [np.abs(view.distance_mm[np.isfinite(view.distance_mm)]) for view in views]
    found = np.concatenate(sizes) if sizes else np.empty(0)
    wanted = float(np.percentile(found, 98)) if found.size else 0.0
    return next((step for step in STEPS_MM if step >= wanted), STEPS_MM[-1])


def surface_figure(views: list[SurfaceView], scale_mm: float) -> Figure:
    """The views side by side above their colour scale, on black like the overlays."""
    figure = Figure(figsize=(5.2, 3.5), layout="constrained", facecolor="black")
    panels = figure.subplots(1, len(views), squeeze=False)[0]
    for axes, view in zip(panels, views, strict=True):
        _draw(axes, view, scale_mm)
    mappable = ScalarMappable(Normalize(-scale_mm, scale_mm), colormaps[COLOURS])
    bar = figure.colorbar(mappable, ax=list(panels), orientation="horizontal", fraction=0.05, pad=0.03, extend="both", shrink=0.86)
    bar.ax.tick_params(colors="white", labelsize=10)
    bar.outline.set_edgecolor("white")
    bar.set_label("← left out    distance (mm)    reaches beyond →", color="white", fontsize=10.5)
    return figure


def _resampled(mask: np.ndarray, spacing_mm: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, float]:
    """Smoothed mask on a cubic grid around it, (Z, Y, X) in 0 to 1; the position of its first voxel and its voxel size in mm."""
    spacing = np.asarray(spacing_mm)
    filled = np.argwhere(mask)
    low = filled.min(axis=0)
    cropped = np.pad(mask[tuple(slice(*ends) for ends in zip(low, filled.max(axis=0) + 1, strict=True))], 3).astype(np.float32)
    soft = gaussian_filter(cropped, SMOOTHING_VOXELS)
    extent_mm = (np.array(cropped.shape) - 1) * spacing
    pixel_mm = float(extent_mm.max() / PIXELS)
    size = tuple(int(extent // pixel_mm) + 1 for extent in extent_mm)
    fine = affine_transform(soft, pixel_mm / spacing, output_shape=size, order=1, mode="nearest", output=np.float32)
    return fine, (low - 3) * spacing, pixel_mm


def _view(
    title: str, shape: np.ndarray, start_mm: np.ndarray, pixel_mm: float, tree: cKDTree, distances_mm: np.ndarray, turned: bool = False
) -> SurfaceView:
    """What a viewer sees along Y: the first voxel of each ray inside the shape, head up."""
    inside = shape >= 0.5
    hit = inside.any(axis=1)
    depth = inside.argmax(axis=1)
    rows, columns = np.nonzero(hit)
    index = np.stack([rows, depth[hit], columns])
    normals = _normals(shape, index)
    seen = index if not turned else np.stack([index[0], shape.shape[1] - 1 - index[1], shape.shape[2] - 1 - index[2]])
    _, nearest = tree.query(seen.T * pixel_mm + start_mm)
    distance, shade = np.full(hit.shape, np.nan), np.full(hit.shape, np.nan)
    distance[hit] = distances_mm[nearest]
    shade[hit] = 0.42 + 0.58 * np.clip(normals @ (LIGHT / np.linalg.norm(LIGHT)), 0, 1)
    return SurfaceView(title, distance[::-1], shade[::-1], pixel_mm)


def _normals(shape: np.ndarray, index: np.ndarray) -> np.ndarray:
    """(N, 3) unit vectors out of the surface at (3, N) voxels; Y turned towards the viewer."""
    smooth = gaussian_filter(shape, 2.0)
    outwards = []
    for axis in range(3):
        step = np.zeros((3, 1), int)
        step[axis] = 1
        ends = [np.clip(index + sign * step, 0, np.array(shape.shape)[:, None] - 1) for sign in (1, -1)]
        outwards.append(smooth[tuple(ends[1])] - smooth[tuple(ends[0])])
    vectors = np.stack(outwards, axis=1).astype(float)
    vectors[:, 1] *= -1  # the viewer stands at small Y
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def _draw(axes: Axes, view: SurfaceView, scale_mm: float) -> None:
    coloured = colormaps[COLOURS]((np.nan_to_num(view.distance_mm) / scale_mm + 1) / 2)
    undefined = np.isfinite(view.shade) & np.isnan(view.distance_mm)
    coloured[undefined] = NO_DISTANCE
    coloured[..., :3] *= np.nan_to_num(view.shade)[..., None]
    height, width = (size * view.pixel_mm for size in view.shade.shape)
    axes.imshow(coloured, extent=(0, width, 0, height), interpolation="bilinear", aspect="equal")
    axes.set_axis_off()
    axes.set_title(view.title, color="white", fontsize=12)
