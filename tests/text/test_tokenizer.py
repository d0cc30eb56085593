"""Tokenizers: what they split, what they put together again, and their specs."""

import builtins
import copy
import json
import pickle
import re
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlm.errors import DataError, FileError
from fastlm.text.tokenizer import Tokenizer, make_tokenizer, tokenizer_from_spec


def split_at_commas(line: str) -> list[str]:
    return line.split(",")


@pytest.fixture(scope="module")
def tokenizer_json() -> str:
    """Train a small BPE tokenizer."""
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    tokenizer.decoder = tokenizers.decoders.Metaspace()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=60, special_tokens=["[UNK]", "[CLS]"], show_progress=False)
    tokenizer.train_from_iterator(["the cat sat on the mat", "the 고양이 sat"] * 20, trainer)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing("[CLS] $A", special_tokens=[("[CLS]", 1)])
    tokenizer.enable_truncation(3)
    return str(tokenizer.to_str())


@given(st.text(st.sampled_from("ab \t\r\u3000\x0b가"), max_size=20))
def test_whitespace_splits_at_spaces_and_tabs_only(line: str) -> None:
    tokens = make_tokenizer("whitespace").tokenize(line)
    assert tokens == [token for token in re.split("[ \t]", line) if token]
    assert make_tokenizer("whitespace").detokenize(tokens) == re.sub("[ \t]+", " ", line).strip(" ")


@pytest.mark.parametrize(
    ("line", "tokens"),
    [
        ("It's 3.5 km, isn't it?", ["It's", "3.5", "km", ",", "isn't", "it", "?"]),
        ("$1,000.50 (well-known)...", ["$", "1,000.50", "(", "well-known", ")", ".", ".", "."]),
        (
            "a- -b 'c' d. 5. v1.5 e.g.",
            ["a", "-", "-", "b", "'", "c", "'", "d", ".", "5", ".", "v1.5", "e", ".", "g", "."],
        ),
        ("snake_case x=y", ["snake", "_", "case", "x", "=", "y"]),
        ("l’été rock’n’roll", ["l’été", "rock’n’roll"]),
        ("졸려! 그래도 이병헌도 나왔고.. 6점", ["졸려", "!", "그래도", "이병헌도", "나왔고", ".", ".", "6점"]),
        ("재밌다ㅋㅋㅋ ㅠㅠ", ["재밌다ㅋㅋㅋ", "ㅠㅠ"]),
        (unicodedata.normalize("NFD", "한국어 영화"), ["한국어", "영화"]),
        (unicodedata.normalize("NFD", "naïve"), ["naïve"]),
        ("क्षत्रिय ง่าย", ["क्षत्रिय", "ง่าย"]),
        ("می\u200cخواهم", ["می\u200cخواهم"]),
        ("日本語。東京", ["日本語", "。", "東京"]),
        ("👍🏽👍 👩\u200d👩\u200d👧 ❤️ 🇰🇷🇫🇷", ["👍🏽", "👍", "👩\u200d👩\u200d👧", "❤️", "🇰🇷", "🇫🇷"]),
        ("a <unk> <b>", ["a", "<unk>", "<", "b", ">"]),
        ("<s>x</s>", ["<s>", "x", "</s>"]),
        ("no\u00a0break\u3000space", ["no", "break", "space"]),
        ("  ", []),
    ],
)
def test_words(line: str, tokens: list[str]) -> None:
    assert make_tokenizer("word").tokenize(line) == tokens


@given(st.text(max_size=40))
def test_words_lose_nothing_but_white_space(line: str) -> None:
    tokens = make_tokenizer("word").tokenize(line)
    assert "".join(tokens) == "".join(unicodedata.normalize("NFC", line).split())
    assert all(tokens)


def test_lower_case() -> None:
    tokenizer = make_tokenizer("word", lower_case=True)
    assert tokenizer.tokenize("The END of Été <unk> İ") == ["the", "end", "of", "été", "<unk>", "i̇"]
    for choice in ("whitespace", "char", split_at_commas):
        with pytest.raises(ValueError, match="only 'word' changes case"):
            make_tokenizer(choice, lower_case=True)


@pytest.mark.parametrize(
    "text",
    [
        "It's a well-known fact, isn't it?",
        'He said: "Go (now)!", and "left".',
        "졸려! 그래도 이병헌도 나왔고.. 6점 ㅋㅋㅋ",
        "It costs $5, or 3% more.",
        "日本語。東京、大阪",
        "<unk> is unknown; ‘quoted’ “too”",
    ],
)
def test_words_are_put_together_readably(text: str) -> None:
    tokenizer = make_tokenizer("word")
    assert tokenizer.detokenize(tokenizer.tokenize(text)) == text


def test_words_of_punctuation_alone() -> None:
    detokenize = make_tokenizer("word").detokenize
    assert detokenize([]) == ""
    assert detokenize([".", "a", "("]) == ". a ("


@given(st.text(max_size=40))
def test_characters_come_back(line: str) -> None:
    tokenizer = make_tokenizer("char")
    tokens = tokenizer.tokenize(line)
    assert "".join(tokens) == re.sub(r"\s", "▁", unicodedata.normalize("NFC", line))
    assert tokenizer.detokenize(tokens) == re.sub(r"[\s▁]", " ", unicodedata.normalize("NFC", line))


def test_characters_are_what_a_reader_sees() -> None:
    tokenize = make_tokenizer("char").tokenize
    assert tokenize(unicodedata.normalize("NFD", "한국 ㅋ")) == ["한", "국", "▁", "ㅋ"]
    assert tokenize("x\u0323\u0302y👍🏽🇰🇷") == ["x\u0323\u0302", "y", "👍🏽", "🇰🇷"]
    assert tokenize("a<unk>") == ["a", "<unk>"]


@pytest.mark.parametrize("choice", ["whitespace", "word", "char", split_at_commas])
def test_specs(choice: Any) -> None:
    tokenizer = make_tokenizer(choice)
    function = choice if callable(choice) else None
    again = tokenizer_from_spec(json.loads(json.dumps(tokenizer.spec)), function)
    line = "One, two  three,four."
    for other in (again, pickle.loads(pickle.dumps(tokenizer)), copy.deepcopy(tokenizer), make_tokenizer(tokenizer)):
        assert other == tokenizer
        assert hash(other) == hash(tokenizer)
        assert other.tokenize(line) == tokenizer.tokenize(line)
        assert other.tokenize_lines([line, ""]) == [tokenizer.tokenize(line), tokenizer.tokenize("")]
    assert make_tokenizer("word") != make_tokenizer("word", lower_case=True)


def test_a_callable() -> None:
    tokenizer = make_tokenizer(split_at_commas)
    assert tokenizer.spec == {"kind": "callable", "name": f"{__name__}.split_at_commas"}
    assert tokenizer.tokenize("a,b c") == ["a", "b c"]
    assert tokenizer.detokenize(["a", "b"]) == "a b"
    missing = tokenizer_from_spec(tokenizer.spec)
    assert missing == tokenizer
    with pytest.raises(ValueError, match=r"split_at_commas, which is not stored in the file: give it again"):
        missing.tokenize("a,b")
    with pytest.raises(ValueError, match="gave 3: expected strings"):
        make_tokenizer(lambda line: [3]).tokenize("a")  # type: ignore[list-item]


def test_huggingface(tokenizer_json: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(tokenizer_json, encoding="utf-8")
    for tokenizer in (make_tokenizer(path), make_tokenizer(str(path))):
        assert tokenizer.spec == {"kind": "huggingface", "json": tokenizer_json}
        text = "the cat sat on the mat"
        tokens = tokenizer.tokenize(text)
        assert len(tokens) > 3  # not cut off, whatever the file says
        assert "[CLS]" not in tokens
        assert tokenizer.detokenize(tokens) == text
        assert tokenizer.tokenize("the zzz")[-1] == "<unk>"
        for again in (tokenizer_from_spec(tokenizer.spec), pickle.loads(pickle.dumps(tokenizer))):
            assert again == tokenizer
            assert again.tokenize_lines([text, "sat"]) == [tokens, tokenizer.tokenize("sat")]
        korean = unicodedata.normalize("NFD", "고양이")
        assert tokenizer.detokenize(tokenizer.tokenize(korean)) == "고양이"


def test_huggingface_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def failing_import(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "tokenizers":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", failing_import)
    tokenizer = tokenizer_from_spec({"kind": "huggingface", "json": "{}"})
    with pytest.raises(ImportError, match=re.escape('pip install "fastlm[tokenizers]"')):
        tokenizer.tokenize("a")


def test_files_that_are_no_tokenizer(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    with pytest.raises(FileError, match=r"cannot read the tokenizer '.*nothing\.json': No such file"):
        make_tokenizer(tmp_path / "nothing.json")
    path = tmp_path / "bad.json"
    for content, problem in ((b"\xff", "not UTF-8"), (b"{", "not JSON")):
        path.write_bytes(content)
        with pytest.raises(DataError, match=problem):
            make_tokenizer(path)
    path.write_text("{}")
    with pytest.raises(DataError, match=r"not a Hugging Face tokenizer\.json"):
        make_tokenizer(path).tokenize("a")


@pytest.mark.parametrize("choice", ["words", "", 3, None])
def test_unknown_tokenizers(choice: Any) -> None:
    with pytest.raises(ValueError, match=r"unknown tokenizer .*: expected 'whitespace', 'word', 'char'"):
        make_tokenizer(choice)


@pytest.mark.parametrize(
    "spec",
    [{}, {"kind": "bytes"}, {"kind": "word"}, {"kind": "word", "lower_case": 1}, {"kind": "char", "more": 1}],
)
def test_unknown_specs(spec: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="unknown tokenizer"):
        tokenizer_from_spec(spec)


def test_a_function_for_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="for a tokenizer of kind 'word'"):
        tokenizer_from_spec({"kind": "word", "lower_case": False}, split_at_commas)
    with pytest.raises(ValueError, match="'word' for a tokenizer of kind 'callable'"):
        tokenizer_from_spec({"kind": "callable", "name": "a.b"}, "word")  # type: ignore[arg-type]


def test_a_tokenizer_of_ones_own() -> None:
    class Pairs(Tokenizer):
        spec = {"kind": "pairs"}  # noqa: RUF012

        def tokenize(self, line: str) -> list[str]:
            return [line[at : at + 2] for at in range(0, len(line), 2)]

        def detokenize(self, tokens: Any) -> str:
            return "".join(tokens)

    assert make_tokenizer(Pairs()).tokenize_lines(["abc"]) == [["ab", "c"]]
