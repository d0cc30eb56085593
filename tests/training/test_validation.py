import doctest

import pytest

from fastlm import NNLM, Corpus, Vocabulary
from fastlm.nn.parallel import Workers
from fastlm.training import validation
from fastlm.training.history import Epoch, History
from fastlm.training.validation import beginning, guesses_better, seconds_a_token

VOCABULARY = Vocabulary([f"w{i}" for i in range(8)])
CORPUS = Corpus.from_ids([2, 3, 1, 0, 4, 5, 1] * 300, VOCABULARY)


@pytest.mark.parametrize("num_tokens", [1, 3, 4, 7, 2099])
def test_the_beginning_is_the_first_tokens(num_tokens: int) -> None:
    part = beginning(CORPUS, num_tokens)
    assert part.ids.tolist() == CORPUS.ids[:num_tokens].tolist()
    assert part.num_unknown == CORPUS.ids[:num_tokens].tolist().count(0)


@pytest.mark.parametrize("num_tokens", [None, 2100, 10_000])
def test_all_of_it_is_the_corpus_itself(num_tokens: int | None) -> None:
    assert beginning(CORPUS, num_tokens) is CORPUS


def test_a_part_is_no_copy_of_a_mapped_corpus(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("corpus") / "corpus"
    CORPUS.save(path)
    corpus = Corpus.open(path, VOCABULARY)
    assert beginning(corpus, 100).ids.base is not None
    assert beginning(corpus, 100).ids.ctypes.data == corpus.ids.ctypes.data


@pytest.mark.parametrize(("speed", "expected_tokens"), [(1e3, [256]), (2e3, [256, 1024]), (1e9, [256, 1024, 2100])])
def test_time_is_measured_on_as_little_as_shows_it(
    monkeypatch: pytest.MonkeyPatch, speed: float, expected_tokens: list[int]
) -> None:
    now, measured = [5.0], []

    def evaluate(model: NNLM, corpus: Corpus, **options: object) -> None:
        measured.append(corpus.num_tokens)
        now[0] += corpus.num_tokens / speed

    monkeypatch.setattr(validation, "evaluate", evaluate)
    monkeypatch.setattr(validation, "perf_counter", lambda: now[0])
    model = NNLM(VOCABULARY, context_size=2, embedding_dim=3, hidden_size=4)
    with Workers(1) as workers:
        assert seconds_a_token(model, CORPUS, workers) == pytest.approx(1 / speed)
    assert measured == expected_tokens


@pytest.mark.parametrize(("loss", "expected"), [(2.0, False), (2.29, False), (2.31, True), (None, False)])
def test_guessing_among_ten_words(loss: float | None, expected: bool) -> None:
    assert not guesses_better(History(), 10)
    assert guesses_better(History([Epoch(1, 10, 2.0, loss, 0.1, 100.0, 1.0, best=True)]), 10) == expected


def test_examples() -> None:
    results = doctest.testmod(validation)
    assert results.attempted > 0
    assert results.failed == 0
