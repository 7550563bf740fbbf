import json

import pandas as pd
import pytest

from nnunet_da.errors import UserError
from nnunet_da.study.statistics.declaration import Declaration
from nnunet_da.study.statistics.files import RESULTS, write_answer
from nnunet_da.study.statistics.text import answer_text


def test_writes_every_file_and_they_say_the_same(analysed, declaration, tmp_path):
    found = analysed()
    write_answer(found, tmp_path / "new")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(RESULTS)
    assert (tmp_path / "new" / "study_answer.md").read_text() == answer_text(found)
    written = json.loads((tmp_path / "new" / "study_answer.json").read_text())
    assert written["layout"] == 1
    assert written["kind"] == "helped"
    assert Declaration(**written["declaration"]) == declaration
    assert written["primary"]["estimate"]["value"] == found.primary.estimate.value
    assert written["bootstrap"] == {"resamples": 200, "seed": 0}
    assert "statsmodels" in written["versions"]
    contrasts = pd.read_csv(tmp_path / "new" / "study_contrasts.csv", dtype={"label": str}, keep_default_na=False, na_values=[""])
    assert contrasts["difference"].to_list() == pytest.approx(found.contrasts["difference"].to_list())


def test_one_seed_writes_null_and_no_nan(analysed, tmp_path):
    write_answer(analysed(seeds=1), tmp_path)
    text = (tmp_path / "study_answer.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)["primary"]["estimate"]["p"] is None


def test_refuses_to_replace_an_answer(analysed, tmp_path):
    found = analysed()
    write_answer(found, tmp_path)
    with pytest.raises(UserError, match="add --overwrite"):
        write_answer(found, tmp_path)
    write_answer(found, tmp_path, overwrite=True)
