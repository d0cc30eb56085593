import numpy as np
import pytest

from fastlm.inference.arguments import one_line, real_number, whole_number


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_whole_numbers(value):
    number = whole_number("k", value, minimum=3)
    assert number == 3
    assert type(number) is int


@pytest.mark.parametrize("value", [2, -1, 3.0, "3", None, True, np.float32(3)])
def test_what_is_no_whole_number(value):
    with pytest.raises(ValueError, match="k must be a whole number of at least 3, got "):
        whole_number("k", value, minimum=3)


def test_numbers_beyond_a_limit():
    assert whole_number("k", 10, minimum=1, maximum=10) == 10
    for value in (11, 10**30):
        with pytest.raises(ValueError, match=f"k must be at most 10, got {value:,}"):
            whole_number("k", value, minimum=1, maximum=10)


@pytest.mark.parametrize("value", [0.5, 1, np.float32(0.5), -2])
def test_real_numbers(value):
    assert real_number("p", value) == value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "1", None, True, 1j])
def test_what_is_no_real_number(value):
    with pytest.raises(ValueError, match="p must be a finite number, got "):
        real_number("p", value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        ("a b", "a b"),
        ("a\n", "a"),
        ("a\r\n", "a"),
        ("a\r", "a"),
        ("a\rb\r\r\n", "a\rb\r"),
        ("a\u2028b", "a\u2028b"),
    ],
)
def test_one_line(text, line):
    assert one_line(text) == line


@pytest.mark.parametrize("text", ["a\nb", "a\n\n", "\n\n", b"a", None, 3])
def test_what_is_not_one_line(text):
    with pytest.raises(ValueError, match=r"expected (one|a) line of text"):
        one_line(text)
