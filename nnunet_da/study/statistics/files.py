"""Write the answer of a study: study_answer.json, study_answer.md and one CSV per table."""

import json
from pathlib import Path
from typing import Any

from nnunet_da.outputs import check_output, plain_values, versions_of, write_whole
from nnunet_da.study.statistics.analysis import StudyAnswer
from nnunet_da.study.statistics.sentences import claims_sentence, gap_sentences, primary_sentence, source_sentences, supporting_sentences
from nnunet_da.study.statistics.text import answer_text

ANSWER_FILE, TEXT_FILE = "study_answer.json", "study_answer.md"
TABLES = {
    "arms": "study_arms.csv",
    "contrasts": "study_contrasts.csv",
    "non_inferiority": "study_non_inferiority.csv",
    "gap": "study_gap.csv",
    "failures": "study_failures.csv",
}
RESULTS = (*TABLES.values(), TEXT_FILE, ANSWER_FILE)
LAYOUT = 1


def write_answer(answer: StudyAnswer, folder: Path, overwrite: bool = False) -> None:
    """Write the files, each whole or not at all, study_answer.json last: where it stands, the tables beside it are those of its answer.

    Raises:
        UserError: the folder holds an answer already and `overwrite` is False.
    """
    check_output(folder, RESULTS, overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ANSWER_FILE).unlink(missing_ok=True)
    for name, file in TABLES.items():
        write_whole(folder / file, getattr(answer, name).to_csv(index=False, lineterminator="\n"))
    write_whole(folder / TEXT_FILE, answer_text(answer))
    write_whole(folder / ANSWER_FILE, json.dumps(manifest(answer), indent=2) + "\n")


def manifest(answer: StudyAnswer) -> dict[str, Any]:
    """What was declared, what came out, and with what it was computed."""
    return plain_values(
        {
            "layout": LAYOUT,
            "declaration": answer.declaration.to_json(),
            "label": answer.label,
            "kind": answer.primary.kind if answer.primary else "cannot tell",
            "answer": primary_sentence(answer),
            "supporting": supporting_sentences(answer),
            "source": source_sentences(answer),
            "gap": gap_sentences(answer),
            "claims": claims_sentence(answer),
            "primary": answer.primary.to_json() if answer.primary else None,
            "incomplete": [{"arm": entry.arm, "domain": entry.domain, "runs": entry.runs} for entry in answer.incomplete],
            "warnings": answer.warnings,
            "bootstrap": {"resamples": answer.resamples, "seed": answer.seed},
            "versions": versions_of("numpy", "scipy", "statsmodels", "pandas"),
        }
    )
