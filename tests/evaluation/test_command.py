"""`nnunet-da evaluate` from the command line's side: exit codes, one line of error, nothing written."""

import numpy as np
import pytest

from nnunet_da.cli.main import main


def arguments(folders, *more):
    parts = ("-r", folders / "references", "-p", folders / "predictions", "-o", folders / "out", "--processes", "1")
    return ["evaluate", *map(str, parts), *more]


def test_prints_means_and_counts_what_is_undefined(folders, capsys):
    assert main(arguments(folders, "--domain", "Rochester", "--method", "m")) == 0
    printed = capsys.readouterr().out
    assert "Rochester" in printed
    assert "distances undefined (one mask empty): 1\n  case_2, label 2" in printed
    assert str(folders / "out" / "metrics.csv") in printed


def test_a_missing_prediction_ends_with_1_and_the_rest_done(folders, capsys):
    (folders / "predictions" / "case_0.nii.gz").unlink()
    assert main(arguments(folders)) == 1
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("error: 1 of 4 cases")
    assert "case_0: no prediction" in captured.out
    assert (folders / "out" / "metrics.csv").read_text().count("case_1") == 22


def refused(folders, capfd, *more):
    assert main(arguments(folders, *more)) == 2
    error = capfd.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not (folders / "out").exists()
    return error


def test_refuses_another_geometry(folders, write, capfd):
    write(np.zeros((8, 20, 21), np.uint8), folders / "predictions" / "case_2.nii.gz")
    assert "same size" in refused(folders, capfd)


def test_refuses_fractions(folders, write, capfd):
    write(np.full((8, 20, 22), 0.5, np.float32), folders / "predictions" / "case_2.nii.gz")
    assert "whole numbers" in refused(folders, capfd)


def test_refuses_an_empty_folder_and_a_broken_table(folders, capfd):
    (folders / "domains.csv").write_text("a,b\n1,2\n")
    assert "columns case and domain" in refused(folders, capfd, "--domains", str(folders / "domains.csv"))
    for file in (folders / "predictions").iterdir():
        file.unlink()
    assert "got none" in refused(folders, capfd)


def test_refuses_files_that_are_no_images(folders, capfd):
    for file in (folders / "predictions").glob("*.nii.gz"):
        file.write_bytes(file.read_bytes()[:60])
    assert "no case could be scored" in refused(folders, capfd)


def test_refuses_results_that_exist(folders, capsys):
    assert main(arguments(folders)) == 0
    assert main(arguments(folders)) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(arguments(folders, "--overwrite")) == 0


@pytest.mark.parametrize("value", ["0", "-1", "two"])
def test_refuses_impossible_processes(folders, value, capfd):
    assert "a whole number of 1 or more" in refused(folders, capfd, "--processes", value)
