"""N-gram models from ARPA files and back: the same scores, whatever the order of the lines, and clear errors."""

import gzip
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tries import draw_ngrams, log10_prob

import fastlm
from fastlm import Corpus, DataError, NGramLM, Vocabulary
from fastlm.data import sample_text

V = 9
WORDS = ["a", "b", "c", "d", "고양이", "f", "g"]
NAMES = ["<unk>", "</s>", *WORDS, "<s>"]


def write_lines(path: Path, ngrams: dict[tuple[int, ...], tuple[float, float]], order: int, seed: int = 0) -> Path:
    """Write a model as an ARPA file, in a random order."""
    by_order = [[ngram for ngram in ngrams if len(ngram) == n] for n in range(1, order + 1)]
    lines = ["\\data\\", *(f"ngram {n}={len(found)}" for n, found in enumerate(by_order, start=1))]
    for n, found in enumerate(by_order, start=1):
        lines += ["", f"\\{n}-grams:"]
        for place in np.random.default_rng(seed).permutation(len(found)):
            prob, backoff = ngrams[found[place]]
            words = " ".join(NAMES[id] for id in found[place])
            lines.append(f"{prob!r}\t{words}" + (f"\t{backoff!r}" if n < order else ""))
    path.write_text("\n".join([*lines, "", "\\end\\", ""]), encoding="utf-8")
    return path


def assert_scores(model: NGramLM, ngrams: dict[tuple[int, ...], tuple[float, float]], order: int) -> None:
    random = np.random.default_rng(1)
    ids = [0, *range(2, V)]
    for _ in range(50):
        context = (V, *random.choice(ids, random.integers(6)).tolist())
        state = model.start()
        for id in context[1:]:
            state = model.advance(state, model.vocabulary[NAMES[id]])
        known = context[max(0, len(context) - order + 1) :]
        expected = [log10_prob(ngrams, known, NAMES.index(word)) for word in model.vocabulary.words]
        np.testing.assert_allclose(model.log_probs(state) / math.log(10), expected, rtol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_a_file_says_what_the_model_says(tmp_path: Path, order: int) -> None:
    ngrams = draw_ngrams(np.random.default_rng(order), V, order, 70)
    model = NGramLM.read_arpa(write_lines(tmp_path / "model.arpa", ngrams, order))
    assert sorted(model.vocabulary.words) == sorted(NAMES[:-1])
    assert model.config == {"order": order, "smoothing": "arpa"}
    counts = [sum(len(ngram) == n for ngram in ngrams) for n in range(1, order + 1)]
    assert model.info == {"training": {"source": "ARPA", "num_ngrams": counts}}
    assert_scores(model, ngrams, order)


def test_the_order_of_the_lines_says_nothing(tmp_path: Path) -> None:
    ngrams = draw_ngrams(np.random.default_rng(3), V, 3, 70)
    words = [word for word in ngrams if len(word) == 1]
    models = []
    for seed in (1, 2):
        path = write_lines(tmp_path / "model.arpa", {**{word: ngrams[word] for word in words}, **ngrams}, 3, seed)
        models.append(NGramLM.read_arpa(path))
    for id in range(V):
        log_probs = [
            model.log_probs(model.advance(model.start(), model.vocabulary[NAMES[id]]))[
                [model.vocabulary[word] for word in NAMES[:-1]]
            ]
            for model in models
        ]
        assert log_probs[0].tobytes() == log_probs[1].tobytes()


@pytest.mark.filterwarnings("ignore")
@given(
    text=st.lists(
        st.lists(st.sampled_from(["x", "y", "고", "<unk>"]), min_size=1, max_size=6).map(" ".join), min_size=1
    ),
    order=st.integers(1, 5),
    compressed=st.booleans(),
)
def test_what_is_written_is_read(
    text: list[str], order: int, compressed: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / ("model.arpa.gz" if compressed else "model.arpa")
    vocabulary = Vocabulary(["x", "y", "고", "never"])
    corpus = Corpus.encode([*text, "x"], vocabulary)
    model = NGramLM(vocabulary, order=order).fit(corpus)
    model.write_arpa(path)
    read = NGramLM.read_arpa(path)
    lengths = [len(array) for name, array in model.parameters.items() if name.endswith("log10_probs")]
    highest = max(n for n, length in enumerate(lengths, start=1) if length)
    assert read.config["order"] == highest  # what has no n-grams is not there
    assert read.vocabulary == vocabulary
    assert read.token_log_probs(corpus).tobytes() == model.token_log_probs(corpus).tobytes()
    if highest == order:
        arrays = read.parameters
        assert {name: array.tobytes() for name, array in model.parameters.items()} == {
            name: array.tobytes() for name, array in arrays.items()
        }


def test_a_large_model_goes_in_blocks(tmp_path: Path) -> None:
    with gzip.open(sample_text("shakespeare"), "rt", encoding="utf-8") as sample:
        text = [line for line in sample if line.strip()]
    vocabulary = Vocabulary.build(text)
    corpus = Corpus.encode(text, vocabulary)
    model = NGramLM(vocabulary, order=2).fit(corpus)
    assert model.info["training"]["num_ngrams"][1] > 100_000
    model.write_arpa(tmp_path / "model.arpa")
    read = NGramLM.read_arpa(tmp_path / "model.arpa")
    assert read.token_log_probs(corpus).tobytes() == model.token_log_probs(corpus).tobytes()


def test_a_read_model_is_a_model_like_others(tmp_path: Path) -> None:
    ngrams = draw_ngrams(np.random.default_rng(3), V, 3, 70)
    model = NGramLM.read_arpa(write_lines(tmp_path / "model.arpa", ngrams, 3), tokenizer="char")
    model.save(tmp_path / "model.fastlm")
    loaded = fastlm.load(tmp_path / "model.fastlm")
    assert (loaded.config, loaded.info, loaded.vocabulary) == (model.config, model.info, model.vocabulary)
    assert loaded.score("abcdz").log_prob == model.score("abcdz").log_prob
    for use in (loaded.fit, loaded.memory_bound):
        with pytest.raises(ValueError, match="comes from an ARPA file"):
            use(Corpus.encode(["abc"], model.vocabulary))


def test_a_file_without_unknown_words(tmp_path: Path) -> None:
    text = "\\data\\\nngram 1=3\n\n\\1-grams:\n-0.5 </s>\n-0.75 a\n-99 <s>\n\n\\end\\\n"
    (tmp_path / "a.arpa").write_text(text)
    model = NGramLM.read_arpa(tmp_path / "a.arpa")
    assert model.score("a").log_prob == pytest.approx(-1.25 * math.log(10))
    assert model.score("b").log_prob == -math.inf
    model.write_arpa(tmp_path / "b.arpa")
    assert "<unk>" not in (tmp_path / "b.arpa").read_text()
    assert NGramLM.read_arpa(tmp_path / "b.arpa").score("a") == model.score("a")


@pytest.mark.parametrize(
    ("unknown", "bigram", "written"),
    [
        ("-99 <unk>", "-0.25 a </s>", False),
        ("-99 <unk> 0", "-0.25 a </s>", False),
        ("-99 <unk> -0.3", "-0.25 a </s>", True),
        ("-99 <unk>", "-0.25 <unk> a", True),
        ("-99 <unk> -0.3", "-0.25 <unk> a", True),
        ("-99 <unk>", "-0.25 a <unk>", True),
        ("-2 <unk>", "-0.25 a </s>", True),
    ],
)
def test_an_impossible_unknown_word_is_written_where_it_matters(
    tmp_path: Path, unknown: str, bigram: str, written: bool
) -> None:
    """It stays out, as in the file that such a model comes from, unless something is said of what follows it."""
    text = f"\\data\\\nngram 1=4\nngram 2=1\n\n\\1-grams:\n{unknown}\n-0.5 </s>\n-0.75 a -0.5\n-99 <s> -0.125\n"
    (tmp_path / "a.arpa").write_text(f"{text}\n\\2-grams:\n{bigram}\n\n\\end\\\n")
    model = NGramLM.read_arpa(tmp_path / "a.arpa")
    assert model.write_arpa(tmp_path / "b.arpa") == [3 + written, 1]
    assert "\t<unk>\t" in (tmp_path / "b.arpa").read_text() or not written
    again = NGramLM.read_arpa(tmp_path / "b.arpa")
    for line in ("z a a", "a z", "a", "z"):
        assert again.score(line) == model.score(line)
    assert {name: array.tobytes() for name, array in again.parameters.items()} == {
        name: array.tobytes() for name, array in model.parameters.items()
    }


def test_ngrams_that_no_sentence_has_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ngrams = draw_ngrams(np.random.default_rng(3), V, 3, 70)
    useless = {
        (2, V): (-1.0, 0.0),
        (1, 2): (-1.0, 0.0),
        (V, V): (-1.0, 0.0),
        (V, V, 2): (-1.0, 0.0),
        (2, 1, 2): (-1, 0),
    }
    model = NGramLM.read_arpa(write_lines(tmp_path / "model.arpa", {**ngrams, **useless}, 3))
    assert "5 n-grams with <s> behind the first or </s> before the last word are left out" in caplog.text
    assert_scores(model, ngrams, 3)


# Errors


ARPA = """\
\\data\\
ngram 1=5
ngram 2=2
ngram 3=1

\\1-grams:
-2 <unk>
-99 <s> -0.5
-1 </s>
-0.5 a -0.25
-0.75 b -0.125

\\2-grams:
-0.25 <s> a -0.5
-0.5 a b 0

\\3-grams:
-0.125 <s> a b

\\end\\
"""


def test_contexts_must_be_there(tmp_path: Path) -> None:
    path = tmp_path / "model.arpa"
    path.write_text(ARPA.replace("<s> a b", "b a b"))
    with pytest.raises(DataError, match="arpa, line 18: the context 'b a' of this 3-gram is not among the 2-grams"):
        NGramLM.read_arpa(path)


def test_an_order_between_others_is_not_empty(tmp_path: Path) -> None:
    path = tmp_path / "model.arpa"
    path.write_text(ARPA.replace("ngram 2=2", "ngram 2=0").replace("-0.25 <s> a -0.5\n-0.5 a b 0\n", ""))
    with pytest.raises(DataError, match="arpa, line 6: no 2-grams, but 3-grams; expected their contexts among them"):
        NGramLM.read_arpa(path)


def test_ngrams_must_differ(tmp_path: Path) -> None:
    path = tmp_path / "model.arpa"
    path.write_text(ARPA.replace("<s> a -0.5", "a b -0.5"))
    with pytest.raises(DataError, match=r"arpa: the 2-gram 'a b' is there twice; expected every n-gram once"):
        NGramLM.read_arpa(path)


def test_orders_beyond_use(tmp_path: Path) -> None:
    path = tmp_path / "model.arpa"
    counts = "".join(f"ngram {n}=1\n" for n in range(2, 18))
    path.write_text(f"\\data\\\nngram 1=2\n{counts}\n\\1-grams:\n-1 </s>\n-1 a\n")
    with pytest.raises(DataError, match="arpa: n-grams of order 1 to 17, expected 16 at most"):
        NGramLM.read_arpa(path)


@given(
    text=st.lists(st.text("xyz", min_size=1, max_size=6).map(" ".join), min_size=1, max_size=6),
    others=st.lists(st.text("uwxyz", min_size=1, max_size=6).map(" ".join), max_size=6),
    order=st.integers(1, 4),
)
def test_a_model_without_smoothing(
    text: list[str], others: list[str], order: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Zero is written -99 and read as zero: every sentence keeps its probability, every known context its words."""
    path = tmp_path_factory.getbasetemp() / "unsmoothed.arpa"
    vocabulary = Vocabulary(["x", "y", "z", "w"])
    model = NGramLM(vocabulary, order=order, smoothing="none").fit(
        Corpus.encode([*text, " ".join("x" * 9)], vocabulary)
    )
    model.write_arpa(path)
    assert "inf" not in path.read_text()
    read = NGramLM.read_arpa(path)
    for line in (*text, *others):
        assert read.score(line).log_prob == model.score(line).log_prob
    state, other = model.start(), read.start()
    for word in text[0].split():
        assert read.log_probs(other).tobytes() == model.log_probs(state).tobytes()
        state, other = model.advance(state, word), read.advance(other, word)


def test_without_smoothing_an_unknown_context_is_the_shorter_one(tmp_path: Path) -> None:
    vocabulary = Vocabulary(["a", "b"])
    model = NGramLM(vocabulary, order=2, smoothing="none").fit(Corpus.encode(["a a", "a"], vocabulary))
    model.write_arpa(tmp_path / "model.arpa")
    text = (tmp_path / "model.arpa").read_text()
    assert "\n-99\tb\t0\n" in text and "\ta\t-99\n" in text  # never seen; seen, but before nothing else
    read = NGramLM.read_arpa(tmp_path / "model.arpa")
    assert [read.score(line).log_prob for line in ("b", "a b")] == [-math.inf] * 2
    assert read.predict("b", k=1)[0].probability == pytest.approx(0.6)  # three of five words are a


@given(data=st.data())
def test_damaged_files_never_crash(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.arpa"
    damaged = bytearray(ARPA.encode())
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        damaged[place : place + data.draw(st.integers(0, 3))] = data.draw(
            st.sampled_from([b"", b"9", b"\n", b" ", b"a"])
        )
    path.write_bytes(damaged)
    try:
        model = NGramLM.read_arpa(path)
    except DataError as error:
        assert "damaged.arpa" in str(error)
    else:
        assert not math.isnan(model.score("a b c").log_prob)
