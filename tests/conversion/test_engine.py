"""What every format can rely on: one bad case stops no other, a second run continues, nothing is half-written."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_da.conversion import case as one_case
from nnunet_da.conversion.dataset import DatasetSpecification, ScanFolder
from nnunet_da.conversion.engine import convert_scans, report
from nnunet_da.conversion.scan import TEST, Loaded, Scan
from nnunet_da.errors import UserError

VERSION = 1  # of `load`


def load(scan):
    """A 4 x 5 x 6 scan whose file holds the value of its voxels."""
    text = scan.images[0].read_text()
    if text == "bad":
        raise UserError(f"a number was expected, {scan.images[0]} holds a word: write a number")
    image = sitk.GetImageFromArray(np.full((4, 5, 6), int(text), np.int16))
    image.SetSpacing((0.7, 0.8, 2.5))
    label = None
    if scan.label:
        label = sitk.Image(image.GetSize(), sitk.sitkUInt8)
        label.CopyInformation(image)
        label[2, 2, 2] = 1
    return Loaded((image,), label, side="left", warnings=("from a text",), notes={"words": "1"})


@pytest.fixture
def dataset(raw):
    return DatasetSpecification(101, "A", ("CT",), {"background": 0, "femur": 1}, "nnunet-da convert test")


@pytest.fixture
def make_scans(tmp_path):
    """text per case -> scans; without label unless told otherwise."""

    def make(label=False, **texts):
        scans = []
        for case, text in texts.items():
            file = tmp_path / f"{case}.txt"
            if not file.exists() or file.read_text() != text:
                file.write_text(text)
            scans.append(Scan(case, (file,), file if label else None))
        return scans

    return make


def contents(folder):
    """Every file with its content and the time it was written."""
    return {str(file.relative_to(folder)): (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.rglob("*") if file.is_file()}


def test_one_bad_case_does_not_stop_the_others(dataset, make_scans, capsys):
    result = convert_scans(make_scans(a="1", b="bad", c="word", d="4"), load, dataset)
    assert (result.done, result.skipped) == (("a", "d"), ())
    assert result.failed["b"].startswith("a number was expected")
    assert result.failed["c"].startswith("ValueError: ")  # whatever a loader raises
    assert report(result) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["failed b", "failed c", "error"]
    description = json.loads((dataset.folder / "dataset.json").read_text())
    assert description["numTraining"] == 2
    assert set(json.loads((dataset.folder / "conversion.json").read_text())["failed"]) == {"b", "c"}


def test_second_run_does_nothing(dataset, make_scans, capsys):
    scans = make_scans(True, a="1", b="2")
    assert report(convert_scans(scans, load, dataset)) == 0
    before = contents(dataset.folder)
    result = convert_scans(scans, load, dataset)
    assert (result.done, result.skipped, result.failed) == ((), ("a", "b"), {})
    assert contents(dataset.folder) == before
    assert report(result) == 0
    assert "2 already there and verified" in capsys.readouterr().out


def test_a_failed_case_is_tried_again_alone(dataset, make_scans):
    assert convert_scans(make_scans(a="1", b="bad"), load, dataset).failed
    before = contents(dataset.folder)["imagesTr/a_0000.nii.gz"]
    result = convert_scans(make_scans(a="1", b="2"), load, dataset)
    assert (result.done, result.skipped, result.failed) == (("b",), ("a",), {})
    assert contents(dataset.folder)["imagesTr/a_0000.nii.gz"] == before
    assert json.loads((dataset.folder / "dataset.json").read_text())["numTraining"] == 2


@pytest.mark.parametrize("name", ["imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz", "conversion/a.png"])
@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_damaged_output_is_converted_again(dataset, make_scans, name, damage):
    scans = make_scans(True, a="1", b="2")
    convert_scans(scans, load, dataset)
    good = (dataset.folder / name).read_bytes()
    if damage == "gone":
        (dataset.folder / name).unlink()
    else:
        (dataset.folder / name).write_bytes(good[:-1])
    result = convert_scans(scans, load, dataset)
    assert (result.done, result.skipped) == (("a",), ("b",))
    assert (dataset.folder / name).read_bytes() == good


def test_changed_input_is_converted_again_only_when_told(dataset, make_scans):
    convert_scans(make_scans(a="1", b="2"), load, dataset)
    scans = make_scans(a="3", b="2")
    with pytest.raises(UserError, match=r"'a' \(changed: inputs\): add --overwrite"):
        convert_scans(scans, load, dataset)
    assert convert_scans(scans, load, dataset, overwrite=True).done == ("a",)
    assert sitk.ReadImage(str(dataset.folder / "imagesTr" / "a_0000.nii.gz"))[0, 0, 0] == 3


def test_changed_settings_and_loaders_are_noticed(dataset, make_scans, monkeypatch):
    scans = make_scans(a="1")
    convert_scans(scans, load, dataset)
    with pytest.raises(UserError, match="changed: settings"):
        convert_scans([replace(scans[0], settings=("window", 160))], load, dataset)
    monkeypatch.setattr(sys.modules[load.__module__], "VERSION", 2)
    with pytest.raises(UserError, match="changed: loader"):
        convert_scans(scans, load, dataset)


def test_a_changed_case_that_fails_now_is_removed(dataset, make_scans):
    convert_scans(make_scans(a="1", b="2"), load, dataset)
    assert set(convert_scans(make_scans(a="bad", b="2"), load, dataset, overwrite=True).failed) == {"a"}
    assert [file.name for file in (dataset.folder / "imagesTr").iterdir()] == ["b_0000.nii.gz"]
    assert json.loads((dataset.folder / "dataset.json").read_text())["numTraining"] == 1


def test_vanished_cases_are_removed_only_when_told(dataset, make_scans):
    convert_scans(make_scans(True, a="1", b="2"), load, dataset)
    scans = make_scans(True, a="1")
    with pytest.raises(UserError, match="'b': add --overwrite"):
        convert_scans(scans, load, dataset)
    result = convert_scans(scans, load, dataset, overwrite=True)
    assert (result.done, result.skipped) == ((), ("a",))
    assert not [file for file in dataset.folder.rglob("b*")]
    assert json.loads((dataset.folder / "dataset.json").read_text())["numTraining"] == 1


def test_a_case_that_moves_to_the_test_scans_leaves_no_file_behind(dataset, make_scans):
    scans = make_scans(True, a="1", b="2")
    convert_scans(scans, load, dataset)
    convert_scans([scans[0], replace(scans[1], split=TEST)], load, dataset, overwrite=True)
    assert sorted(str(file.relative_to(dataset.folder)) for file in dataset.folder.glob("*Tr/*")) == [
        "imagesTr/a_0000.nii.gz",
        "labelsTr/a.nii.gz",
    ]


@pytest.mark.parametrize(
    "other", [{"converted_by": "nnunet-da convert else"}, {"labels": {"background": 0, "hip": 1}}, {"channel_names": ("MR",)}]
)
def test_another_conversion_is_replaced_only_when_told(dataset, make_scans, other):
    convert_scans(make_scans(a="1", b="2"), load, dataset)
    with pytest.raises(UserError, match=f"{next(iter(other))} is .* --overwrite"):
        convert_scans(make_scans(a="1"), load, replace(dataset, **other))
    result = convert_scans(make_scans(a="1"), load, replace(dataset, **other), overwrite=True)
    assert result.done == ("a",)
    assert [path.name for path in dataset.folder.parent.iterdir()] == ["Dataset101_A"]
    assert [file.name for file in (dataset.folder / "imagesTr").iterdir()] == ["a_0000.nii.gz"]


def test_pictures_can_be_added_later(dataset, make_scans):
    scans = make_scans(a="1")
    convert_scans(scans, load, dataset, pictures=False)
    assert not list(dataset.folder.rglob("*.png"))
    assert convert_scans(scans, load, dataset).done == ("a",)
    assert (dataset.folder / "conversion" / "contact_sheet.png").is_file()


def test_workers_give_the_same_files(dataset, scans, raw, convert):
    assert convert() == 0
    assert convert("--processes", "2", dataset_id="102") == 0
    one, two = ({name: found[0] for name, found in contents(raw / name).items()} for name in ("Dataset101_A", "Dataset102_A"))
    assert one.keys() == two.keys()
    assert {name for name in one if one[name] != two[name]} <= {"conversion.json"}  # the command differs


def test_disk_that_fills_up_between_cases(dataset, make_scans, monkeypatch):
    """Simulated: the second case's image does not fit."""
    write, written = one_case.write_nifti, []

    def write_until_full(image, file):
        if len(written) == 2:
            file.write_bytes(b"half a file")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(file)
        write(image, file)

    scans = make_scans(True, a="1", b="2", c="3")
    monkeypatch.setattr(one_case, "write_nifti", write_until_full)
    with pytest.raises(UserError, match=r"No space left on device.*run the same command again"):
        convert_scans(scans, load, dataset)
    kept = {str(file.relative_to(dataset.folder)) for file in dataset.folder.rglob("*") if file.is_file()}
    assert kept == {"conversion.json", "conversion/a.png", "conversion/records/a.json", "imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz"}
    monkeypatch.setattr(one_case, "write_nifti", write)
    result = convert_scans(scans, load, dataset)
    assert (result.done, result.skipped) == (("b", "c"), ("a",))


@pytest.mark.parametrize("part", ["write_nifti", "write_record"])
def test_disk_that_is_full_from_the_start_leaves_nothing(dataset, make_scans, monkeypatch, raw, part):
    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(one_case, part, refuse)
    with pytest.raises(UserError, match="No space left"):
        convert_scans(make_scans(a="1"), load, dataset)
    assert list(raw.iterdir()) == []


def test_a_dataset_that_grows_is_none_until_it_is_whole_again(dataset, make_scans, monkeypatch):
    convert_scans(make_scans(a="1"), load, dataset)

    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    scans = make_scans(a="1", b="2")
    with monkeypatch.context() as patch:
        patch.setattr(one_case, "write_nifti", refuse)
        with pytest.raises(UserError, match="No space left"):
            convert_scans(scans, load, dataset)
    assert not (dataset.folder / "dataset.json").exists()
    assert convert_scans(scans, load, dataset).skipped == ("a",)
    assert (dataset.folder / "dataset.json").exists()


def command(scans: Path, processes: int) -> list[str]:
    images = ["-i", str(scans / "large"), "-d", "101", "--name", "A", "--processes", str(processes)]
    return [sys.executable, "-m", "nnunet_da.cli.main", "convert", "nifti", *images]


@pytest.fixture
def large_scans(scans, write_image):
    """Six scans that take a while to compress."""
    for number in range(6):
        voxels = np.random.default_rng(number).integers(-1000, 1500, (60, 100, 100)).astype(np.int16)
        write_image(scans / "large" / f"c{number}.nrrd", voxels)
    return scans


def test_file_that_itk_cuts_short_without_a_word_is_noticed(large_scans, raw):
    """Real: a limit on the size of files makes writing fail as a full disk does."""
    limited = (
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (300000, 300000)); sys.argv = {command(large_scans, 1)[2:]!r}"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{limited}; from nnunet_da.cli.main import main; sys.exit(main())"], capture_output=True, text=True
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "cut short: is the disk full?" in line
    assert list(raw.iterdir()) == []


def wait_for(found, seconds=60.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found():
            return
        time.sleep(0.02)
    raise TimeoutError


def children_of(process: int) -> list[int]:
    done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True, check=False)
    return [int(number) for number in done.stdout.split()]


def is_running(process: int) -> bool:
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes through /proc")
@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_stopped_run_is_continued(large_scans, raw, stop):
    folder = raw / "Dataset101_A"
    process = subprocess.Popen(command(large_scans, 2), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: list((folder / "conversion" / "records").glob("[!.]*.json")))
    workers = children_of(process.pid)
    process.send_signal(stop)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == (-stop if stop == signal.SIGKILL else 2)
    if stop != signal.SIGKILL:
        assert errors.startswith("error: stopped: ")
        assert len(errors.splitlines()) == 1
        assert not (folder / ".converting").exists()
    assert not (folder / "dataset.json").exists()  # no dataset for nnU-Net yet
    wait_for(lambda: not any(map(is_running, workers)), 10)  # no worker writes on

    done = subprocess.run(command(large_scans, 1), capture_output=True, text=True, check=True)
    assert "6 already" not in done.stdout
    assert "0 already" not in done.stdout
    assert not list(folder.rglob(".*"))
    assert json.loads((folder / "dataset.json").read_text())["numTraining"] == 6
    for number in range(6):
        written = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "imagesTr" / f"c{number}_0000.nii.gz")))
        assert np.array_equal(written, np.random.default_rng(number).integers(-1000, 1500, (60, 100, 100)))


def test_plain_folder_for_prediction(tmp_path, make_scans):
    result = convert_scans(make_scans(a="1", b="2"), load, tmp_path / "new")
    assert result.done == ("a", "b")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "a_0000.nii.gz",
        "b_0000.nii.gz",
        "conversion",
        "conversion.csv",
        "conversion.json",
    ]
    assert convert_scans(make_scans(a="1", b="2"), load, tmp_path / "new").skipped == ("a", "b")


def test_stock_nnunet_finds_the_scans_of_a_plain_folder(tmp_path, make_scans):
    from nnunetv2.utilities.utils import create_lists_from_splitted_dataset_folder

    convert_scans(make_scans(a="1", b="2"), load, tmp_path / "new")
    found = create_lists_from_splitted_dataset_folder(str(tmp_path / "new"), ".nii.gz")
    assert found == [[str(tmp_path / "new" / f"{case}_0000.nii.gz")] for case in "ab"]


def test_plain_folder_takes_no_labels(tmp_path, make_scans):
    with pytest.raises(UserError, match=r"takes no labels, got one for 'a'"):
        convert_scans(make_scans(True, a="1"), load, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_folder_of_other_things_is_never_replaced(tmp_path, make_scans):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    scans = make_scans(a="1")
    for overwrite in (False, True):
        with pytest.raises(UserError, match="thesis"):
            convert_scans(scans, load, tmp_path / "thesis", overwrite=overwrite)
    output = ScanFolder(tmp_path / "new", converted_by="nnunet-da convert test")
    convert_scans(scans, load, output)
    (tmp_path / "new" / "predictions").mkdir()
    with pytest.raises(UserError, match="holds predictions"):
        convert_scans(scans, load, replace(output, converted_by="else"), overwrite=True)
    assert (tmp_path / "new" / "a_0000.nii.gz").is_file()


@pytest.mark.parametrize("case", ["", "a b", "../a", ".a", "a/b", "contact_sheet"])
def test_bad_case_names_are_refused(dataset, make_scans, raw, case):
    with pytest.raises(UserError, match="case name"):
        convert_scans([replace(make_scans(a="1")[0], case=case)], load, dataset)
    assert list(raw.iterdir()) == []


def test_repeated_case_is_refused(dataset, make_scans, raw):
    with pytest.raises(UserError, match=r"repeated.*'a'"):
        convert_scans(make_scans(a="1") * 2, load, dataset)
    assert list(raw.iterdir()) == []


def test_labels_for_some_training_cases_only_are_refused(dataset, make_scans, raw):
    with pytest.raises(UserError, match="missing for 'b'"):
        convert_scans([*make_scans(True, a="1"), *make_scans(b="2")], load, dataset)
    assert list(raw.iterdir()) == []


def test_no_training_case_is_refused(dataset, make_scans, tmp_path):
    with pytest.raises(UserError, match="at least one training case"):
        convert_scans([replace(scan, split=TEST) for scan in make_scans(a="1")], load, dataset)
    with pytest.raises(UserError, match="no scan"):
        convert_scans([], load, tmp_path / "new")


def test_output_says_where_it_came_from(dataset, make_scans):
    convert_scans(make_scans(a="1"), load, replace(dataset, command="nnunet-da convert test -d 101"))
    about = json.loads((dataset.folder / "conversion.json").read_text())
    assert about["command"] == "nnunet-da convert test -d 101"
    assert {"python", "nnunet-da", "SimpleITK", "numpy"} <= about["versions"].keys()


def test_input_in_the_dataset_it_would_replace_is_refused(dataset, make_scans, raw):
    """`-i raw/DatasetX/imagesTr` with the id of DatasetX and --overwrite would destroy the scans it reads."""
    convert_scans(make_scans(a="1"), load, dataset)
    original = dataset.folder / "imagesTr" / "a_0000.nii.gz"
    before = contents(raw)
    for output in (dataset, replace(dataset, channel_names=("MR",)), replace(dataset, name="B")):
        with pytest.raises(UserError, match="must lie outside the output"):
            convert_scans([Scan("a", (original,))], load, output, overwrite=True)
        assert contents(raw) == before


def test_what_is_replaced_stays_until_every_case_is_converted(dataset, make_scans, raw, capsys):
    convert_scans(make_scans(a="1", b="2"), load, dataset)
    before = contents(dataset.folder)
    other, aside = replace(dataset, channel_names=("MR",)), raw / ".replaced_Dataset101_A"
    assert report(convert_scans(make_scans(a="1", b="bad"), load, other, overwrite=True)) == 1
    assert contents(aside / "Dataset101_A") == before
    assert f"is kept in {aside} until every case is converted" in capsys.readouterr().out
    assert convert_scans(make_scans(a="1"), load, other).failed == {}
    assert not aside.exists()
    assert [file.name for file in (dataset.folder / "imagesTr").iterdir()] == ["a_0000.nii.gz"]


def test_two_runs_at_once(dataset, make_scans):
    pytest.importorskip("fcntl")
    scans = make_scans(a="1", b="2")
    messages = []

    def load_slowly(scan):
        if not messages:  # while the first run is at work, a second one begins, and a third that would replace it
            for output in (dataset, replace(dataset, name="B")):
                with pytest.raises(UserError, match="another `convert` is writing into") as caught:
                    convert_scans(scans, load, output, overwrite=True)
                messages.append(str(caught.value))
        return load(scan)

    assert convert_scans(scans, load_slowly, dataset).done == ("a", "b")
    assert len(messages) == 2
    assert [path.name for path in dataset.folder.parent.iterdir()] == ["Dataset101_A"]


def test_output_that_cannot_be_made(tmp_path, make_scans, monkeypatch):
    def refuse(path, *arguments, **options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    scans = make_scans(a="1")
    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UserError, match=r"new cannot be written \(Permission denied\): choose another output"):
        convert_scans(scans, load, tmp_path / "new")
