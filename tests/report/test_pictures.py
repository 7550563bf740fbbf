"""Pictures of a report look alike whatever else draws in the process."""

import matplotlib
import seaborn
from matplotlib.figure import Figure

from nnunet_da.report.pictures import style, to_picture


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
