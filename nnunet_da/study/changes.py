"""A study's folder holds the results of one set of settings: what may be added to it, and what is refused."""

from collections.abc import Collection
from typing import Any

from nnunet_da.datasets import read_json
from nnunet_da.errors import UserError
from nnunet_da.study.layout import Layout
from nnunet_da.study.study import Study

FREE = ("title", "note", "resources", "arms", "seeds", "folds", "references")  # of the file; arms and runs are compared one by one


def refuse_changes(study: Study, layout: Layout, overwrite: bool) -> None:
    """Compare a study with what its folder holds. Arms, seeds and folds may be added, none that left results may change or go.

    Raises:
        UserError: the folder is no study's, or its results have other settings.
    """
    if not layout.folder.exists():
        return
    if not layout.study.is_file():
        if not layout.folder.is_dir() or any(path.name != "locks" for path in layout.folder.iterdir()):
            raise UserError(f"a study needs a new or empty folder or one of its own, {layout.folder} is neither: choose another with -o")
        return
    if overwrite:
        return
    before = read_json(layout.study, "a study's folder needs its study.json")
    change = first_change(before, study.to_json(layout), _without_results(before, layout))
    if change:
        raise UserError(
            f"{layout.folder} holds results of other settings ({change}): choose another folder with -o, or --overwrite to start again"
        )


def _without_results(before: dict[str, Any], layout: Layout) -> set[str]:
    """Arms of which no training got as far as a checkpoint: a mistake in one can be corrected, and costs the others nothing."""
    held = {run["arm"] for run in before["runs"] if any((layout.folder / run["trained"]).glob("checkpoint_*.pth"))}
    return {arm["name"] for arm in before["arms"]} - held


def earlier_numbers(layout: Layout, overwrite: bool) -> dict[str, int]:
    """Ids of the self-training datasets that a study's folder holds already."""
    if overwrite or not layout.study.is_file():
        return {}
    return read_json(layout.study, "a study's folder needs its study.json").get("pseudo_ids", {})


def first_change(before: dict[str, Any], now: dict[str, Any], free: Collection[str] = ()) -> str:
    """The first difference that results do not survive, in words; "" where there is none.

    Args:
        before, now: what `Study.to_json` gave.
        free: arms that may change or go.
    """
    for name in sorted(set(before["file"]) | set(now["file"])):
        one, other = before["file"].get(name), now["file"].get(name)
        if name not in FREE and one != other:
            return f"{name}: {one} there, {other} now"
    for name in ("source", "targets", "links", "tests", "device", "primary", "baseline"):
        if before[name] != now[name]:
            return f"{name}: {before[name]} there, {now[name]} now"
    for preset, recipe in before.get("presets", {}).items():
        current = now["presets"].get(preset, recipe)
        changed = [name for name in recipe if name != "comment" and recipe[name] != current.get(name)]
        if changed:
            return f"{changed[0]} of the preset {preset}: {recipe[changed[0]]} there, {current.get(changed[0])} now"
    arms = {arm["name"]: arm for arm in now["arms"]}
    for arm in (arm for arm in before["arms"] if arm["name"] not in free):
        if arm["name"] not in arms:
            return f"the arm '{arm['name']}' is not in the study now"
        for name, value in arm.items():
            if name != "title" and arms[arm["name"]][name] != value:
                return f"{name} of the arm '{arm['name']}': {value} there, {arms[arm['name']][name]} now"
    for name in ("seeds", "folds"):
        gone = [value for value in before["file"][name] if value not in now["file"][name]]
        if gone:
            return f"{name}: {gone[0]} is not among them now"
    return ""
