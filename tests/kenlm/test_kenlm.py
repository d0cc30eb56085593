"""KenLM's own numbers for KenLM's own text: estimated here, and read from the ARPA file that it wrote.

The text is the first 6,000 lines of the Shakespeare sample, empty lines not counted. order3.arpa.xz is what lmplz
(interpolated modified Kneser-Ney, unpruned) makes of it; shakespeare_scores.tsv holds what KenLM says of the 200 lines
that follow: log10-probability with </s>, at orders 3 and 5, and the number of unknown words. The file of order 5 is too
large to lie here; with `pytest --kenlm FOLDER` it is read from there, as order5.arpa.xz.
"""

import gzip
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from fastlm import Corpus, NGramLM, Vocabulary
from fastlm.data import sample_text

HERE = Path(__file__).parent
NUM_TRAIN, NUM_SCORED = 6000, 200
ORDERS = (3, 5)


class Arpa(NamedTuple):
    """A file that KenLM wrote, and its order."""

    path: Path
    order: int


@pytest.fixture(scope="module")
def lines() -> list[str]:
    with gzip.open(sample_text("shakespeare"), "rt", encoding="utf-8") as sample:
        return [line.rstrip("\n") for line in sample if line.strip()][: NUM_TRAIN + NUM_SCORED]


@pytest.fixture(scope="module", params=ORDERS)
def arpa(request: pytest.FixtureRequest) -> Arpa:
    order = request.param
    folder = HERE if order == 3 else request.config.getoption("--kenlm")
    if folder is None:
        pytest.skip(f"KenLM's {order}-grams are not at hand: name their folder by --kenlm")
    return Arpa(Path(folder) / f"order{order}.arpa.xz", order)


def fit(text: list[str], order: int, vocabulary: Vocabulary | None = None) -> NGramLM:
    vocabulary = vocabulary or Vocabulary.build(text)
    return NGramLM(vocabulary, order=order).fit(Corpus.encode(text, vocabulary))


def assert_scores_are_kenlms(model: NGramLM, lines: list[str]) -> None:
    scores = [model.score(line) for line in lines[NUM_TRAIN:]]
    *expected, num_unknown = np.loadtxt(HERE / "shakespeare_scores.tsv", skiprows=1).T
    log10_probs = [score.log_prob / math.log(10) for score in scores]
    np.testing.assert_allclose(log10_probs, expected[ORDERS.index(model.config["order"])], atol=1e-4)
    assert [score.num_unknown for score in scores] == num_unknown.tolist()


@pytest.mark.parametrize("order", ORDERS)
def test_an_estimated_model_gives_kenlms_scores(lines: list[str], order: int) -> None:
    assert_scores_are_kenlms(fit(lines[:NUM_TRAIN], order), lines)


def test_kenlms_file_gives_kenlms_scores(lines: list[str], arpa: Arpa) -> None:
    assert_scores_are_kenlms(NGramLM.read_arpa(arpa.path), lines)


def test_what_is_estimated_is_what_kenlm_estimates(lines: list[str], arpa: Arpa) -> None:
    read = NGramLM.read_arpa(arpa.path)
    model = fit(lines[:NUM_TRAIN], arpa.order, read.vocabulary)
    assert model.info["training"]["num_ngrams"] == read.info["training"]["num_ngrams"]
    for name, array in model.parameters.items():
        if array.dtype == np.float32:
            words = slice(-1) if name == "order1.log10_probs" else slice(None)  # <s> is never predicted
            np.testing.assert_allclose(array[words], read.parameters[name][words], atol=2e-6)
        else:
            np.testing.assert_array_equal(array, read.parameters[name])


@pytest.mark.parametrize(("order", "with_unknown", "without"), [(3, 355.58, 186.40), (5, 354.54, 185.87)])
def test_perplexity_is_that_of_kenlm(lines: list[str], order: int, with_unknown: float, without: float) -> None:
    model = fit(lines[:NUM_TRAIN], order)
    report = model.evaluate(Corpus.encode(lines[NUM_TRAIN:], model.vocabulary))
    assert report.perplexity == pytest.approx(with_unknown, abs=0.005)
    assert report.perplexity_without_unknown == pytest.approx(without, abs=0.005)
