"""The page as a browser and a screen reader get it, without a browser."""

import base64
import itertools
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from nnunet_da.cli.main import main
from nnunet_da.errors import UserError
from nnunet_da.report.build import RECORD, write_report

# boxes of three metrics in two domains, pairs, features, endpoints, seven worst and median cases as overlay and surface, curves
PICTURES = 3 * 2 + 3 + 2 + 2 + 7 * 2 + 2
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Elements with attributes and text; refuses tags that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def study(bare_study) -> Path:
    return bare_study


@pytest.fixture(scope="module")
def built(light, compared, measured, tmp_path_factory) -> Path:
    study = shutil.copytree(light.parent, tmp_path_factory.mktemp("built") / "copy") / "study"
    compared(study, {"Centre A": "", "Centre <B> & co": "second"})
    measured(study / "adapted")
    settings = json.loads((study / "report.json").read_text())
    trainers = {"source_only": "nnUNetTrainer_PFDAformer_SourceOnly", "adapted": "nnUNetTrainer_PFDAformer"}
    roles = {"Centre A": "source", "Centre <B> & co": "target"}
    (study / "report.json").write_text(json.dumps(settings | {"trainers": trainers, "roles": roles}))
    return write_report(study, progress=False, worst=1)


@pytest.fixture(scope="module")
def page(built) -> Page:
    return Page(built.read_text(encoding="utf-8"))


def test_everything_is_inside_the_page(built, page):
    text = built.read_text(encoding="utf-8")
    assert not re.findall(r"(?:https?:)?//[a-z]", re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", text))
    assert [attributes for tag, attributes in page.elements if tag in ("script", "link", "iframe", "object")] == []
    assert "url(" not in text
    assert {attributes["href"][0] for attributes in page.all("a")} == {"#"}


def test_pictures_are_whole_and_described(page):
    images = page.all("img")
    assert len(images) == PICTURES
    for image in images:
        assert len(image["alt"]) > 20
        assert base64.b64decode(image["src"].removeprefix("data:image/png;base64,")).startswith(b"\x89PNG")
        assert int(image["width"]) > 100


def test_demonstration_says_so(page):
    assert "This is a demonstration." in page.text
    assert "make no claim about domain adaptation" in page.text
    assert "A demonstration: no claim about adaptation." in page.text
    assert any(attributes.get("id") == "demonstration" for attributes in page.all("div"))


def test_no_notice_without_the_setting(study):
    (study / "report.json").unlink()
    assert "demonstration" not in Page(write_report(study, progress=False, worst=1).read_text(encoding="utf-8")).text


def test_words_from_outside_are_escaped(built, page):
    text = built.read_text(encoding="utf-8")
    assert "<script>" not in text
    assert "Trained for <script>alert(1)</script> minutes." in page.text
    assert "Centre <B> & co" in page.text


def test_made_for_keyboard_and_screen_reader(page):
    assert page.all("html")[0]["lang"] == "en"
    assert page.all("a")[0] == {"class": "skip", "href": "#content"}
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {attributes["href"][1:] for attributes in page.all("a")} <= set(ids)
    assert len(page.all("caption")) == len(page.all("table")) > 3
    assert all(attributes.get("scope") in ("col", "row", "rowgroup") for attributes in page.all("th"))
    scrolling = [attributes for attributes in page.all("div") if attributes.get("class") == "scroll"]
    assert all(attributes["tabindex"] == "0" and attributes["aria-label"] for attributes in scrolling)
    headings = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert max(after - before for before, after in itertools.pairwise(headings)) == 1


def test_undefined_values_are_counted_and_named(page):
    assert "1 undefined" in page.text
    assert "one such pair" in page.text
    assert re.search(r"Distances undefined.*Source only\s*Centre <B> & co\s*scan_2", page.text, re.DOTALL)


def test_cases_that_were_not_scored_are_named(study):
    manifest = study / "adapted" / "domain_0" / "evaluation.json"
    manifest.write_text(json.dumps({"layout": 1, "cases": [], "failed": {"scan_9": "no prediction in there"}}))
    text = Page(write_report(study, progress=False, worst=1).read_text(encoding="utf-8")).text
    assert "Not scored and therefore in no mean: one case" in text
    assert re.search(r"scan_9\s*no prediction in there", text)


def test_figures_and_tables_beside_the_page(built):
    study = built.parent
    figures = {file.name for file in (study / "figures").iterdir()} - {RECORD}
    assert {name[:-4] for name in figures if name.endswith(".png")} == {name[:-4] for name in figures if name.endswith(".svg")}
    assert len(figures) == 2 * PICTURES
    tables = {file.name for file in (study / "tables").iterdir()} - {RECORD}
    assert {"summary", "differences-Source-only-PF-DAformer", "features-PF-DAformer", "endpoints-PF-DAformer", "paper_table1"} < {
        name.rsplit(".", 1)[0] for name in tables
    }
    assert {name.rsplit(".", 1)[0] for name in tables if name.endswith(".tex")} == {
        name.rsplit(".", 1)[0] for name in tables if name.endswith((".csv", ".md"))
    }
    assert not [file for file in study.iterdir() if file.name.startswith(".")]


def test_several_labels_and_arms_that_lack_some_values(study, tmp_path):
    metrics = study / "adapted" / "domain_0" / "metrics.csv"
    rows = metrics.read_text().splitlines()
    metrics.write_text("\n".join([*rows, *(row.replace(",1,", ',"(1, 2)",', 1) for row in rows[1:])]) + "\n")
    text = Page(write_report(study, progress=False, worst=1).read_text(encoding="utf-8")).text
    assert "(1, 2)" in text


def test_one_case_alone_has_no_deviation(study):
    for file in study.rglob("metrics.csv"):
        file.write_text("\n".join(row for row in file.read_text().splitlines() if row.startswith(("case,", "scan_0"))) + "\n")
    page = Page(write_report(study, progress=False, worst=1).read_text(encoding="utf-8"))
    assert "nan" not in page.text.lower().replace("finance", "")


def test_command_refuses_a_report_that_exists(study, capsys):
    assert main(["report", str(study), "--worst", "1", "-o", str(study / "other.html")]) == 0
    assert (study / "other.html").is_file()
    before = (study / "other.html").read_bytes()
    assert main(["report", str(study), "--worst", "1", "-o", str(study / "other.html")]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["report", str(study), "--worst", "1", "-o", str(study / "other.html"), "--overwrite"]) == 0
    assert (study / "other.html").read_bytes() == before  # the same study gives the same page


def test_overwriting_removes_what_the_earlier_report_made_and_nothing_else(study):
    write_report(study, progress=False, worst=1)
    (study / "figures" / "mine.png").write_bytes(b"mine")
    stale = next(file for file in (study / "figures").iterdir() if "PF-DAformer" in file.name)
    shutil.rmtree(study / "adapted")
    (study / "report.json").unlink()
    write_report(study, progress=False, worst=1, overwrite=True)
    assert not stale.exists()
    assert (study / "figures" / "mine.png").is_file()
    assert (study / "figures" / "metric-dice-1-Centre-A.png").is_file()
    recorded = (study / "figures" / RECORD).read_text().splitlines()
    assert {file.name for file in (study / "figures").iterdir()} == {*recorded, RECORD, "mine.png"}


def test_a_hint_is_not_coloured_as_a_result(study, compared):
    file = compared(study, {"Centre A": "", "Centre <B> & co": ""}, ci_low=0.1, ci_high=0.2) / "comparison.csv"
    file.write_text("".join(row for row in file.read_text().splitlines(keepends=True) if "hd95" not in row and "asd" not in row))
    page = Page(write_report(study, progress=False, worst=1).read_text(encoding="utf-8"))
    assert "Perhaps improved, not significant" in page.text
    assert {answer["class"] for answer in page.all("dl")} == {"answer hint-better"}


def test_a_comparison_of_other_metrics_gives_no_verdict(study, compared):
    compared(study, {"Centre A": "", "Centre <B> & co": "second"})
    file = study / "adapted" / "domain_1" / "metrics.csv"
    file.write_text(re.sub(r"(scan_0,.*,dice,)[\d.]+", r"\g<1>0.5", file.read_text()))
    page = Page(write_report(study, progress=False, worst=1).read_text(encoding="utf-8"))
    assert "The comparison in comparison/comparison.csv does not belong to these metrics" in page.text
    assert "nnunet-da compare source_only adapted -o comparison --overwrite" in page.text
    assert page.all("dl") == []
    assert "better than" not in page.text


def test_the_field_of_view_is_named_and_a_mixed_one_warned_of(scored_study, tmp_path):
    study = shutil.copytree(scored_study.parent, tmp_path / "copy") / "study"
    for file in study.rglob("metrics.csv"):
        rows = file.read_text().splitlines(keepends=True)
        file.write_text("".join(row for row in rows if row.split(",")[3] in ("metric", "dice", "specificity")))
    file = study / "adapted" / "domain_1" / "evaluation.json"
    view = {"voxels": "the box", "margin_mm": 20}
    file.write_text(json.dumps(json.loads(file.read_text()) | {"specificity_field_of_view": view}))
    page = Page(write_report(study, progress=False, worst=0).read_text(encoding="utf-8"))
    assert "Specificity is not comparable between methods in Centre <B> & co:" in page.text
    assert "the box of 20 mm (PF-DAformer in Centre <B> & co)" in page.text


def test_nothing_is_written_where_the_input_is_wrong(study):
    (study / "adapted" / "domain_1" / "metrics.csv").write_text("broken")
    with pytest.raises(UserError):
        write_report(study, progress=False, worst=1)
    assert not (study / "report.html").exists()
    assert not (study / "figures").exists()


def test_the_summary_answers_the_two_questions(page):
    assert re.search(r"Target improved\? Centre <B> & co\s*Improved", page.text)
    assert re.search(r"Source kept\? Centre A\s*No harm shown", page.text)
    assert "Dice +0.0200 (95 % interval +0.0100 to +0.0300; p = 0.004; n = 3)" in page.text
    assert "The interval leaves room for a loss of 0.0080 Dice." in page.text  # 0.02 / 10 - 0.02 / 2
    assert "One <seed> each." in page.text


def test_marks_are_said_in_words_too(built, page):
    assert "best" in page.text
    assert "better than Source only" in page.text
    assert 'class="mark better" aria-hidden="true"' in built.read_text(encoding="utf-8")


def test_without_a_comparison_it_says_how_to_get_one(study):
    page = Page(write_report(study, progress=False, worst=1).read_text(encoding="utf-8"))
    assert "Whether the methods differ was not tested." in page.text
    assert "nnunet-da compare source_only adapted -o comparison" in page.text


def test_paper_and_ours_stand_side_by_side_as_other_data(page):
    assert "Ours and the paper's values are not comparable." in page.text
    assert "a synthetic phantom" in page.text
    assert "ours: PF-DAformer" in page.text
    assert "It is HD95; the Hausdorff distance of this row is 3.1313 mm." in page.text


def test_making_of_is_at_the_end(page):
    assert page.text.rindex("How it was made") > page.text.rindex("Definitions")
    assert "nnunet-da radiomics -o 'a b'" in page.text
    assert "nnunet-da evaluate -o source_only" in page.text
    assert re.search(r"pyradiomics\s*3\.0\.1", page.text)


def test_stock_predictions_alone_make_a_report(scored_study, tmp_path):
    """One evaluation of nnU-Net's predictions, nothing of ours trained or compared."""
    copy = shutil.copytree(scored_study.parent, tmp_path / "copy") / "study" / "adapted" / "domain_0"
    page = Page(write_report(copy, progress=False, worst=1).read_text(encoding="utf-8"))
    assert "One method (adapted), scored on one domain: Centre A." in page.text
    assert "not tested" not in page.text
    assert "Paper and ours" not in page.text
