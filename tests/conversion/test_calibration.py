import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_da.conversion.calibration import Calibration, fit_rods, read_rods
from nnunet_da.errors import UserError


def test_line_worked_by_hand():
    found = fit_rods([0, 100, 200], [10, 135, 260])  # 0.8 mg/cm3 per HU, 0 at 10 HU
    assert (found.slope, found.intercept, found.r2, found.rods) == (pytest.approx(0.8), pytest.approx(-8), pytest.approx(1), 3)


def test_r2_worked_by_hand():
    found = fit_rods([0, 1, 0], [0, 1, 2])  # the best line is flat but for rounding: mean 1/3 explains nothing
    assert found.r2 == pytest.approx(0, abs=1e-9)


def test_r2_of_a_bent_line():
    density, hu = np.array([0.0, 50, 100, 200]), np.array([-5.0, 60, 118, 250])
    assert fit_rods(density, hu).r2 == pytest.approx(np.corrcoef(density, hu)[0, 1] ** 2)


def test_density_of_voxels():
    image = sitk.GetImageFromArray(np.array([[[-1000, 0, 10, 260]]], np.int16))
    density = Calibration(0.8, -8).density_mg_cm3(image)
    assert density.GetPixelID() == sitk.sitkFloat32
    np.testing.assert_allclose(sitk.GetArrayFromImage(density).ravel(), [-808, -8, 0, 200], atol=1e-4)


def test_the_same_convention_as_radiomics():
    from nnunet_da.radiomics.endpoints import BoneSettings

    image = sitk.GetImageFromArray(np.array([[[321]]], np.int16))
    ours = Calibration(0.8, -8).density_mg_cm3(image)[0, 0, 0]
    assert ours == pytest.approx(BoneSettings((0.8, -8)).density_mg_cm3(321), rel=1e-6)


def test_one_table_for_all_cases_or_one_per_case(tmp_path):
    table = tmp_path / "rods.csv"
    table.write_text("rod,nominal_mg_cm3,measured_hu\nwater,0,0\nb,100,125\n")
    assert read_rods(table)[""].slope == pytest.approx(0.8)
    table.write_text("case,rod,nominal_mg_cm3,measured_hu\na,w,0,0\na,b,100,125\nb,w,0,0\nb,b,100,100\n")
    assert {case: round(fit.slope, 9) for case, fit in read_rods(table).items()} == {"a": 0.8, "b": 1.0}


def test_table_as_a_spreadsheet_saves_it(tmp_path):
    (tmp_path / "rods.csv").write_text("Rod\tNominal_mg_cm3\tMeasured_HU\n w \t0\t0\n\t\t\nb\t100\t125 \n")
    assert read_rods(tmp_path / "rods.csv")[""].slope == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rod,nominal,hu\na,0,0\n", "columns"),
        ("rod,nominal_mg_cm3,measured_hu\n", "no line"),
        ("rod,nominal_mg_cm3,measured_hu\na,0,0\n", "at least two"),
        ("rod,nominal_mg_cm3,measured_hu\na,0,5\nb,100,5\n", "different HU"),
        ("rod,nominal_mg_cm3,measured_hu\na,0,0\nb,x,5\n", "'b'"),
        ("rod,nominal_mg_cm3,measured_hu\na,100,0\nb,0,100\n", "above 0"),
    ],
)
def test_refused_tables(tmp_path, text, words):
    (tmp_path / "rods.csv").write_text(text)
    with pytest.raises(UserError, match=words):
        read_rods(tmp_path / "rods.csv")
