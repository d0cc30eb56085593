"""N-best lists: what is read is what was written, and what is wrong names its line."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlm.errors import LineError
from fastlm.text.nbest import KaldiHypothesis, MosesHypothesis, read_kaldi, read_moses

MOSES = """\
0 ||| the cat sat ||| LM0= -12.5 WordPenalty0= -3 ||| -4.25
0 ||| the cats at ||| LM0= -14.5 WordPenalty0= -3 ||| -5 ||| 0-0 1-1 2-2
2 |||  ||| LM0= -1 ||| -9e-3
2 ||| 고양이 |||  ||| 1
""".splitlines()


def test_moses_lists_by_sentence() -> None:
    first, second = read_moses(MOSES)
    assert [hypothesis.text for hypothesis in first] == ["the cat sat", "the cats at"]
    assert [hypothesis.total for hypothesis in first] == [-4.25, -5.0]
    assert [(hypothesis.utterance, hypothesis.text) for hypothesis in second] == [("2", ""), ("2", "고양이")]


def test_a_moses_feature_is_appended() -> None:
    lines = [str(hypothesis.rescored(-2.5, "FastLM0")) for nbest in read_moses(MOSES) for hypothesis in nbest]
    assert lines[0] == "0 ||| the cat sat ||| LM0= -12.5 WordPenalty0= -3 FastLM0= -2.500000 ||| -4.25"
    assert lines[1].endswith(" FastLM0= -2.500000 ||| -5 ||| 0-0 1-1 2-2")
    assert lines[2].endswith(" FastLM0= -2.500000 ||| -9e-3")
    assert lines[3] == "2 ||| 고양이 ||| FastLM0= -2.500000 ||| 1"


def test_a_moses_total_takes_the_weight() -> None:
    nbest = next(read_moses(MOSES))
    assert [hypothesis.rescored(-2.0, "x", weight=0.5).total for hypothesis in nbest] == [-5.25, -6.0]
    assert [hypothesis.rescored(-2.0, "x").total for hypothesis in nbest] == [-4.25, -5.0]


def test_a_weight_of_zero_adds_nothing() -> None:
    hypothesis = MosesHypothesis.parse("0 ||| a ||| LM= 1 ||| -1e-7").rescored(-math.inf, "x", weight=0.0)
    assert hypothesis.total == -1e-7
    assert str(hypothesis) == "0 ||| a ||| LM= 1 x= -inf ||| -1e-7"
    assert KaldiHypothesis("u-1", "a", 2.5).rescored(-math.inf, "", weight=0.0).cost == 2.5
    assert KaldiHypothesis("u-1", "a", 2.5).rescored(-math.inf, "", weight=0.5).cost == math.inf


def test_a_moses_list_without_totals() -> None:
    hypothesis = next(read_moses(["7 ||| a b ||| LM= -1"]))[0]
    assert str(hypothesis.rescored(-2.0, "x")) == "7 ||| a b ||| LM= -1 x= -2.000000"
    with pytest.raises(ValueError, match="sentence 7 has no total"):
        hypothesis.rescored(-2.0, "x", weight=1.0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "1 fields, expected 3 or more"),
        ("0 ||| a b", "2 fields"),
        ("0 ||| a ||| LM= 1 ||| nine", "'nine' where a score should stand"),
        ("0 ||| a ||| LM= 1 ||| nan", "finite number"),
    ],
)
def test_what_is_no_moses_line(line: str, message: str) -> None:
    with pytest.raises(LineError, match=f"list, line 5: .*{message}"):
        list(read_moses([*MOSES, line], "list"))


words = st.text(st.characters(exclude_characters="|", exclude_categories=("C", "Z")), min_size=1)
sentences = st.lists(words, max_size=5).map(" ".join)
numbers = st.integers(-(10**9), 10**9).map(lambda millionths: millionths / 1e6)


@given(
    st.builds(
        MosesHypothesis, words, sentences, sentences, numbers, st.lists(sentences.filter(bool), max_size=2).map(tuple)
    )
)
def test_a_moses_line_is_read_as_it_was_written(hypothesis: MosesHypothesis) -> None:
    assert MosesHypothesis.parse(str(hypothesis)) == hypothesis


KALDI = ["u-a-1 the cat", "u-a-2 the cats sat", "u-b-1", "u-b-10\t고양이 "]


def test_kaldi_lists_by_utterance() -> None:
    first, second = read_kaldi(KALDI)
    assert [hypothesis.utterance for hypothesis in first] == ["u-a", "u-a"]
    assert [hypothesis.text for hypothesis in second] == ["", "고양이"]
    assert [str(hypothesis.rescored(-2.5, "")) for hypothesis in second] == ["u-b-1 2.500000", "u-b-10 2.500000"]


def test_what_is_certain_costs_nothing() -> None:
    assert str(KaldiHypothesis("u-1", "a").rescored(0.0, "")) == "u-1 0.000000"


def test_kaldi_costs_take_the_weight() -> None:
    costs = ["u-a-1 10", "u-a-2 11.5", "u-b-1 1", "u-b-10 -2"]
    nbest = [hypothesis for group in read_kaldi(KALDI, costs=costs) for hypothesis in group]
    assert [hypothesis.rescored(-2.0, "", weight=0.5).cost for hypothesis in nbest] == [11.0, 12.5, 2.0, -1.0]
    assert [hypothesis.rescored(-2.0, "").cost for hypothesis in nbest] == [2.0] * 4
    with pytest.raises(ValueError, match="u-a-1 has no cost"):
        next(read_kaldi(KALDI))[0].rescored(-2.0, "", weight=0.5)


@pytest.mark.parametrize("line", ["", "utterance the cat", "-3 the cat", "u-x the cat"])
def test_what_is_no_kaldi_line(line: str) -> None:
    with pytest.raises(LineError, match=r"list, line 5: the key is .*expected UTTERANCE-NUMBER"):
        list(read_kaldi([*KALDI, line], "list"))


@pytest.mark.parametrize(
    ("costs", "message"),
    [
        (["u-a-1 1"], "line 2: no cost of u-a-2"),
        (["u-a-1 1", "u-a-2 1", "u-b-1 1", "u-b-10 1", "u-c-1 1"], "line 5: more costs than hypotheses"),
        (["u-a-2 1"], "line 1: the cost of u-a-2, expected that of u-a-1"),
        (["u-a-1 cat"], "line 1: 'cat' where a score should stand"),
        (["u-a-1"], "line 1: '' where a score should stand"),
    ],
)
def test_costs_that_do_not_fit(costs: list[str], message: str) -> None:
    with pytest.raises(LineError, match=f"costs, {message}"):
        list(read_kaldi(KALDI, costs=costs))


@given(st.lists(st.tuples(words.filter(lambda word: "\t" not in word), st.integers(0, 99), sentences)))
def test_every_kaldi_line_comes_back_in_order(rows: list[tuple[str, int, str]]) -> None:
    lines = [f"{name}-{number} {text}" for name, number, text in rows]
    found = [hypothesis for group in read_kaldi(lines) for hypothesis in group]
    assert found == [KaldiHypothesis(f"{name}-{number}", text) for name, number, text in rows]
