"""The oracle of n-gram models: counts in dicts and the formulas of Chen & Goodman (1998), word by word in float64."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

Word = Hashable
NGram = tuple[Word, ...]
START, END = "<s>", "</s>"


class NGramOracle:
    """An n-gram model of sentences, which are lists of words without `<s>` and `</s>`.

    Parameters
    ----------
    sentences
        The training text.
    vocabulary
        All words that can be predicted, `</s>` among them.
    order
        n.
    discounts
        For an order whose discounts cannot be estimated: D1, D2 and D3+.
    """

    def __init__(
        self,
        sentences: Iterable[Sequence[Word]],
        vocabulary: Sequence[Word],
        order: int,
        discounts: tuple[float, float, float] = (0.5, 1.0, 1.5),
    ) -> None:
        self.vocabulary = list(vocabulary)
        self.order = order
        self.counts: Counter[NGram] = Counter()
        for sentence in sentences:
            padded = (START, *sentence, END)
            for n in range(1, order + 1):
                self.counts.update(padded[i : i + n] for i in range(len(padded) - n + 1))
        del self.counts[(START,)]  # never predicted
        self.adjusted = {ngram: self._adjust(ngram) for ngram in self.counts}
        self.discounts = {n: self._discounts(n) or (0.0, *discounts) for n in range(1, order + 1)}

    def _adjust(self, ngram: NGram) -> int:
        """Kneser-Ney's count below the highest order: the number of different words in front, if there can be one."""
        if len(ngram) == self.order or ngram[0] == START:
            return self.counts[ngram]
        return len({longer[0] for longer in self.counts if len(longer) == len(ngram) + 1 and longer[1:] == ngram})

    def _discounts(self, n: int) -> tuple[float, ...] | None:
        found = [count for ngram, count in self.adjusted.items() if len(ngram) == n]
        n1, n2, n3, n4 = (found.count(k) for k in (1, 2, 3, 4))
        if 0 in (n1, n2, n3):
            return None
        y = n1 / (n1 + 2 * n2)
        discounts = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
        return (0.0, *discounts) if min(discounts) > 0 else None

    def kneser_ney(self, word: Word, context: NGram) -> float:
        """P(word | context), interpolated modified Kneser-Ney; `context` begins with `<s>` or is long enough."""
        context = context[max(0, len(context) - self.order + 1) :]
        lower = self.kneser_ney(word, context[1:]) if context else 1 / len(self.vocabulary)
        counts = {w: self.adjusted.get((*context, w), 0) for w in self.vocabulary}
        total = sum(counts.values())
        if total == 0:
            return lower
        discount = {w: self.discounts[len(context) + 1][min(count, 3)] for w, count in counts.items()}
        gamma = sum(discount.values()) / total
        return (counts[word] - discount[word]) / total + gamma * lower

    def maximum_likelihood(self, word: Word, context: NGram) -> float:
        """P(word | context) = c(context word) / c(context), zero for what was never seen."""
        context = context[max(0, len(context) - self.order + 1) :]
        total = sum(self.counts[(*context, w)] for w in self.vocabulary)
        return self.counts[(*context, word)] / total if total else 0.0
