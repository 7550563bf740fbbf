import argparse
import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_da.conversion import site_datasets, sites
from nnunet_da.errors import CheckFailed, UserError

PATIENTS = {"Mayo": 6, "Tulane (new)": 6}


@pytest.fixture
def raw(nnunet_folders) -> Path:
    return nnunet_folders / "nnUNet_raw"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def write_source(raw: Path, *, sites_patients=PATIENTS, channels=2, test=(), unlabelled=()) -> list[dict[str, str]]:
    """Dataset100_All, two cases per patient; its table's rows."""
    folder = raw / "Dataset100_All"
    for name in ("imagesTr", "labelsTr", "imagesTs", "labelsTs"):
        (folder / name).mkdir(parents=True)
    rows = []
    for site, patients in sites_patients.items():
        for patient in range(patients):
            for side in "LR":
                case = f"{site[0]}{patient:02d}{side}"
                suffix = "Ts" if case[:3] in test else "Tr"
                for channel in range(channels):
                    (folder / f"images{suffix}" / f"{case}_{channel:04d}.nii.gz").write_bytes(f"{case} {channel}".encode())
                if site not in unlabelled:
                    (folder / f"labels{suffix}" / f"{case}.nii.gz").write_bytes(f"label {case}".encode())
                rows.append({"case": case, "site": site, "patient": case[:3], "sex": "MF"[patient % 2]})
    names = {str(channel): f"channel{channel}" for channel in range(channels)}
    description = {"channel_names": names, "labels": {"background": 0, "bone": 1}, "numTraining": len(rows), "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(description | {"licence": "CC0"}))
    return rows


def write_table(path: Path, rows, delimiter=",") -> Path:
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def split(raw, tmp_path):
    """rows, further options -> `convert sites`; its parser as on the command line."""

    def run(rows, *more: str, delimiter=",") -> None:
        parser = argparse.ArgumentParser()
        sites.add_arguments(parser)
        table = write_table(tmp_path / "sites.csv", rows, delimiter)
        sites.run(parser.parse_args(["-i", "100", "--csv", str(table), "-d", "101", *more]))

    return run


def cases_in(folder: Path, name="imagesTr") -> set[str]:
    return {path.name[:4] for path in (folder / name).glob("*.nii.gz")} if (folder / name).is_dir() else set()


def test_one_dataset_per_site(raw, split, capsys):
    rows = write_source(raw)
    before = contents(raw)
    split(rows)
    mayo, tulane = raw / "Dataset101_Mayo", raw / "Dataset102_Tulane_new"
    assert sorted(path.name for path in raw.iterdir()) == ["Dataset100_All", mayo.name, tulane.name]
    for folder, letter in ((mayo, "M"), (tulane, "T")):
        expected = {row["case"] for row in rows if row["case"][0] == letter}
        assert cases_in(folder) == cases_in(folder, "labelsTr") == expected
        assert len(list((folder / "imagesTr").iterdir())) == 2 * len(expected)  # both channels
        assert not (folder / "imagesTs").exists()
        description = json.loads((folder / "dataset.json").read_text())
        assert (description["numTraining"], description["licence"], description["file_ending"]) == (12, "CC0", ".nii.gz")
        for name, content in contents(folder).items():
            if name.endswith(".nii.gz"):
                assert content == before[f"Dataset100_All/{name}"]
                assert os.path.samefile(folder / name, raw / "Dataset100_All" / name)  # a link, not a copy
    assert {name: content for name, content in contents(raw).items() if name in before} == before
    assert "12 training cases of 6 patients" in capsys.readouterr().out


def test_log_traces_every_file(raw, split):
    split(write_source(raw))
    folder = raw / "Dataset101_Mayo"
    with (folder / "conversion.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24
    assert {(row["site"], row["split"]) for row in rows} == {("Mayo", "training")}
    outputs = {row[key] for row in rows for key in ("output", "label_output")} - {""}
    assert outputs == {name for name in contents(folder) if name.endswith(".nii.gz")}
    assert all(Path(row["input"]).samefile(folder / row["output"]) for row in rows)


def test_folds_and_hold_out_are_by_patient_and_balanced(raw, nnunet_folders, split):
    rows = write_source(raw)
    row_of = {row["case"]: row for row in rows}
    split(rows, "--test", "2", "--stratify", "sex", "--folds", "2", "--seed", "5")
    for name in ("Dataset101_Mayo", "Dataset102_Tulane_new"):
        folder = raw / name
        training, test = cases_in(folder), cases_in(folder, "imagesTs")
        assert cases_in(folder, "labelsTs") == test
        assert sorted(row_of[case]["sex"] for case in test) == list("FFMM")  # one patient of each sex, both sides
        folds = json.loads((folder / "splits_final.json").read_text())
        assert folds == json.loads((nnunet_folders / "nnUNet_preprocessed" / name / "splits_final.json").read_text())
        assert {case for fold in folds for case in fold["val"]} == training
        for train, validation in [(training, test)] + [(set(fold["train"]), set(fold["val"])) for fold in folds]:
            assert not {row_of[case]["patient"] for case in train} & {row_of[case]["patient"] for case in validation}
        assert all(sorted(row_of[case]["sex"] for case in fold["val"]) == list("FFMM") for fold in folds)


def test_test_cases_of_the_original_stay_test_cases(raw, split):
    split(write_source(raw, test=("M03", "T00")))
    assert cases_in(raw / "Dataset101_Mayo", "imagesTs") == {"M03L", "M03R"}
    assert cases_in(raw / "Dataset102_Tulane_new", "labelsTs") == {"T00L", "T00R"}


def test_an_unlabelled_site_is_a_target(raw, split):
    split(write_source(raw), "--unlabelled", "Tulane (new)", "--test", "0.2", "--folds", "4")
    target = raw / "Dataset102_Tulane_new"
    assert not (target / "labelsTr").exists()
    assert not (target / "splits_final.json").exists()
    assert cases_in(target, "labelsTs") == cases_in(target, "imagesTs") != set()  # to score with
    assert (raw / "Dataset101_Mayo" / "labelsTr").exists()


def test_leave_one_out(raw, split):
    rows = write_source(raw, sites_patients={"A": 3, "B": 3, "C": 3})
    split(rows, "--leave-one-out", "--folds", "3", "--unlabelled", "C")
    folders = sorted(path.name for path in raw.iterdir())[1:]
    assert folders == [
        "Dataset101_A",
        "Dataset102_B",
        "Dataset103_C",
        "Dataset104_without_A",
        "Dataset105_without_B",
        "Dataset106_without_C",
    ]
    members = {name[11:]: "".join(sorted({case[0] for case in cases_in(raw / name)})) for name in folders}
    assert members == {"A": "A", "B": "B", "C": "C", "without_A": "B", "without_B": "A", "without_C": "AB"}
    folds = json.loads((raw / "Dataset106_without_C" / "splits_final.json").read_text())
    assert all(sorted(case[0] for case in fold["val"]) == list("AABB") for fold in folds)  # both sites in every fold


def test_files_listed_in_dataset_json(raw, split):
    rows = write_source(raw, channels=1)
    folder = raw / "Dataset100_All"
    description = json.loads((folder / "dataset.json").read_text())
    listed = {}
    (raw.parent / "elsewhere").mkdir()
    for row in rows:
        moved = raw.parent / "elsewhere" / f"{row['case']}.nii.gz"
        (folder / f"imagesTr/{row['case']}_0000.nii.gz").rename(moved)
        listed[row["case"]] = {"images": [f"../../elsewhere/{moved.name}"], "label": f"labelsTr/{row['case']}.nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(description | {"dataset": listed}))
    split(rows)
    assert (raw / "Dataset101_Mayo/imagesTr/M00L_0000.nii.gz").read_bytes() == b"M00L 0"
    assert "dataset" not in json.loads((raw / "Dataset101_Mayo" / "dataset.json").read_text())


def test_symbolic_links_where_hard_ones_are_not_possible(raw, split, monkeypatch, capsys):
    rows = write_source(raw)

    def refuse(*paths, **options):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    split(rows)
    file = raw / "Dataset101_Mayo/imagesTr/M00L_0000.nii.gz"
    assert file.is_symlink()
    assert not os.path.isabs(os.readlink(file))
    assert file.read_bytes() == b"M00L 0"
    assert "keep the original where it is" in capsys.readouterr().out
    moved = raw.rename(raw.parent / "moved")  # all of nnUNet_raw may move
    assert (moved / "Dataset101_Mayo/imagesTr/M00L_0000.nii.gz").read_bytes() == b"M00L 0"


def test_nothing_is_left_when_writing_fails(raw, split, monkeypatch):
    rows = write_source(raw)
    before = contents(raw)
    monkeypatch.setattr(site_datasets, "_json", lambda content: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        split(rows)
    assert contents(raw) == before
    assert [path.name for path in raw.iterdir()] == ["Dataset100_All"]


def test_a_failing_rename_puts_everything_back(raw):
    """The second dataset cannot be renamed, for it is not there: the first goes, the old one comes back."""
    holder = raw / ".splitting"
    for folder, text in ((raw / "Dataset101_A", "old"), (holder / "Dataset101_A", "new"), (holder / "old", "")):
        folder.mkdir(parents=True)
        (folder / "file").write_text(text)
    with pytest.raises(FileNotFoundError):
        site_datasets._put_in_place(["Dataset101_A", "Dataset102_B"], holder, raw)
    assert (raw / "Dataset101_A" / "file").read_text() == "old"
    assert not (raw / "Dataset102_B").exists()


def test_overwrite_is_asked_for(raw, split):
    rows = write_source(raw)
    split(rows)
    with pytest.raises(UserError, match="--overwrite"):
        split(rows)
    split([*rows[:-2], rows[-2] | {"site": "Mayo", "patient": "M99"}, rows[-1] | {"site": "Mayo", "patient": "M99"}], "--overwrite")
    assert "T05L" in cases_in(raw / "Dataset101_Mayo")
    assert "T05L" not in cases_in(raw / "Dataset102_Tulane_new")
    assert len(list(raw.iterdir())) == 3


def test_splits_of_trained_models_are_not_replaced(raw, nnunet_folders, split):
    rows = write_source(raw)
    file = nnunet_folders / "nnUNet_preprocessed" / "Dataset101_Mayo" / "splits_final.json"
    file.parent.mkdir()
    file.write_text("[]")
    with pytest.raises(UserError, match="trained models may rest on it"):
        split(rows)
    assert file.read_text() == "[]"
    assert len(list(raw.iterdir())) == 1


def changed(rows, index, **fields):
    return [row | fields if number == index else row for number, row in enumerate(rows)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows[1:], "needs a line in .* 'M00L' .1 in all"),
        (lambda rows: [*rows, rows[0] | {"case": "X"}], "needs a case of Dataset100_All, there is none for 'X'"),
        (lambda rows: [*rows, rows[0]], "names the case 'M00L' twice"),
        (lambda rows: changed(rows, 3, site=""), "needs a value for 'site' in line 5"),
        (lambda rows: changed(rows, 3, site="../../outside"), "site must be a plain name, .* has the path"),
        (lambda rows: changed(rows, 3, case="/etc/passwd"), "case must be a plain name"),
        (lambda rows: changed(rows, 3, site="???"), "needs letters or digits"),
        (lambda rows: changed(rows, 3, site="mayo", patient="M91"), "'Mayo' and 'mayo' would get one name"),
        (lambda rows: changed(rows, 3, site="Tiny", patient="M91"), "site Tiny: 5 folds need as many patients, got 1"),
        (lambda rows: [{"case": row["case"]} for row in rows], "needs the column 'site'"),
    ],
)
def test_refuses_a_bad_table(raw, split, change, words):
    rows = write_source(raw)
    with pytest.raises(UserError, match=words):
        split(change(rows))
    assert len(list(raw.iterdir())) == 1


def test_a_patient_in_two_sites_is_leakage_unless_sites_count_their_own(raw, split):
    rows = [row | {"patient": row["patient"][1:]} for row in write_source(raw)]
    with pytest.raises(CheckFailed, match="'00' is in Mayo and Tulane"):
        split(rows)
    assert len(list(raw.iterdir())) == 1
    split(rows, "--patients-per-site")
    assert "6 patients" not in cases_in(raw / "Dataset101_Mayo")


def test_a_patient_in_training_and_test_of_the_original_is_leakage(raw, split):
    rows = write_source(raw, test=("M03",))
    with pytest.raises(CheckFailed, match="imagesTr and imagesTs"):
        split([row | {"patient": "M00"} if row["patient"] == "M03" else row for row in rows])


def test_a_missing_label_names_the_way_out(raw, split):
    rows = write_source(raw, unlabelled=("Mayo",))
    with pytest.raises(UserError, match=r"missing for 'M00L' of Mayo .* --unlabelled 'Mayo'"):
        split(rows)
    split(rows, "--unlabelled", "Mayo")


def test_a_test_case_without_its_second_channel(raw, split):
    rows = write_source(raw, test=("M03",))
    (raw / "Dataset100_All/imagesTs/M03L_0001.nii.gz").unlink()
    with pytest.raises(UserError, match=r"'M03L' of Dataset100_All must have 2 channel\(s\), found 1"):
        split(rows)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--unlabelled", "Nowhere"], "must name a site of the table"),
        (["--leave-one-out"], "needs 3 sites"),
        (["--test", "6"], "site Mayo: a hold-out must be"),
        (["--stratify", "age"], "needs the column 'age'"),
        (["--folds", "1"], "2 or more, or 0"),
        (["-d", "99"], "in use by .*Dataset100_All"),
        (["-d", "999"], "between 1 and 999"),
        (["--prefix", "a/b"], "prefix must be"),
    ],
)
def test_refuses_bad_options(raw, split, options, words):
    with pytest.raises(UserError, match=words):
        split(write_source(raw), *options)
    assert len(list(raw.iterdir())) == 1


@pytest.mark.parametrize("amount", ["nan", "inf", "-1", "0"])
def test_hold_outs_that_are_no_amount(raw, split, amount):
    with pytest.raises(UserError, match="site Mayo: a hold-out must be"):
        split(write_source(raw), "--test", amount)


def test_column_names_in_any_case(raw, split, capsys):
    split([{name.title(): value for name, value in row.items()} for row in write_source(raw)], "--stratify", "sex", delimiter="\t")
    assert "12 training cases of 6 patients" in capsys.readouterr().out


@pytest.mark.parametrize("spelling", ["m00", "M0", "M000"])
@pytest.mark.parametrize("more", [(), ("--patients-per-site",)])
def test_one_patient_in_two_spellings_is_leakage(raw, split, spelling, more):
    rows = write_source(raw)
    rows[1]["patient"] = spelling
    with pytest.raises(CheckFailed, match=f"'M00' and '{spelling}'"):
        split(rows, *more)
    assert len(list(raw.iterdir())) == 1


def test_equal_numbers_of_two_sites_may_be_spelled_differently(raw, split):
    spelled = {"Mayo": "{:02d}", "Tulane (new)": "{:d}"}
    split([row | {"patient": spelled[row["site"]].format(int(row["patient"][1:]))} for row in write_source(raw)], "--patients-per-site")


def test_old_splits_do_not_outlive_their_dataset(raw, nnunet_folders, split):
    """Held-out cases would be listed to train on."""
    rows = write_source(raw)
    split(rows)
    file = nnunet_folders / "nnUNet_preprocessed/Dataset101_Mayo/splits_final.json"
    assert file.is_file()
    split(rows, "--folds", "0", "--test", "2", "--overwrite")
    assert not file.exists()


def test_files_in_a_dataset_to_be_replaced_are_refused(raw, split):
    rows = write_source(raw, channels=1)
    (raw / "Dataset101_Mayo").mkdir()
    for file in (raw / "Dataset100_All/imagesTr").iterdir():
        file.rename(raw / "Dataset101_Mayo" / file.name)
        file.symlink_to(raw / "Dataset101_Mayo" / file.name)
    with pytest.raises(UserError, match="must lie outside the output"):
        split(rows, "--overwrite")
    assert len(list((raw / "Dataset101_Mayo").iterdir())) == 24


def test_semicolons_and_no_patients(raw, split, capsys):
    split([{"case": row["case"], "site": row["site"]} for row in write_source(raw)], delimiter=";")
    assert "every case counts as a patient" in capsys.readouterr().out


@pytest.mark.slow
def test_two_sites_plan_and_preprocess(raw, nnunet_folders, make_centre, split):
    """Real scans, from the split to both domains preprocessed; stock nnU-Net takes the folds over."""
    from nnunet_da.planning import PlanRequest, plan
    from nnunet_da.preprocessing import preprocess

    make_centre(100, "All", cases=6, seed=1)
    names = [f"All_{index:02d}" for index in range(6)]
    split(
        [{"case": name, "site": "AB"[index % 2], "patient": name} for index, name in enumerate(names)], "--unlabelled", "B", "--folds", "3"
    )
    (nnunet_folders / "nnUNet_preprocessed/Dataset101_A/splits_final.json").unlink()
    request = PlanRequest("101", ["102"], "pf_daformer_demo", patch_size=[16, 16, 16], spacing_mm=[2.5, 2.0, 2.0])
    file, configuration = plan(request)
    preprocess("101", file.stem, configuration, processes=1)
    made = nnunet_folders / "nnUNet_preprocessed" / "Dataset101_A"
    assert len(list(made.rglob("All_*.b2nd"))) >= 6
    assert sitk.ReadImage(str(raw / "Dataset102_B/imagesTr/All_01_0000.nii.gz")).GetSize() == (28, 28, 20)
    assert np.array(json.loads((made / "splits_final.json").read_text())).shape == (3,)
