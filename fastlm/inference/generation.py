"""What comes next: the likely words after a text, and text that the model makes up."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlm.inference.arguments import one_line, whole_number
from fastlm.inference.continuation import Generated, candidates, dead_end, most_likely, read_context
from fastlm.inference.evaluation import check_no_nan
from fastlm.inference.interface import Model
from fastlm.inference.sampling import Draws, next_token_distribution

__all__ = ["Generated", "Prediction", "generate", "next_log_probs", "next_token_distribution", "predict", "sample"]


class Prediction(NamedTuple):
    """A possible next word and its probability."""

    word: str
    probability: float


def next_log_probs(model: Model, text: str) -> NDArray[np.floating[Any]]:
    """Return the log-probability of every next word after a text.

    Parameters
    ----------
    model
        Any language model.
    text
        The beginning of a line, all of it used as context; "" for the beginning of a sentence.

    Returns
    -------
    NDArray
        Natural log-probabilities by id, shape (V,); `<unk>` and `</s>` are among them.

    Examples
    --------
    >>> import fastlm
    >>> vocabulary = fastlm.Vocabulary(["the", "cat", "sat", "on", "mat"])
    >>> model = fastlm.NNLM(vocabulary, context_size=2, embedding_dim=4, hidden_size=8, seed=1)
    >>> log_probs = next_log_probs(model, "the cat")
    >>> log_probs.shape, bool(log_probs[vocabulary["sat"]] < 0)
    ((7,), True)
    """
    log_probs = model.log_probs(read_context(model, one_line(text)))
    check_no_nan(log_probs)
    return log_probs


def predict(model: Model, text: str, k: int = 10, unknown: bool = False) -> list[Prediction]:
    """Return the most likely next words after a text.

    Parameters
    ----------
    model
        Any language model.
    text
        The beginning of a line, all of it used as context; "" for the beginning of a sentence.
    k
        How many words; all of them if the vocabulary has fewer.
    unknown
        Let `<unk>` be among them.

    Returns
    -------
    list of Prediction
        Words with their probabilities, the most likely first; `</s>` stands for the end of the sentence. The
        probabilities are the model's own: those of all words, `<unk>` included, sum to one.

    Raises
    ------
    ValueError
        If `k` is no positive number, or the text has several lines.
    FastLMError
        If no word that may follow has a probability.

    Examples
    --------
    >>> import fastlm
    >>> vocabulary = fastlm.Vocabulary(["the", "cat", "sat", "on", "mat"])
    >>> model = fastlm.NNLM(vocabulary, context_size=2, embedding_dim=4, hidden_size=8, seed=1)
    >>> likely, second = predict(model, "the cat", k=2)
    >>> likely.word in vocabulary, likely.probability >= second.probability
    (True, True)
    """
    k = whole_number("k", k, minimum=1)
    log_probs = next_log_probs(model, text)
    allowed = candidates(model, log_probs, unknown)
    best = most_likely(allowed, min(k, int(np.count_nonzero(allowed > -np.inf))))
    if not len(best):
        raise dead_end(model, log_probs)
    return [Prediction(model.vocabulary.word(int(id)), math.exp(allowed[id])) for id in best]


def generate(
    model: Model,
    prompt: str = "",
    *,
    max_tokens: int = 100,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | np.random.Generator | None = None,
    unknown: bool = False,
    stop_at_end: bool = True,
    stop: Sequence[str] = (),
) -> str:
    r"""Continue a prompt with words drawn from the model.

    Parameters
    ----------
    model
        Any language model.
    prompt
        The beginning of a line, all of it used as context; "" to begin a sentence.
    max_tokens
        Draw at most so many tokens.
    temperature
        Log-probabilities are divided by it: below 1 the likely words become likelier. 0 always takes the most
        likely word.
    top_k
        Draw from the so many most likely words only.
    top_p
        Draw from the fewest likeliest words only that have so much of the probability together (nucleus sampling,
        Holtzman et al. 2020); after `temperature` and `top_k`.
    seed
        The same seed gives the same text. None draws anew each time. A NumPy generator is used, and moved on.
    unknown
        Let `<unk>` be drawn.
    stop_at_end
        Stop where the model ends the sentence. Otherwise it goes on, and each further sentence stands on a line of
        its own; in sentence context every sentence starts afresh.
    stop
        Words of the vocabulary at which the text ends, too; they are not in it.

    Returns
    -------
    str
        The prompt and its continuation, as the model's tokenizer puts text together.

    Raises
    ------
    ValueError
        If an argument is out of its range, or the prompt has several lines.
    FastLMError
        If no word that may follow the prompt has a probability. Where that is so later on, the text is cut off.

    Examples
    --------
    >>> import fastlm
    >>> vocabulary = fastlm.Vocabulary(["the", "cat", "sat", "on", "mat"])
    >>> model = fastlm.NNLM(vocabulary, context_size=2, embedding_dim=4, hidden_size=8, seed=1)
    >>> text = generate(model, "the cat", max_tokens=20, temperature=0.8, seed=1)
    >>> text.startswith("the cat"), text == generate(model, "the cat", max_tokens=20, temperature=0.8, seed=1)
    (True, True)
    """
    random = seed if isinstance(seed, np.random.Generator) else _random_generator(seed)
    draws = Draws(
        model, prompt, max_tokens=max_tokens, temperature=temperature, top_k=top_k, top_p=top_p, unknown=unknown,
        stop_at_end=stop_at_end, stop=stop,
    )  # fmt: skip
    return draws.run([random])[0].text


def sample(
    model: Model,
    prompt: str = "",
    num_samples: int = 1,
    *,
    max_tokens: int = 100,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    unknown: bool = False,
    stop_at_end: bool = True,
    stop: Sequence[str] = (),
) -> list[Generated]:
    """Continue a prompt many times over, all in one batch, and say how likely each text is.

    Parameters
    ----------
    model
        Any language model.
    prompt
        As for `generate`.
    num_samples
        How many texts. The first is what `generate` gives with this seed, and each is the same however many follow.
    max_tokens, temperature, top_k, top_p, seed, unknown, stop_at_end, stop
        As for `generate`.

    Returns
    -------
    list of Generated

    Raises
    ------
    ValueError
        If an argument is out of its range, the prompt has several lines, or a stop word is not in the vocabulary.
    FastLMError
        As for `generate`.

    Examples
    --------
    >>> import fastlm
    >>> vocabulary = fastlm.Vocabulary(["the", "cat", "sat", "on", "mat"])
    >>> model = fastlm.NNLM(vocabulary, context_size=2, embedding_dim=4, hidden_size=8, seed=1)
    >>> texts = sample(model, "the cat", 3, max_tokens=20, seed=1)
    >>> texts[0].text == generate(model, "the cat", max_tokens=20, seed=1), texts[0].log_prob < 0
    (True, True)
    """
    num_samples = whole_number("num_samples", num_samples, minimum=1)
    draws = Draws(
        model, prompt, max_tokens=max_tokens, temperature=temperature, top_k=top_k, top_p=top_p, unknown=unknown,
        stop_at_end=stop_at_end, stop=stop,
    )  # fmt: skip
    sequence = np.random.SeedSequence(seed if seed is None else whole_number("seed", seed, minimum=0))
    others = [np.random.SeedSequence(sequence.entropy, spawn_key=(number,)) for number in range(1, num_samples)]
    return draws.run([np.random.Generator(np.random.PCG64(one)) for one in (sequence, *others)])


def _random_generator(seed: int | None) -> np.random.Generator:
    if seed is not None:
        seed = whole_number("seed", seed, minimum=0)
    return np.random.Generator(np.random.PCG64(seed))
