"""Pictures of a report look alike whatever else draws in the process."""

import matplotlib
import seaborn
from matplotlib.figure import Figure

from nnunet_da.report.pictures import style, to_picture


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
