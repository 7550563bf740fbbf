"""Pictures of a report look alike whatever else draws in the process."""

import matplotlib
import seaborn
from matplotlib.figure import Figure

from nnunet_da.report.pictures import ARM_COLOURS, ARM_LINES, ARM_MARKERS, style, to_picture


def test_a_dollar_sign_is_text_not_maths():
    with style():
        figure = Figure(figsize=(3, 1.2), layout="constrained")
        figure.add_subplot().set_title("a $\\frac$ and $x$")  # as maths, the first is an error
        assert b">a $\\frac$ and $x$</text>" in to_picture(figure, "x", "X.").svg


def test_numbers_on_a_logarithmic_axis_are_no_maths_either():
    with style():
        figure = Figure(figsize=(3, 2), layout="constrained")
        axes = figure.add_subplot()
        axes.plot([1, 2], [0.02, 0.05])
        axes.set_yscale("log")
        axes.set_xscale("log")
        svg = to_picture(figure, "x", "X.").svg
    assert b"mathdefault" not in svg
    assert b">0.02</text>" in svg
    assert b">0.04</text>" in svg


def test_fonts_that_nnunet_sets_for_the_whole_process_do_not_reach_our_pictures():
    def drawn() -> bytes:
        with style():
            figure = Figure(figsize=(3, 1.2), layout="constrained")
            axes = figure.add_subplot()
            axes.set_xlabel("epoch")
            axes.set_title("loss")
            return to_picture(figure, "loss", "Loss.").png

    with matplotlib.rc_context():
        before = drawn()
        seaborn.set_theme(font_scale=2.5)  # as nnU-Net's logger does
        assert drawn() == before
        assert matplotlib.rcParams["axes.labelsize"] == 30, "the others' settings are left as they were"


def test_a_study_of_28_arms_has_no_two_alike():
    lines = {(ARM_COLOURS[arm % len(ARM_COLOURS)], ARM_LINES[arm % len(ARM_LINES)]) for arm in range(28)}
    points = {(ARM_COLOURS[arm % len(ARM_COLOURS)], ARM_MARKERS[arm % len(ARM_MARKERS)]) for arm in range(28)}
    assert (len(lines), len(points)) == (28, 28)


def test_the_first_font_comes_with_matplotlib_and_the_others_are_installed():
    with style():
        first, *others = matplotlib.rcParams["font.family"]
    installed = matplotlib.font_manager.fontManager.get_font_names()
    assert first == "DejaVu Sans"
    assert set(others) <= set(installed)
