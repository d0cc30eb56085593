"""The oracle of n-gram models is held to figures worked out by hand, and to what all distributions must do."""

from fractions import Fraction

import pytest
from reference_ngram import NGramOracle

TEXT = [line.split() for line in ("a b a", "a b", "b", "a b a c")]
WORDS = ["<unk>", "</s>", "a", "b", "c"]


def test_counts_and_left_words() -> None:
    oracle = NGramOracle(TEXT, WORDS, order=2)
    assert oracle.counts["a", "b"] == 3
    assert oracle.adjusted["a", "b"] == 3  # the highest order keeps its counts
    assert oracle.adjusted["a",] == 2  # behind <s> and b
    assert oracle.adjusted["b",] == 2  # behind <s> and a
    assert oracle.adjusted["</s>",] == 3  # behind a, b and c
    assert NGramOracle(TEXT, WORDS, order=3).adjusted["<s>", "a"] == 3  # nothing stands in front of <s>


def test_kneser_ney_by_hand() -> None:
    oracle = NGramOracle(TEXT, WORDS, order=2)
    assert oracle.discounts[1] == pytest.approx((0, 0.2, 1.7, 3))
    assert oracle.discounts[2] == pytest.approx((0, 0.5, 0.5, 3))
    # Words: a 2, b 2, </s> 3, c 1, of 8 different pairs; taken off are 1.7 + 1.7 + 3 + 0.2 = 6.6, for five words.
    b = Fraction("0.3") / 8 + Fraction("6.6") / 8 / 5
    assert oracle.kneser_ney("b", ()) == pytest.approx(float(b))
    assert oracle.kneser_ney("<unk>", ()) == pytest.approx(6.6 / 8 / 5)
    # Behind a: b 3, c 1, </s> 1; taken off are 3 + 0.5 + 0.5.
    assert oracle.kneser_ney("b", ("a",)) == pytest.approx(float(Fraction(0, 5) + Fraction(4, 5) * b))
    assert oracle.kneser_ney("b", ("c", "a")) == oracle.kneser_ney("b", ("a",))
    assert oracle.kneser_ney("b", ("<unk>",)) == oracle.kneser_ney("b", ())


def test_discounts_that_cannot_be_estimated() -> None:
    oracle = NGramOracle([["a"]], WORDS, order=2, discounts=(0.5, 1.0, 1.5))
    assert oracle.discounts == {1: (0, 0.5, 1, 1.5), 2: (0, 0.5, 1, 1.5)}
    assert oracle.kneser_ney("a", ("<s>",)) == pytest.approx(0.5 + 0.5 * (0.5 / 2 + 0.5 / 5))


def test_maximum_likelihood_by_hand() -> None:
    oracle = NGramOracle(TEXT, WORDS, order=2)
    assert oracle.maximum_likelihood("b", ("a",)) == 3 / 5
    assert oracle.maximum_likelihood("a", ("a",)) == 0
    assert oracle.maximum_likelihood("a", ("<unk>",)) == 0
    assert oracle.maximum_likelihood("a", ()) == 5 / 14  # the order is 2, but the context may be shorter


def test_discounts_by_hand() -> None:
    counts = {1: 4, 2: 3, 3: 2, 4: 1}
    text = [[f"w{count}{i}"] * 1 for count, number in counts.items() for i in range(number) for _ in range(count)]
    oracle = NGramOracle(text, ["</s>", *{word for line in text for word in line}], order=1)
    y = 4 / (4 + 2 * 3)
    assert oracle.discounts[1][1:] == pytest.approx((1 - 2 * y * 3 / 4, 2 - 3 * y * 2 / 3, 3 - 4 * y * 1 / 2))


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("context", [(), ("<s>",), ("<s>", "a"), ("a", "b"), ("c", "c", "c"), ("<unk>", "a")])
def test_distributions_sum_to_one(order: int, context: tuple[str, ...]) -> None:
    oracle = NGramOracle(TEXT, WORDS, order)
    assert sum(oracle.kneser_ney(word, context) for word in WORDS) == pytest.approx(1)
    total = sum(oracle.maximum_likelihood(word, context) for word in WORDS)
    assert total == pytest.approx(1) or total == 0
