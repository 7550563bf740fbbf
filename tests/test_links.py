"""Every relative link of the README, the docs and the kept results leads to a file that is there, and to a heading of it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/**/*.md")])


def headings(page: Path) -> set[str]:
    """As GitHub names them: lower case, spaces to hyphens, punctuation gone, links by their words."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    found = (
        re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading.strip().lower()) for heading in re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    )
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in found}


def dead_links(page: Path) -> list[str]:
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, heading = link.partition("#")
        target = page.parent / path if path else page
        if not link.startswith("http") and (not target.exists() or (heading and heading not in headings(target))):
            dead.append(link)
    return dead


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    assert dead_links(page) == []


def test_dead_ones_are_found(tmp_path):
    (tmp_path / "other.md").write_text("# One `thing`, or [two](x)\n```\n# no heading\n```\n")
    page = tmp_path / "page.md"
    page.write_text("[a](other.md#one-thing-or-two) [b](other.md#no-heading) [c](gone.md) [d](#here) [e](https://x.y)\n## Here\n")
    assert dead_links(page) == ["other.md#no-heading", "gone.md"]
