"""What comes next: the likely words after a text, and text that the model makes up."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlm.errors import FastLMError
from fastlm.inference.arguments import one_line, real_number, whole_number
from fastlm.inference.evaluation import check_no_nan
from fastlm.inference.interface import Model, State

__all__ = ["Prediction", "generate", "next_log_probs", "next_token_distribution", "predict"]


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
    log_probs = model.log_probs(_read_context(model, one_line(text)))
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
    log_probs = _candidates(model, next_log_probs(model, text), unknown)
    best = _most_likely(log_probs, min(k, int(np.count_nonzero(log_probs > -np.inf))))
    return [Prediction(model.vocabulary.word(int(id)), math.exp(log_probs[id])) for id in best]


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

    Returns
    -------
    str
        The prompt and its continuation, as the model's tokenizer puts text together.

    Raises
    ------
    ValueError
        If an argument is out of its range, or the prompt has several lines.

    Examples
    --------
    >>> import fastlm
    >>> vocabulary = fastlm.Vocabulary(["the", "cat", "sat", "on", "mat"])
    >>> model = fastlm.NNLM(vocabulary, context_size=2, embedding_dim=4, hidden_size=8, seed=1)
    >>> text = generate(model, "the cat", max_tokens=20, temperature=0.8, seed=1)
    >>> text.startswith("the cat"), text == generate(model, "the cat", max_tokens=20, temperature=0.8, seed=1)
    (True, True)
    """
    max_tokens = whole_number("max_tokens", max_tokens, minimum=1)
    _check_sampling(temperature, top_k, top_p)
    random = seed if isinstance(seed, np.random.Generator) else _random_generator(seed)
    vocabulary = model.vocabulary
    prompt = one_line(prompt)
    sentences = [list(vocabulary.tokenizer.tokenize(prompt))]
    state = _read_context(model, prompt)
    for _ in range(max_tokens):
        log_probs = _candidates(model, model.log_probs(state), unknown)
        ids, probabilities = next_token_distribution(log_probs, temperature, top_k, top_p)
        id = int(ids[_draw(probabilities, random)])
        if id != vocabulary.end_id:
            sentences[-1].append(vocabulary.word(id))
        elif stop_at_end:
            break
        else:
            sentences.append([])
        restart = id == vocabulary.end_id and model.context == "sentence"
        state = model.start() if restart else model.advance(state, id)
    return "\n".join(vocabulary.tokenizer.detokenize(words) for words in sentences)


def next_token_distribution(
    log_probs: NDArray[np.floating[Any]],
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the distribution that `generate` draws the next token from.

    Parameters
    ----------
    log_probs
        Log-probabilities by id, shape (V,); -inf excludes a token. They need not be normalised.
    temperature, top_k, top_p
        As for `generate`, in this order.

    Returns
    -------
    tuple
        The ids that are left and their probabilities, which sum to one. With `top_k` or `top_p` the most likely
        comes first; of equals, the lower id.

    Examples
    --------
    >>> ids, probabilities = next_token_distribution(np.log([0.1, 0.6, 0.3]), top_k=2)
    >>> ids.tolist(), probabilities.round(3).tolist()
    ([1, 2], [0.667, 0.333])
    """
    logits = np.asarray(log_probs, dtype=np.float64)
    if temperature == 0:
        return np.array([np.argmax(logits)], dtype=np.intp), np.ones(1)
    limit = len(logits) if top_k is None else min(top_k, len(logits))
    sort = top_k is not None or top_p is not None
    ids = _most_likely(logits, limit) if sort else np.arange(len(logits))
    with np.errstate(over="ignore"):  # a very low temperature: -inf is right
        weights = np.exp((logits[ids] - logits.max()) / temperature)
    probabilities = weights / weights.sum()
    if top_p is not None:
        # The token that reaches top_p is the last one in; rounding must not push it out of a sum of 1.
        kept = int(np.searchsorted(np.cumsum(probabilities), top_p)) + 1
        ids, probabilities = ids[:kept], probabilities[:kept] / probabilities[:kept].sum()
    return ids, probabilities


def _read_context(model: Model, text: str) -> State:
    state = model.start()
    for id in model.vocabulary.encode(text).tolist():
        state = model.advance(state, id)
    return state


def _candidates(model: Model, log_probs: NDArray[np.floating[Any]], unknown: bool) -> NDArray[np.float64]:
    """Return a copy of the log-probabilities, with `<unk>` excluded unless it is wanted."""
    candidates = np.array(log_probs, dtype=np.float64)
    if not unknown:
        candidates[model.vocabulary.unknown_id] = -np.inf
    if not np.isfinite(candidates.max()):
        raise FastLMError(
            "the model gives no word a probability: an n-gram model without smoothing has never seen these words "
            "together; of any other model the parameters are not finite, and it must be trained again"
        )
    return candidates


def _most_likely(log_probs: NDArray[np.float64], k: int) -> NDArray[np.intp]:
    """Return the ids of the k greatest, in falling order; of equals the lower id first."""
    if k < len(log_probs):
        threshold = np.partition(log_probs, -k)[-k]
        above = np.flatnonzero(log_probs > threshold)
        ids = np.sort(np.concatenate([above, np.flatnonzero(log_probs == threshold)[: k - len(above)]]))
    else:
        ids = np.arange(len(log_probs))
    return ids[np.argsort(-log_probs[ids], kind="stable")]


def _draw(probabilities: NDArray[np.float64], random: np.random.Generator) -> int:
    sums = np.cumsum(probabilities)
    last = np.searchsorted(sums, sums[-1])  # the last token with a probability; rounding must not lead beyond it
    return int(min(np.searchsorted(sums, random.random() * sums[-1], side="right"), last))


def _check_sampling(temperature: float, top_k: int | None, top_p: float | None) -> None:
    if real_number("temperature", temperature) < 0:
        raise ValueError(f"temperature must be at least 0, got {temperature!r}")
    if top_k is not None:
        whole_number("top_k", top_k, minimum=1)
    if top_p is not None and not 0 < real_number("top_p", top_p) <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1, got {top_p!r}")


def _random_generator(seed: int | None) -> np.random.Generator:
    if seed is not None:
        seed = whole_number("seed", seed, minimum=0)
    return np.random.Generator(np.random.PCG64(seed))
