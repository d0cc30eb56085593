import gzip
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlm.cli.lines import read_lines
from fastlm.errors import DataError, FileError


def lines_of(tmp_path, data, errors="strict"):
    path = tmp_path / "text.txt"
    path.write_bytes(data)
    return list(read_lines(path, errors))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"a\nb\n", ["a", "b"]),
        (b"a\n\nb", ["a", "", "b"]),
        (b"a\r\nb\r\r\nc\r", ["a", "b\r", "c"]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb", ["a", "\ufeffb"]),
        ("나는\u2028고양이\x85\x0b\n".encode(), ["나는\u2028고양이\x85\x0b"]),
    ],
)
def test_lines_end_at_line_feeds_only(tmp_path, data, expected):
    assert lines_of(tmp_path, data) == expected


@pytest.mark.parametrize(("bad", "message"), [(b"\xff", "invalid UTF-8 .byte 0xff"), (b"\0", "a NUL byte")])
def test_what_is_no_text(tmp_path, bad, message):
    data = b"good\nwor" + bad + b"d\nend\n"
    with pytest.raises(DataError, match=rf"text.txt, line 2: {message}.*--errors replace"):
        lines_of(tmp_path, data)
    assert lines_of(tmp_path, data, "replace") == ["good", "wor\ufffdd", "end"]
    assert lines_of(tmp_path, data, "skip") == ["good", "", "end"]


def test_a_compressed_file(tmp_path):
    path = tmp_path / "text.gz"
    path.write_bytes(gzip.compress("나는\n".encode()))
    assert list(read_lines(path)) == ["나는"]


def test_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a\nb")))
    assert list(read_lines("-")) == ["a", "b"]


def test_a_missing_file(tmp_path):
    with pytest.raises(FileError, match="nowhere"):
        list(read_lines(tmp_path / "nowhere"))


@given(st.lists(st.text(st.characters(exclude_characters="\r\n\0\ufeff", exclude_categories=["Cs"]))))
def test_any_lines_come_back(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("lines") / "text.txt"
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())
    assert list(read_lines(path)) == lines
