"""What `diagnose` wrote beside an evaluation appears in the report."""

import json

import pytest
from matplotlib.figure import Figure

from nnunet_da.errors import UserError
from nnunet_da.report.build import write_report
from nnunet_da.report.pictures import to_picture


def write(study, status="none"):
    folder = study / "adapted" / "diagnosis"
    folder.mkdir()
    picture = to_picture(Figure(figsize=(1, 1)), "diagnosis-probe", "a probe")
    (folder / "diagnosis-probe.png").write_bytes(picture.png)
    (folder / "diagnosis-probe.svg").write_bytes(picture.svg)
    shown = {"name": "diagnosis-probe", "width": 160, "height": 160, "alternative": "a probe", "caption": "what it shows"}
    transfer = {"status": status, "reason": "no loss on 4 cases"}
    content = {"run": {"name": "D/T/fold_0"}, "negative_transfer": transfer, "findings": ["MMD <acts>."], "pictures": [shown]}
    (folder / "diagnosis.json").write_text(json.dumps(content))
    return folder


def test_a_diagnosis_is_shown(bare_study):
    write(bare_study)
    page = write_report(bare_study, progress=False, worst=1).read_text()
    assert 'id="diagnosis"' in page
    assert "Negative transfer: none. No loss on 4 cases." in page
    assert "MMD &lt;acts&gt;." in page
    assert 'alt="a probe"' in page
    assert (bare_study / "figures" / "PF-DAformer-diagnosis-probe.svg").is_file()


def test_an_alarm_stands_out(bare_study):
    write(bare_study, "ALARM")
    assert '<p class="warn">Negative transfer: ALARM.' in write_report(bare_study, progress=False, worst=1).read_text()


def test_without_a_diagnosis_there_is_no_section(bare_study):
    assert 'id="diagnosis"' not in write_report(bare_study, progress=False, worst=1).read_text()


def test_a_damaged_diagnosis_is_refused(bare_study):
    folder = write(bare_study)
    (folder / "diagnosis-probe.png").unlink()
    with pytest.raises(UserError, match="diagnose again"):
        write_report(bare_study, progress=False, worst=1)
