"""The worst cases of every arm: which they are, and their pictures."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from nnunet_da.errors import UserError
from nnunet_da.evaluation.labels import Label, mask_of
from nnunet_da.report.overlays import Volumes, overlay_figure, read_volumes
from nnunet_da.report.pictures import Picture, file_name, style, to_picture
from nnunet_da.report.study import Arm, CaseRecord, Study
from nnunet_da.report.surfaces import SurfaceView, common_scale_mm, surface_figure, surface_views

WORST = 5  # cases drawn per arm
SPELLED_LABELS = 3  # in a caption, the worst first


@dataclass(frozen=True)
class CasePicture:
    """One case drawn: overlay, and surface where there is one."""

    caption: str
    pictures: list[Picture]


@dataclass(frozen=True)
class CasePictures:
    """The drawn cases of one arm, and a sentence for each that cannot be drawn."""

    cases: list[CasePicture]
    problems: list[str]


def chosen_cases(study: Study, arm: Arm, worst: int = WORST) -> list[tuple[CaseRecord, str]]:
    """The cases to draw and why: the arm's worst by Dice, worst first, the worst of each domain, and one median case per domain.

    The median case is the same for all arms. Cases without files are left out.
    """
    ordered = sorted(_dice_per_case(arm).items(), key=lambda item: (item[1], item[0]))
    ranks = {place: f"worst {number} of this method" for number, (place, _) in enumerate(ordered[:worst], start=1)}
    if worst:
        for domain in study.domains:
            first = next((place for place, _ in ordered if place[0] == domain), None)
            if first is not None:
                ranks.setdefault(first, "worst of this method in its domain")
    for domain in study.domains:
        case = median_case(study, domain)
        if case is not None:
            place = (domain, case)
            ranks[place] = " and ".join(filter(None, [ranks.get(place, ""), "median Dice over all methods"]))
    return [(arm.cases[place], reason) for place, reason in ranks.items() if place in arm.cases]


def worst_pictures(study: Study, worst: int = WORST, progress: Callable[[], object] = lambda: None) -> dict[str, CasePictures]:
    """Arm -> its chosen cases drawn: overlay, and the surface coloured by distance with one scale for the whole study.

    Args:
        worst: cases per arm, see `chosen_cases`.
        progress: called after each case.
    """
    overlays: dict[str, list[tuple[CaseRecord, str, Picture, list[SurfaceView], str]]] = {arm.name: [] for arm in study.arms}
    problems: dict[str, list[str]] = {arm.name: [] for arm in study.arms}
    for arm in study.arms:
        for record, reason in chosen_cases(study, arm, worst):
            try:
                volumes = read_volumes(record)
                label = worst_label(arm, record, study.labels)
                overlays[arm.name].append((record, reason, _overlay(arm, record, volumes, study.labels), _views(volumes, label), label))
            except UserError as error:
                problems[arm.name].append(f"{record.domain}, {record.case}: {error}")
            progress()
    scale_mm = common_scale_mm([view for drawn in overlays.values() for entry in drawn for view in entry[3]])
    return {
        arm.name: CasePictures([_drawn_case(study, arm, *entry, scale_mm) for entry in overlays[arm.name]], problems[arm.name])
        for arm in study.arms
    }


def worst_label(arm: Arm, record: CaseRecord, labels: dict[str, str]) -> str:
    """The label of a case with the lowest Dice, the first of several."""
    rows = _rows_of(arm, record)
    dice = {row.label: row.value for row in rows[rows["metric"] == "dice"].itertuples() if np.isfinite(row.value)}
    return min(dice, key=lambda label: (dice[label], list(labels).index(label))) if dice else next(iter(labels))


def median_case(study: Study, domain: str) -> str | None:
    """The case in the middle by Dice, averaged over labels and arms, among the cases that every arm has."""
    per_arm = [{case: dice for (place, case), dice in _dice_per_case(arm).items() if place == domain} for arm in study.arms]
    common = set.intersection(*(set(dice) for dice in per_arm))
    if not common:
        return None
    ordered = sorted(common, key=lambda case: (float(np.mean([dice[case] for dice in per_arm])), case))
    return ordered[len(ordered) // 2]


def label_of_key(key: str) -> Label:
    """The label or region that a key of metrics.csv stands for: "1" or "(1, 2)"."""
    values = tuple(int(value) for value in key.strip("()").split(",") if value.strip())
    return values if key.startswith("(") else values[0]


def _overlay(arm: Arm, record: CaseRecord, volumes: Volumes, labels: dict[str, str]) -> Picture:
    planes = "Axial slice" if volumes.reference.shape[0] == 1 else "Axial and coronal slice"
    alternative = f"{planes} of {record.case} with the contours of the reference and of {arm.name}'s prediction. " + _scores(
        arm, record, labels
    )
    with style():
        return to_picture(overlay_figure(volumes), file_name("overlay", arm.name, record.domain, record.case), f"{alternative}.")


def _views(volumes: Volumes, label: str) -> list[SurfaceView]:
    """Views of a label's reference; none where it is empty or there is one slice."""
    reference, prediction = (mask_of(array, label_of_key(label)) for array in (volumes.reference, volumes.prediction))
    return surface_views(reference, prediction, volumes.spacing_mm) if reference.any() and reference.shape[0] > 1 else []


def _drawn_case(
    study: Study, arm: Arm, record: CaseRecord, reason: str, overlay: Picture, views: list[SurfaceView], label: str, scale_mm: float
) -> CasePicture:
    contours_alone = "" if record.image else " Contours alone: no scan was named with --images."
    whose = f" Surface: {study.labels[label]}." if len(study.labels) > 1 and views else ""
    caption = f"{record.domain}, {record.case} ({reason}): {_scores(arm, record, study.labels)}.{contours_alone}{whose}"
    return CasePicture(caption, [overlay, *([_surface(arm, record, views, scale_mm, study.labels[label])] if views else [])])


def _surface(arm: Arm, record: CaseRecord, views: list[SurfaceView], scale_mm: float, label: str) -> Picture:
    seen = np.concatenate([view.distance_mm[np.isfinite(view.distance_mm)] for view in views])
    told = f"from {seen.min():.1f} to {seen.max():.1f} mm" if seen.size else "not defined, the prediction is empty"
    alternative = (
        f"Surface of the reference ({label}) of {record.case} from the front and from behind, coloured by the distance to the surface of "
        f"{arm.name}'s prediction: {told}."
    )
    name = file_name("surface", arm.name, record.domain, record.case)
    with style():
        return to_picture(surface_figure(views, scale_mm), name, alternative, many_colours=True)


def _rows_of(arm: Arm, record: CaseRecord) -> pd.DataFrame:
    return arm.metrics[(arm.metrics["domain"] == record.domain) & (arm.metrics["case"] == record.case)]


def _scores(arm: Arm, record: CaseRecord, labels: dict[str, str]) -> str:
    values = {(row.label, row.metric): row.value for row in _rows_of(arm, record).itertuples()}
    shown = sorted(labels, key=lambda label: _finite(values.get((label, "dice"))))[:SPELLED_LABELS]
    texts = []
    for label in shown:
        dice, hd95 = (values.get((label, metric), float("nan")) for metric in ("dice", "hd95_mm"))
        distance = f"{hd95:.2f} mm" if np.isfinite(hd95) else "undefined"
        texts.append((f"{labels[label]}: " if len(labels) > 1 else "") + f"Dice {dice:.3f}, HD95 {distance}")
    more = f"; and {len(labels) - len(shown)} labels more" if len(labels) > len(shown) else ""
    return "; ".join(texts) + more


def _finite(value: float | None) -> float:
    return np.inf if value is None or np.isnan(value) else value


def _dice_per_case(arm: Arm) -> dict[tuple[str, str], float]:
    """(domain, case) -> mean Dice over labels, where defined."""
    chosen = arm.metrics[arm.metrics["metric"] == "dice"]
    return chosen.groupby(["domain", "case"])["value"].mean().dropna().to_dict()
