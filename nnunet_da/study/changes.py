"""A study's folder holds the results of one set of settings: what may be added to it, and what is refused."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_da.datasets import read_json
from nnunet_da.errors import UserError
from nnunet_da.study.layout import Layout
from nnunet_da.study.records import read_record
from nnunet_da.study.study import Study

MISSING = "nothing"
FREE = ("title", "note", "resources", "arms", "seeds", "folds", "references")  # of the file; arms and runs are compared one by one


@dataclass(frozen=True)
class Earlier:
    """What a folder holds of an earlier call.

    Attributes:
        content: of its study.json, None where there is none.
        goes: whether all that the study made is to go, as asked or since it is of other settings and no result.
    """

    content: dict[str, Any] | None = None
    goes: bool = False

    @property
    def pseudo_ids(self) -> dict[str, int]:
        """Ids of the self-training datasets that are there and stay."""
        return {} if self.content is None or self.goes else self.content.get("pseudo_ids", {})


def earlier_study(study: Study, layout: Layout, overwrite: bool) -> Earlier:
    """Compare a study with what its folder holds. Arms, seeds and folds may be added, none that left results may change or go.

    Raises:
        UserError: the folder is no study's, holds the user's datasets, or its results have other settings (unless `overwrite`).
    """
    if not layout.folder.exists():
        return Earlier()
    own = layout.folder.resolve()
    inside = [folder for folder in study.links.values() if Path(folder).is_relative_to(own)]
    if inside:
        raise UserError(f"a study's folder must not hold the user's datasets, {inside[0]} is in {layout.folder}: choose another with -o")
    if not layout.study.is_file():
        if not layout.folder.is_dir() or any(path.name != "locks" for path in layout.folder.iterdir()):
            raise UserError(f"a study needs a new or empty folder or one of its own, {layout.folder} is neither: choose another with -o")
        return Earlier()
    before = _read_before(layout)
    change = first_change(before, study.to_json(layout), _without_results(before, layout))
    if change and not overwrite and _has_results(before, layout):
        raise UserError(
            f"{layout.folder} holds results of other settings ({change}): choose another folder with -o, or --overwrite to start again"
        )
    return Earlier(before, goes=overwrite or change != "")


def _read_before(layout: Layout) -> dict[str, Any]:
    """What `study.json` of a study's folder holds. Raises UserError where it is none that a study wrote."""
    content = read_json(layout.study, "a study's folder needs its study.json")
    if not isinstance(content.get("file"), dict) or any(not isinstance(content.get(name), list) for name in ("runs", "arms", "tests")):
        raise UserError(f"{layout.study} must be what a study wrote, it is something else: choose another folder with -o")
    return content


def _has_results(before: dict[str, Any], layout: Layout) -> bool:
    """Whether anything was preprocessed or more: what fails before that can be corrected freely."""
    early = ("phantom/*", "merge/targets", "collect/*", "report/*")
    names = (file.relative_to(layout.folder / "jobs").with_suffix("") for file in (layout.folder / "jobs").glob("*/*.json"))
    records = [read_record(layout.record(str(name))) for name in names if not any(map(name.match, early))]
    return bool(_held(before, layout)) or any(record is not None and record.status == "done" for record in records)


def kept_arms(before: dict[str, Any], now: dict[str, Any]) -> set[str]:
    """Arms that are what they were. What was made for any other, pseudo-labels say, is of an old one of its name."""
    arms = {arm["name"]: arm for arm in now["arms"]}
    return {arm["name"] for arm in before["arms"] if arm["name"] in arms and _difference_of_arms(arm, arms[arm["name"]]) is None}


def _difference_of_arms(before: dict[str, Any], now: dict[str, Any]) -> str | None:
    """A field that differs, None where none does; titles may, and so may fields that came with a later version."""
    return next((name for name in before if name != "title" and now[name] != before[name]), None)


def _without_results(before: dict[str, Any], layout: Layout) -> set[str]:
    """Arms of which no training got as far as a checkpoint: a mistake in one can be corrected, and costs the others nothing."""
    return {arm["name"] for arm in before["arms"]} - _held(before, layout)


def _held(before: dict[str, Any], layout: Layout) -> set[str]:
    """Arms of which a training left a checkpoint."""
    return {run["arm"] for run in before["runs"] if any((layout.folder / run["trained"]).glob("checkpoint_*.pth"))}


def first_change(before: dict[str, Any], now: dict[str, Any], free: Collection[str] = ()) -> str:
    """The first difference that results do not survive, in words; "" where there is none.

    Args:
        before, now: what `Study.to_json` gave.
        free: arms that may change or go.
    """
    for name in sorted(set(before["file"]) | set(now["file"])):
        one, other = before["file"].get(name), now["file"].get(name)
        if name not in FREE and one != other:
            return f"{name}: {_difference(one, other)}"
    for name in ("source", "targets", "links", "tests", "device", "primary", "baseline"):
        if before[name] != now[name]:
            return f"{name}: {_difference(before[name], now[name])}"
    for preset, recipe in before.get("presets", {}).items():
        current = now["presets"].get(preset, recipe)
        changed = [name for name in recipe if name != "comment" and recipe[name] != current.get(name)]
        if changed:
            return f"{changed[0]} of the preset {preset}: {recipe[changed[0]]} there, {current.get(changed[0])} now"
    arms = {arm["name"]: arm for arm in now["arms"]}
    for arm in (arm for arm in before["arms"] if arm["name"] not in free):
        if arm["name"] not in arms:
            return f"the arm '{arm['name']}' is not in the study now"
        name = _difference_of_arms(arm, arms[arm["name"]])
        if name is not None:
            return f"{name} of the arm '{arm['name']}': {arm[name]} there, {arms[arm['name']][name]} now"
    for name in ("seeds", "folds"):
        gone = [value for value in before["file"][name] if value not in now["file"][name]]
        if gone:
            return f"{name}: {gone[0]} is not among them now"
    return ""


def _difference(one: Any, other: Any) -> str:
    """What differs, without what does not: entry by entry in objects and lists."""
    if isinstance(one, dict) and isinstance(other, dict):
        key = next(key for key in sorted({*one, *other}) if one.get(key, MISSING) != other.get(key, MISSING))
        return f"{key}: {_difference(one.get(key, MISSING), other.get(key, MISSING))}"
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other) > 1:
        place = next(place for place, (a, b) in enumerate(zip(one, other, strict=True)) if a != b)
        return f"entry {place + 1}: {_difference(one[place], other[place])}"
    return f"{one} there, {other} now"
