from nnunet_da.report.cells import Cell, Row, Table


def test_text_alone_says_all_that_the_page_says():
    cell = Cell("+0.02", small="95 %: 0.01 to 0.03", warn="1 undefined", best=True, mark="better", notes="a")
    assert cell.plain == "+0.02 ▲ [a] (95 %: 0.01 to 0.03) (1 undefined)"
    assert Cell("x").plain == "x"
    table = Table("t", "T", ["Metric", "n"], [("", [Row(Cell("Dice", small="note"), [Cell("3", warn="1 undefined")])])])
    assert table.readable().iloc[0].tolist() == ["Dice (note)", "3 (1 undefined)"]
