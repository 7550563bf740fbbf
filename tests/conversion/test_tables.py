import pytest

from nnunet_da.conversion.tables import read_table
from nnunet_da.errors import UserError


@pytest.fixture
def read(tmp_path):
    def run(content: bytes, needed=("case", "site"), filled=()):
        (tmp_path / "table.csv").write_bytes(content)
        return read_table(tmp_path / "table.csv", "the table", needed, filled)

    return run


@pytest.mark.parametrize(
    "content",
    [
        b"case,site\na,North\nb,South\n",
        b"case;site\r\na;North\r\nb;South",
        b"case\tsite\na\tNorth\nb\tSouth\n",
        b"\xef\xbb\xbf Case , SITE \n a , North \n,,\n\nb,South\n , \n",
        b"\ncase,site,,\na,North,,\nb,South,,\n",
        b'case;"site"\n"a";"North"\nb;South\n',
    ],
    ids=["commas", "semicolons", "tabs", "spaces", "trailing", "quotes"],
)
def test_tables_of_any_spreadsheet(read, content):
    table = read(content)
    assert [(row["case"], row["site"]) for row in table.rows] == [("a", "North"), ("b", "South")]
    assert [row["Site"] for row in table.rows] == ["North", "South"]
    assert "Case" in table
    assert "patient" not in table


def test_quotes_keep_a_separator(read):
    assert read(b'case,site\na,"Mayo, Rochester"\n').rows[0]["site"] == "Mayo, Rochester"


def test_lines_are_counted_as_in_the_file(read):
    assert [row.line for row in read(b"\ncase,site\n,\na,b\n").rows] == [4]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "needs the column 'case', it has none"),
        (b"case,place\na,b\n", "needs the column 'site', it has case, place"),
        (b"case,site\na\n", "value for 'site' in line 2"),
        (b"case,site,Patient\na,b,\n", "value for 'patient' in line 2"),
        (b"case,site\na,Mayo, Rochester\n", "more values in line 2"),
        (b"case,site,Site\na,b,c\n", "'site' twice"),
        ("case,site\na,M\xfcnchen\n".encode("latin-1"), "UTF-8"),
    ],
)
def test_refused_tables(read, content, words):
    with pytest.raises(UserError, match=words):
        read(content, filled=["patient"])


def test_no_file(tmp_path):
    with pytest.raises(UserError, match=r"the table .*none\.csv cannot be read"):
        read_table(tmp_path / "none.csv", "the table", ["case"])
