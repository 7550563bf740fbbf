from dataclasses import replace

import numpy as np

from nnunet_da.report.pictures import file_name
from nnunet_da.report.plots import curve_plots, metric_plots, plotted_metrics
from nnunet_da.report.study import load_study


def test_one_plot_per_domain_says_what_it_shows(study):
    pictures = metric_plots(load_study(study), "1", "hd95_mm")
    assert len(pictures) == 2
    assert "HD95 (mm), Centre <B> & co" in pictures[1].alternative
    assert "Source only: median 0.8 of 2 cases" in pictures[1].alternative


def test_nsd_at_every_tolerance_is_plotted(study):
    for file in study.rglob("metrics.csv"):
        text = file.read_text()
        file.write_text(
            text.replace("nsd_1mm", "nsd_0.5mm")
            + "".join(r.replace("nsd_1mm", "nsd_2mm") + "\n" for r in text.splitlines() if "nsd_1mm" in r)
        )
    assert plotted_metrics(load_study(study))[3:6] == ["nsd_0.5mm", "nsd_2mm", "hd_mm"]


def test_the_same_input_gives_the_same_bytes(study):
    loaded = load_study(study)
    first, second = (metric_plots(loaded, "1", "dice")[0] for _ in range(2))
    assert (first.png, first.svg) == (second.png, second.svg)


def test_nothing_defined_is_drawn_empty(study):
    loaded = load_study(study)
    for arm in loaded.arms:
        arm.metrics.loc[arm.metrics["metric"] == "hd_mm", "value"] = np.nan
    assert len(metric_plots(loaded, "1", "hd_mm")) == 2


def test_one_curve_per_term_with_start_and_end(study):
    pictures = curve_plots(load_study(study))
    assert [picture.name for picture in pictures] == ["curve-train_loss", "curve-mmd"]
    assert "Source only: 1 to 0.25" in pictures[0].alternative


def test_curves_have_room_beside_the_names_of_many_arms(study):
    loaded = load_study(study)
    few, many = (replace(loaded, arms=loaded.arms[:1] * times) for times in (1, 16))
    assert curve_plots(many)[0].height > 2 * curve_plots(few)[0].height  # and matplotlib does not warn of no room, an error here


def test_file_names_hold_no_special_signs():
    assert file_name("overlay", "A & B/..", "x y") == "overlay-A-B-..-x-y"
