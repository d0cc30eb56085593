"""Subwords are learned from the text, the same each time, and lose nothing but what they cannot spell."""

import builtins
import io
import re
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest

import fastlm
from fastlm.errors import DataError
from fastlm.text.subwords import build_vocabulary, learn_subwords

pytest.importorskip("tokenizers")


def test_frequent_words_are_whole_and_new_ones_are_spelled(korean_lines: list[str]) -> None:
    tokenizer = learn_subwords(korean_lines * 3, size=300)
    assert "▁영화가" in tokenizer.tokenize("영화가 정말")
    new = tokenizer.tokenize("고양이가영화를")
    assert "".join(new) == "▁고양이가영화를"
    assert len(new) > 1


def test_lines_come_back(korean_lines: list[str]) -> None:
    tokenizer = learn_subwords(korean_lines, size=1000)
    for line in korean_lines:
        assert tokenizer.detokenize(tokenizer.tokenize(line)) == line
        assert tokenizer.tokenize(unicodedata.normalize("NFD", line)) == tokenizer.tokenize(line)
    assert tokenizer.tokenize("영화 漢") == [*tokenizer.tokenize("영화"), "▁", "<unk>"]


@pytest.mark.parametrize("size", [40, 90])
def test_the_vocabulary_has_the_size_that_was_asked_for(korean_lines: list[str], size: int) -> None:
    vocabulary = build_vocabulary(korean_lines, vocab_size=size, tokenizer="subword")
    assert len(vocabulary) == size
    assert len(fastlm.Corpus.encode(korean_lines, vocabulary).ids) > 16


def test_a_piece_that_was_joined_everywhere_is_known_all_the_same() -> None:
    text = ["abab abab abab"] * 5
    vocabulary = build_vocabulary(text, vocab_size=20, tokenizer="subword")
    assert "▁abab" in vocabulary.tokenizer.tokenize("abab")
    assert not vocabulary.encode("ba ab aab b a").tolist().count(vocabulary.unknown_id)
    assert vocabulary.encode("c").tolist().count(vocabulary.unknown_id) == 1
    assert vocabulary.counts is not None
    assert vocabulary.counts[vocabulary["b"]] == 0
    rare = build_vocabulary([*text, "c"], vocab_size=20, tokenizer="subword", min_count=5)
    assert "b" not in rare


def test_the_same_text_gives_the_same_pieces_in_any_process(korean_file: Path) -> None:
    code = "import sys; from fastlm.text.subwords import *; print(ascii(learn_subwords(sys.argv[1], 60).text))"
    texts = {
        subprocess.run(
            [sys.executable, "-c", code, korean_file], capture_output=True, text=True, check=True
        ).stdout.strip()
        for _ in range(2)
    }
    assert texts == {ascii(learn_subwords(korean_file, 60).text)}


def test_a_model_file_holds_them(korean_lines: list[str], tmp_path: Path) -> None:
    vocabulary = build_vocabulary(korean_lines, vocab_size=80, tokenizer="subword")
    model = fastlm.RNNLM(vocabulary, embedding_dim=4, hidden_size=4)
    model.save(tmp_path / "model.fastlm")
    loaded = fastlm.load(tmp_path / "model.fastlm")
    assert loaded.score("영화가 좋았다").log_prob == model.score("영화가 좋았다").log_prob


def test_an_empty_text_and_lower_case_are_refused() -> None:
    with pytest.raises(DataError, match="no text to learn subwords from"):
        learn_subwords(["", " "])
    with pytest.raises(ValueError, match="only 'word' changes case"):
        build_vocabulary(["a"], tokenizer="subword", lower_case=True)


def test_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def failing_import(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "tokenizers":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", failing_import)
    with pytest.raises(ImportError, match=re.escape('pip install "fastlm[tokenizers]"')):
        learn_subwords(["a b"])


def test_what_comes_through_a_pipe_is_read_twice(monkeypatch: pytest.MonkeyPatch, korean_lines: list[str]) -> None:
    text = "".join(f"{line}\n" for line in korean_lines).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    piped = build_vocabulary("-", vocab_size=300, tokenizer="subword")
    assert piped == build_vocabulary(korean_lines, vocab_size=300, tokenizer="subword")


@pytest.mark.parametrize("text", ["영화가 정말 ", " 영화가  정말", "영화가\t정말", "영화가\u00a0정말"])
def test_blanks_of_any_kind_are_one(korean_lines: list[str], text: str) -> None:
    tokenizer = learn_subwords(korean_lines, size=1000)
    assert tokenizer.tokenize(text) == tokenizer.tokenize("영화가 정말")


def test_a_decoder_is_told_that_a_word_is_several_tokens(korean_lines: list[str]) -> None:
    vocabulary = build_vocabulary(korean_lines * 3, vocab_size=200, tokenizer="subword")
    model = fastlm.NNLM(vocabulary, context_size=2, embedding_dim=3, hidden_size=4)
    assert "▁영화가" in vocabulary
    assert model.start().advance("영화가") == model.start().advance("▁영화가")
    with pytest.raises(ValueError, match="'고양이가영화를' is not one token for this model's tokenizer but"):
        model.start().advance("고양이가영화를")
    assert model.sample("영화가", 2, stop=["영화가"], max_tokens=3)
