"""Labels that cannot be used are named by file, line and content."""

from __future__ import annotations

import pytest

from detection.evaluation.layout import LayoutError, read_table
from detection.evaluation.rttm import Turn, overlap_per_second, read_rttm


@pytest.fixture
def labels(tmp_path):
    """Write ``t.csv`` and return its rows, with columns ``image`` and ``value`` demanded."""
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b.jpg").write_bytes(b"")

    def read(text: str | bytes):
        (tmp_path / "t.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_table(tmp_path, "t.csv", ["image", "value"])

    return read


def test_rows_come_with_their_line(labels):
    rows = labels("\ufeffImage, value ,subject\r\n\r\na.jpg,1.5,anna\r\ndeep/b.jpg, 2 ,\r\n")
    assert [(row.line, row.path("image").name, row.number("value")) for row in rows] == [
        (3, "a.jpg", 1.5),
        (4, "b.jpg", 2),
    ]
    assert [row.subject("a.jpg") for row in rows] == ["subject:anna", "file:a.jpg"]


def test_other_columns_are_passed_over_and_quotes_may_hold_line_ends(labels):
    rows = labels('note,image,value\n"two\nlines",a.jpg,1\nx,deep/b.jpg,2\n')
    assert [row.line for row in rows] == [2, 4]


def test_a_table_may_come_from_a_spreadsheet(labels):
    rows = labels(b"\xef\xbb\xbfImage , value,note,\r\na.jpg, 1.5 ,x,,,\r\n\r\ndeep/b.jpg,2,,\r\n,,,\r\n")
    assert [(row.line, row.path("image").name, row.number("value")) for row in rows] == [
        (2, "a.jpg", 1.5),
        (4, "b.jpg", 2),
    ]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "is empty"),
        ("image,value\n", 1, "nothing below the header"),
        ("image,worth\na.jpg,1\n", 1, "the header lacks value"),
        ("image;value\na.jpg;1\n", 1, "the header lacks image, value"),
        ("image,value,value\na.jpg,1,1\n", 1, "twice"),
        ("image,value\na.jpg,1\na.jpg\n", 3, "has 1 cells, the header 2"),
        ("image,value\na.jpg,1,2\n", 2, "has 3 cells"),
        ('image,value\n"a.jpg,1\n', 2, "is no CSV"),
        (b"image,value\na.jpg,1\n\xff\xfe,2\n", 3, "not UTF-8"),
    ],
)
def test_a_table_that_does_not_hold_together(labels, text, line, words):
    with pytest.raises(LayoutError, match=words) as caught:
        labels(text)
    assert caught.value.line == line
    assert str(caught.value).startswith(f"t.csv:{line}: ")


@pytest.mark.parametrize(
    ("cell", "read", "words"),
    [
        ("a.jpg,", lambda row: row.number("value"), "'value' is empty"),
        ("a.jpg,x", lambda row: row.number("value"), "must be a number, not 'x'"),
        ("a.jpg,nan", lambda row: row.number("value"), "must be a number"),
        ("a.jpg,2", lambda row: row.flag("value"), "must be 1 or 0, not '2'"),
        ("a.jpg,up", lambda row: row.choice("value", ["left"]), "must be one of left, not 'up'"),
        ("none.jpg,1", lambda row: row.path("image"), "there is no file 'none.jpg'"),
        ("x" * 300 + ",1", lambda row: row.path("image"), "there is no file"),
        ("../a.jpg,1", lambda row: row.path("image"), "below the directory"),
        ("deep/../../a.jpg,1", lambda row: row.path("image"), "below the directory"),
        ("/etc/passwd,1", lambda row: row.path("image"), "below the directory"),
        ("deep,1", lambda row: row.path("image"), "there is no file 'deep'"),
    ],
)
def test_a_wrong_cell_is_told_with_its_line(labels, cell, read, words):
    row = labels(f"image,value\na.jpg,1\n{cell}\n")[1]
    with pytest.raises(LayoutError, match=words) as caught:
        read(row)
    assert str(caught.value) == f"t.csv:3: {caught.value.args[0].split(': ', 1)[1].splitlines()[0]}\n  {cell}"


@pytest.mark.parametrize("span", ["-1,2", "2,2", "3,1", "x,2", ",2", "1,"])
def test_a_span_has_a_beginning_and_a_later_end(tmp_path, span):
    (tmp_path / "t.csv").write_text(f"start_s,end_s\n{span}\n")
    with pytest.raises(LayoutError, match=r"t\.csv:2: "):
        read_table(tmp_path, "t.csv", ["start_s", "end_s"])[0].span()


def test_missing_files_and_directories(tmp_path):
    with pytest.raises(LayoutError, match="is missing in"):
        read_table(tmp_path, "t.csv", ["image"])
    with pytest.raises(LayoutError, match="is no directory"):
        read_table(tmp_path / "away", "t.csv", ["image"])


# --- RTTM


def test_turns_are_read_and_other_lines_passed_over(tmp_path):
    path = tmp_path / "m.rttm"
    path.write_text(
        ";; a comment\nSPKR-INFO m 1 <NA> <NA> <NA> adult anna\n\nSPEAKER m 1 0.5 2.0 <NA> <NA> anna <NA> <NA>\n"
        "SPEAKER m 1 1.0 1 <NA> <NA> ben\n"
    )
    assert read_rttm(path) == [Turn(0.5, 2.5, "anna"), Turn(1.0, 2.0, "ben")]


@pytest.mark.parametrize(
    "line", ["SPEAKER m 1 0.5 2.0 <NA> anna", "SPEAKER m 1 x 2 <NA> <NA> a", "SPEAKER m 1 1 -2 <NA> <NA> a"]
)
def test_a_bad_turn_is_told_with_its_line(tmp_path, line):
    path = tmp_path / "m.rttm"
    path.write_text(f"SPEAKER m 1 0.5 2.0 <NA> <NA> anna\n{line}\n")
    with pytest.raises(LayoutError, match=r"m\.rttm:2: ") as caught:
        read_rttm(path)
    assert line in str(caught.value)


def test_overlap_is_told_per_second_and_a_speaker_does_not_overlap_with_themselves():
    turns = [Turn(0.0, 2.5, "a"), Turn(0.2, 1.0, "a"), Turn(1.75, 4.0, "b"), Turn(2.0, 2.25, "c")]
    assert overlap_per_second(turns, 5) == pytest.approx([0, 0.25, 0.5, 0, 0])
    assert overlap_per_second([], 2) == [0, 0]
