"""The page in a real browser: nothing wider than the window, nothing fetched, every picture decoded."""

import re
import shutil
import struct
from pathlib import Path

import pytest

from nnunet_da import paths
from nnunet_da.report.build import write_report

# A frame has the width of a phone, a headless window has not always; the probe writes what it measured into its own title.
PROBE = """<!DOCTYPE html><title>waiting</title><style>body{{margin:0}}iframe{{border:0;width:{width}px;height:900px}}</style>
<iframe id="frame" src="{page}"></iframe>
<script>
addEventListener('load', () => {{
  const page = document.getElementById('frame').contentDocument, root = page.documentElement;
  const pictures = [...page.images], fetched = frame.contentWindow.performance.getEntriesByType('resource');
  const outside = [...page.body.querySelectorAll('*')].filter(e => !e.closest('.scroll, pre, .skip, .heard')
    && e.getBoundingClientRect().right > {width} + 0.5);
  const scrolling = [...page.querySelectorAll('.scroll')].filter(e => e.tabIndex !== 0);
  document.title = JSON.stringify({{width: root.scrollWidth, outside: outside.map(e => e.tagName).slice(0, 5),
    broken: pictures.filter(p => !p.naturalWidth).length, pictures: pictures.length, unreachable: scrolling.length,
    fetched: fetched.map(r => r.name).filter(n => !n.startsWith('data:')), ink: getComputedStyle(page.body).color}});
}});
</script>"""


@pytest.fixture(scope="module")
def page(light, answered, compared, measured, tmp_path_factory) -> Path:
    study = shutil.copytree(light.parent, tmp_path_factory.mktemp("browser") / "copy") / "study"
    compared(study, {"Centre A": "first", "Centre <B> & co": "second"})
    measured(study / "adapted")
    answered(study)
    return write_report(study, progress=False, worst=1, paper="pfdaformer")


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_the_window_and_fetches_nothing(browse, page, tmp_path, width, scheme):
    probe = tmp_path / "probe.html"
    probe.write_text(PROBE.format(width=width, page=page.as_uri()), encoding="utf-8")
    dark = ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
    found = re.search(r"<title>(.*?)</title>", browse(probe, tmp_path, "--virtual-time-budget=10000", "--dump-dom", *dark))[1]
    assert f'"width":{width},' in found, found
    assert '"outside":[],"broken":0,' in found, found
    assert '"unreachable":0,"fetched":[]' in found, found
    red = int(re.search(r"rgb\((\d+)", found)[1])
    assert (red > 200) == (scheme == "dark")


def test_the_probe_sees_what_is_too_wide(browse, tmp_path):
    wide = tmp_path / "wide.html"
    wide.write_text('<body style="margin:0"><p style="width:900px">x</p><img src="data:image/png;base64,xx">', encoding="utf-8")
    probe = tmp_path / "probe.html"
    probe.write_text(PROBE.format(width=390, page=wide.as_uri()), encoding="utf-8")
    found = re.search(r"<title>(.*?)</title>", browse(probe, tmp_path, "--virtual-time-budget=10000", "--dump-dom"))[1]
    assert '"width":900,' in found
    assert '"outside":["P"' in found
    assert '"broken":1' in found


def test_words_for_screen_readers_in_a_wide_table_widen_no_page(browse, tmp_path):
    """They are taken out of the flow: outside the table's own scrolling they would stretch the page to where the table ends."""
    style = (paths.PACKAGE_DIR / "report" / "templates" / "style.css").read_text(encoding="utf-8")
    cell = '<td style="min-width:200px">0.9<span class="heard"> best</span></td>'
    page = tmp_path / "table.html"
    page.write_text(
        f'<!DOCTYPE html><style>{style}</style><div class="scroll" tabindex="0"><table><tr>{12 * cell}</tr></table></div>', encoding="utf-8"
    )
    probe = tmp_path / "probe.html"
    probe.write_text(PROBE.format(width=1280, page=page.as_uri()), encoding="utf-8")
    found = re.search(r"<title>(.*?)</title>", browse(probe, tmp_path, "--virtual-time-budget=10000", "--dump-dom"))[1]
    assert '"width":1280,' in found, found


@pytest.mark.slow
def test_a_screenshot_is_no_blank_page(browse, page, tmp_path):
    picture = tmp_path / "page.png"
    browse(page, tmp_path, "--window-size=1280,1600", f"--screenshot={picture}")
    assert struct.unpack(">II", picture.read_bytes()[16:24]) == (1280, 1600)
    assert len(picture.read_bytes()) > 50_000
