"""UTF-8 is checked as Python's own decoder does it, and NUL is refused."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastlm.text.scan.utf8 import check_text

# Bytes at the borders of the rules, so that random strings of them are nearly valid.
BORDERS = bytes([0x00, 0x0A, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF])
BORDERS += bytes([0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF])
near_utf8 = st.lists(st.sampled_from(BORDERS), max_size=12).map(bytes)


def reference(text: bytes) -> tuple[int, int, int]:
    try:
        text.decode()
        num_valid = len(text)
    except UnicodeDecodeError as error:
        num_valid = error.start
    nul = text.find(b"\0")
    num_valid = num_valid if nul < 0 else min(num_valid, nul)
    return num_valid, len(text[:num_valid].decode()), text.count(b"\n", 0, num_valid)


@given(st.binary(max_size=200) | near_utf8)
@example(b"")
@example(b"\n" * 200)
@example(b"\xed\xa0\x80")  # a surrogate
@example(b"\xf4\x90\x80\x80")  # behind the last character
@example(b"\xe0\x80\x80")  # longer than need be
def test_bytes_are_checked_as_python_does(text: bytes) -> None:
    assert check_text(text) == reference(text)


@given(st.text(max_size=300))
def test_text_is_valid_and_its_characters_are_counted(text: str) -> None:
    encoded = text.replace("\0", "").encode()
    assert check_text(encoded) == reference(encoded) == (len(encoded), len(encoded.decode()), encoded.count(b"\n"))


@pytest.mark.parametrize("bad", [b"\xff", b"\0", b"\xea\xb0", b"\x80"])
@pytest.mark.parametrize("character", ["a", "é", "가", "😀"])
def test_a_bad_byte_is_found_wherever_it_is(character: str, bad: bytes) -> None:
    for before in range(140):
        text = before * character.encode() + bad + b" and more" * 20
        assert check_text(text) == (before * len(character.encode()), before, 0)
