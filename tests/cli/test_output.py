import argparse
import json
import math
import sys

import numpy as np
import pytest

from fastlm.cli.output import check_output, display_width, prepare_streams, print_json, print_table


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("cat", 3),
        ("고양이", 6),
        ("ㅋㅋ", 4),
        ("é", 1),
        ("e\u0301", 1),
        ("\u1100\u1161\u11a8", 2),
        ("語", 2),
        ("", 0),
        ("ａ", 2),
    ],
)
def test_columns_of_a_terminal(text, width):
    assert display_width(text) == width


def test_a_table_stands_straight(capsys):
    print_table([("고양이", "0.5"), ("the", "0.25"), ("</s>", "")])
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["고양이  0.5", "the     0.25", "</s>"]


def test_inputs_are_not_overwritten(tmp_path, monkeypatch):
    calls = []
    options = argparse.Namespace(wrong_call=calls.append)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("text")
    check_output(options, "-", ["-", "text"])
    check_output(options, "new", ["text", "link"])
    assert not calls
    for output, inputs in (("text", ["other", "text"]), ("./text", ["text"]), ("link", ["text"]), ("text", ["link"])):
        check_output(options, output, inputs)
        assert calls.pop() == f"{output} would be overwritten, but it is to be read; give another name"


def test_an_empty_table(capsys):
    print_table([])
    assert capsys.readouterr().out == ""


def test_json_has_no_infinities(capsys):
    print_json({"a": math.inf, "b": [math.nan, -math.inf, 1.5], "c": ({"d": np.float64("nan")}, True, None, 3)})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [None, None, 1.5], "c": [{"d": None}, True, None, 3]}


def test_json_is_readable_where_the_stream_can_and_ascii_where_not(capsysbinary, monkeypatch):
    print_json("고양이 😀")
    sys.stdout.reconfigure(encoding="ascii")
    prepare_streams()
    print_json("고양이 😀")
    lines = capsysbinary.readouterr().out.splitlines()
    assert lines[0].decode() == '"고양이 😀"'
    assert lines[1].isascii()
    assert json.loads(lines[1]) == "고양이 😀"


def test_any_text_can_be_printed(capsysbinary):
    prepare_streams()
    print("lone \udc80")
    sys.stdout.reconfigure(encoding="ascii")
    prepare_streams()
    print("고", file=sys.stdout)
    assert capsysbinary.readouterr().out == b"lone \\udc80\n\\uace0\n"
