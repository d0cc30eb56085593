"""N-best lists as Moses and Kaldi write them: the hypotheses of each utterance, with what a decoder thinks of them.

Moses: a line a hypothesis, fields between ` ||| `: the number of the sentence, the words, the features' values as
`Name= value ...`, the total, and perhaps more (alignments). Kaldi: a line a hypothesis, `UTTERANCE-NUMBER words`, as
`nbest-to-linear` writes them with `int2sym.pl`; costs, negative log-probabilities, lie in a file of their own, with
`UTTERANCE-NUMBER cost` a line in the same order. The hypotheses of one utterance follow each other in both.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby, zip_longest
from typing import Self, TypeVar

from fastlm.errors import LineError

__all__ = ["SEPARATOR", "KaldiHypothesis", "MosesHypothesis", "read_kaldi", "read_moses"]

SEPARATOR = "|||"


@dataclass(frozen=True)
class MosesHypothesis:
    """A line of a Moses list.

    Attributes
    ----------
    utterance : str
        The number of the sentence.
    text : str
    features : str
        Names and values, as they stand there.
    total : float or None
        The weighted sum, if there is one.
    rest : tuple of str
        What else there is.
    given_total : str or None
        The sum as it stands in the list, where nothing was added to it: it is written as it was read.
    """

    utterance: str
    text: str
    features: str
    total: float | None
    rest: tuple[str, ...] = ()
    given_total: str | None = field(default=None, compare=False)

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read a line, or raise a ValueError that says what is wrong with it."""
        fields = [field.strip() for field in line.split(SEPARATOR)]
        if len(fields) < 3:
            raise ValueError(
                f"{len(fields)} fields, expected 3 or more with ||| between: number ||| words ||| features ||| total"
            )
        given = fields[3] if len(fields) > 3 else None
        total = None if given is None else _number(given)
        return cls(fields[0], fields[1], fields[2], total, tuple(fields[4:]), given)

    def rescored(self, log_prob: float, feature: str, weight: float | None = None) -> Self:
        """Return it with one more feature, and with `weight` times that in its total if a weight is given."""
        if f"{feature}=" in self.features.split():
            raise ValueError(f"sentence {self.utterance} has a feature {feature!r} already; name another, by --feature")
        features = f"{self.features} {feature}= {log_prob:.6f}".lstrip()
        if weight is None:
            return replace(self, features=features)
        if self.total is None:
            raise ValueError(f"sentence {self.utterance} has no total to add to; leave out the weight")
        if weight == 0:  # also of a log-probability of -inf: nothing is added
            return replace(self, features=features)
        return replace(self, features=features, total=self.total + weight * log_prob, given_total=None)

    def __str__(self) -> str:
        total = () if self.total is None else (self.given_total or f"{self.total:.6f}",)
        return f" {SEPARATOR} ".join((self.utterance, self.text, self.features, *total, *self.rest))


@dataclass(frozen=True)
class KaldiHypothesis:
    """A line of a Kaldi list.

    Attributes
    ----------
    key : str
        The utterance and the number of the hypothesis.
    text : str
    cost : float or None
        What it costs so far, if that is known.
    """

    key: str
    text: str
    cost: float | None = None

    @property
    def utterance(self) -> str:
        """The key without the number."""
        return self.key.rpartition("-")[0]

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read a line, or raise a ValueError that says what is wrong with it."""
        key, _, text = line.replace("\t", " ").strip().partition(" ")
        utterance, _, number = key.rpartition("-")
        if not (utterance and number.isdecimal()):
            raise ValueError(f"the key is {key!r}, expected UTTERANCE-NUMBER, as lattice-to-nbest makes them")
        return cls(key, text.strip())

    def rescored(self, log_prob: float, feature: str, weight: float | None = None) -> Self:
        """Return it with its cost by the model, or, if a weight is given, `weight` times that on top of the given."""
        if weight is None:
            return replace(self, cost=-log_prob)
        if self.cost is None:
            raise ValueError(f"{self.key} has no cost to add to; give those of the decoder, or leave out the weight")
        return self if weight == 0 else replace(self, cost=self.cost - weight * log_prob)

    def __str__(self) -> str:
        return f"{self.key} {self.cost:z.6f}"


H = TypeVar("H", MosesHypothesis, KaldiHypothesis)


def read_moses(lines: Iterable[str], name: str = "text") -> Iterator[list[MosesHypothesis]]:
    """Read Moses' lists, one utterance after the other.

    Parameters
    ----------
    lines : iterable of str
    name : str
        The file's, for errors.

    Raises
    ------
    LineError
        If a line is not of the format.

    Examples
    --------
    >>> lines = ["0 ||| the cat ||| LM= -9.5 ||| -3.2", "0 ||| the cats ||| LM= -9.1 ||| -3.4"]
    >>> best, second = next(read_moses(lines))
    >>> best.text, best.total
    ('the cat', -3.2)
    >>> print(second.rescored(-4.0, "FastLM", weight=0.5))
    0 ||| the cats ||| LM= -9.1 FastLM= -4.000000 ||| -5.400000
    """
    hypotheses = (_parsed(MosesHypothesis, line, number, name) for number, line in enumerate(lines, start=1))
    for _, group in groupby(hypotheses, key=lambda hypothesis: hypothesis.utterance):
        yield list(group)


def read_kaldi(
    lines: Iterable[str], name: str = "text", costs: Iterable[str] | None = None, costs_name: str = "costs"
) -> Iterator[list[KaldiHypothesis]]:
    """Read Kaldi's lists, one utterance after the other.

    Parameters
    ----------
    lines : iterable of str
    name : str
        The file's, for errors.
    costs : iterable of str, optional
        The lines of the file of costs, as many as there are hypotheses.
    costs_name : str

    Raises
    ------
    LineError
        If a line is not of the format, or the costs are not those of the hypotheses.

    Examples
    --------
    >>> best, second = next(read_kaldi(["u1-1 the cat", "u1-2 the cats"], costs=["u1-1 9.5", "u1-2 9.25"]))
    >>> second.utterance, second.text, second.cost
    ('u1', 'the cats', 9.25)
    >>> print(second.rescored(-4.0, "", weight=0.5))
    u1-2 11.250000
    """
    hypotheses: Iterator[KaldiHypothesis] = (
        _parsed(KaldiHypothesis, line, number, name) for number, line in enumerate(lines, start=1)
    )
    if costs is not None:
        hypotheses = _with_costs(hypotheses, costs, costs_name)
    for _, group in groupby(hypotheses, key=lambda hypothesis: hypothesis.utterance):
        yield list(group)


def _parsed(kind: type[H], line: str, number: int, name: str) -> H:
    try:
        return kind.parse(line)
    except ValueError as error:
        raise LineError(name, number, str(error)) from error


def _with_costs(hypotheses: Iterator[KaldiHypothesis], costs: Iterable[str], name: str) -> Iterator[KaldiHypothesis]:
    for number, (hypothesis, line) in enumerate(zip_longest(hypotheses, costs), start=1):
        if hypothesis is None or line is None:
            what = "more costs than hypotheses" if hypothesis is None else f"no cost of {hypothesis.key}"
            raise LineError(name, number, f"{what}; expected one for each, in the same order")
        key, _, cost = line.replace("\t", " ").strip().partition(" ")
        if key != hypothesis.key:
            raise LineError(name, number, f"the cost of {key}, expected that of {hypothesis.key}: in the same order")
        try:
            yield replace(hypothesis, cost=_number(cost))
        except ValueError as error:
            raise LineError(name, number, str(error)) from error


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{text!r} where a score should stand, expected a finite number")
    return number
