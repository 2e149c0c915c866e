"""CSV as others write it: read to the letter, or a clear word about line and byte."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopline.data.delimited import decoded, delimiter_of, read_text
from loopline.errors import SourceError

FILE = Path("rows.csv")
CZECH = "jméno,město\n" + "Dvořák,Plzeň\nŽižka,Český Krumlov\nŠťastný,Třebíč\n" * 40
POLISH = "imię,miasto\n" + "Łukasz,Łódź\nŚwięta,Gdańsk\n" * 40
FRENCH = "nom,ville\n" + "Hélène,Genève\nœuvre,“où est le goût” 5 €\n" * 40
PORTUGUESE = "nome,ação\n" + "João,corações\nSão Tomé,põe\n" * 40
SPANISH = "nombre,pregunta\n" + "Muñoz,¿Qué?\nPeña,1ª\n" * 40
HUNGARIAN = "név,város\n" + "Őrségi Űrhajós,Győr\nÁrvíztűrő,Kőszeg\n" * 40
GERMAN = "Name,Straße\n" + "Müller,Große Straße 5\nJäger,Süßweg\n" * 40


def read(text: str, delimiter: str = ",") -> list[tuple[str, ...]]:
    return read_text(FILE, text.encode(), delimiter).rows()


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8", GERMAN),
        ("utf-8-sig", GERMAN),
        ("utf-16", GERMAN),
        ("utf-16-le", GERMAN),
        ("utf-16-be", GERMAN),
        ("utf-32", GERMAN),
        ("cp1252", GERMAN),
        ("cp1252", FRENCH),
        ("cp1252", PORTUGUESE),
        ("cp1252", SPANISH),
        ("cp1250", HUNGARIAN),
        ("cp1250", CZECH),
        ("cp1250", POLISH),
        ("ascii", "a,b\n1,2\n"),
    ],
)
def test_the_encoding_is_found_out(encoding: str, text: str) -> None:
    content, found = decoded(FILE, text.encode(encoding), None)

    assert content.decode() == text
    assert "".encode(found).decode(found) == ""  # a name that Python knows


def test_a_given_encoding_is_taken_and_its_first_bad_byte_named() -> None:
    assert decoded(FILE, "é\n".encode("latin-1"), "latin-1")[0] == "é\n".encode()
    with pytest.raises(SourceError, match=r"rows\.csv:3: the byte 0xe9 at offset 8 is not utf-8\."):
        decoded(FILE, b"a,b\n1,2\n\xe9,3\n", "utf-8")
    with pytest.raises(SourceError, match="encoding is 'klingon', which is unknown"):
        decoded(FILE, b"a", "klingon")


def test_utf_8_that_goes_bad_is_a_fault_and_no_other_encoding() -> None:
    content = "é,b\n".encode() + b"1,\xff\n"

    with pytest.raises(SourceError, match=r"rows\.csv:2: the byte 0xff at offset 7 is not utf-8"):
        decoded(FILE, content, None)


def test_a_bad_byte_far_into_a_file_is_found_where_it_is() -> None:
    content = b"a,b\n" + b"1,2\n" * 5_000_000 + "é".encode() * 1000 + b"\xff"

    with pytest.raises(SourceError, match=f"at offset {len(content) - 1} is not utf-8"):
        decoded(FILE, content, "utf-8")


@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
def test_the_delimiter_is_what_the_lines_are_cut_by(sign: str) -> None:
    text = f"name{sign}note\n" + f'"a{sign}b"{sign}"x, y; z|w"\n' * 5

    assert delimiter_of(FILE, text.encode(), None) == sign


def test_one_column_has_the_comma_and_a_decimal_comma_does_not_win() -> None:
    assert delimiter_of(FILE, b"a\n1\n2\n", None) == ","
    assert delimiter_of(FILE, b"a;b\n1,5;2,5\n3,5;4,5\n", None) == ";"


def test_a_given_delimiter_that_the_lines_do_not_have_is_refused() -> None:
    with pytest.raises(SourceError, match=r"separated by a semicolon\. Write delimiter: ';'"):
        delimiter_of(FILE, b"a;b\n1;2\n", ",")
    assert delimiter_of(FILE, b"a;b\n1;2\n", ";") == ";"


words = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=6)


@given(st.lists(st.tuples(words, words), min_size=1, max_size=8), st.sampled_from([",", ";", "\t"]))
def test_whatever_python_writes_is_read_to_the_letter(
    rows: list[tuple[str, str]], delimiter: str
) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([("first", "second"), *rows])

    assert read(buffer.getvalue(), delimiter) == rows


def test_a_value_over_several_lines_and_doubled_quotes_are_kept() -> None:
    assert read('a,b\n"one\ntwo","say ""hi"""\n,\n') == [("one\ntwo", 'say "hi"'), ("", "")]


def test_windows_line_ends_and_a_missing_last_one_are_no_matter() -> None:
    assert read("a,b\r\n1,2\r\n3,4") == [("1", "2"), ("3", "4")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n3\n", r"rows\.csv:3: the line has 1 values, and the header 2 columns: '3'"),
        ("a,b\n1,2,3\n", r"rows\.csv:2: the line has 3 values, and the header 2 columns: '1,2,3'"),
        ('a,b\n1,"2\n3,4\n', r"rows\.csv:2: a quote opens here that is never closed"),
        ("", r"rows\.csv:1: no header can be read: nothing there"),
        ("\n\n", r"rows\.csv:1: no header can be read"),
        ("1,2\n3,4\n", r"rows\.csv:1: the first line is 1, 2: values, not names"),
        ("a,b,a\n1,2,3\n", r"rows\.csv:1: the header names a more than once"),
    ],
)
def test_where_a_file_breaks_is_said_by_line(text: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        read(text)


def test_a_column_without_a_name_gets_its_place() -> None:
    frame = read_text(FILE, b"a,, c \n1,2,3\n", ",")

    assert frame.columns == ["a", "column_2", "c"]


def test_values_longer_than_a_block_are_read() -> None:
    long = "x" * (9 << 20)

    assert read(f"a,b\n{long},1\n") == [(long, "1")]


def test_zero_bytes_on_both_sides_are_no_text_of_two_bytes_a_letter() -> None:
    with pytest.raises(SourceError, match=r"rows\.csv is no text: it has zero bytes\. Bring CSV"):
        decoded(FILE, b"\x89\x00\x00\x00\x07abc\x00\x00" * 50, None)


def test_a_header_alone_has_no_rows_with_or_without_an_end_of_line() -> None:
    for text in ("a,b", "a,b\n"):
        frame = read_text(FILE, text.encode(), ",")
        assert (frame.columns, frame.height) == (["a", "b"], 0)
