"""The page in a real browser: nothing wider than the window, nothing fetched, every picture decoded, light and dark."""

import json
import re

import pytest

from nnunet_da.cli.main import main

# a frame has the width of a phone, a headless window has not always; what was measured becomes the title
PROBE = """<!DOCTYPE html><title>waiting</title><style>body{{margin:0}}iframe{{border:0;width:{width}px;height:900px}}</style>
<iframe id="frame" src="{page}"></iframe><script>addEventListener('load', () => {{
  const page = document.getElementById('frame').contentDocument;
  const outside = [...page.body.querySelectorAll('*')].filter(e => !e.closest('.scroll, pre, .skip, .heard')
    && e.getBoundingClientRect().right > {width} + 0.5);
  document.title = JSON.stringify({{width: page.documentElement.scrollWidth, outside: outside.map(e => e.tagName),
    broken: [...page.images].filter(p => !p.naturalWidth).length, pictures: page.images.length,
    unnamed: [...page.images].filter(p => !p.alt).length + [...page.querySelectorAll('table')].filter(t => !t.caption).length,
    fetched: frame.contentWindow.performance.getEntriesByType('resource').map(r => r.name).filter(n => !n.startsWith('data:')),
    paper: getComputedStyle(page.body).backgroundColor}});
}});</script>"""


@pytest.mark.slow
def test_fits_the_window_and_fetches_nothing(browse, make_centre, tmp_path):
    make_centre(101, "A", cases=6, seed=1)
    make_centre(102, "B_with_quite_a_long_name_of_a_hospital", cases=6, seed=2, offset_hu=100)
    table = tmp_path / "patients.csv"
    table.write_text("case,patient\nA_00,1\nB_with_quite_a_long_name_of_a_hospital_00,1\n")
    command = ["audit", "-d", "101", "-t", "102", "-o", str(tmp_path / "out"), "--target-labels", "--patients", str(table)]
    assert main([*command, "--permutations", "40", "--processes", "1"]) == 1
    for width, scheme in ((390, "dark"), (1280, "light")):
        probe = tmp_path / "probe.html"
        probe.write_text(PROBE.format(width=width, page=(tmp_path / "out" / "audit.html").as_uri()), encoding="utf-8")
        dark = ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
        found = json.loads(
            re.search(r"<title>(.*?)</title>", browse(probe, tmp_path / scheme, "--virtual-time-budget=10000", "--dump-dom", *dark))[1]
        )
        assert found["width"] == width
        assert (found["outside"], found["broken"], found["unnamed"], found["fetched"]) == ([], 0, 0, [])
        assert found["pictures"] >= 3
        assert (int(re.search(r"\d+", found["paper"])[0]) > 200) == (scheme == "light")
