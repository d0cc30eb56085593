"""A trigram model in float64 NumPy with the interface of every model, slow and plain: all figures can be worked out."""

from typing import NamedTuple

import numpy as np

from fastlm.inference import evaluation, measures, rescoring
from fastlm.text.vocabulary import Vocabulary

WORDS = ["the", "cat", "sat", "on", "mat", "고양이", "나는"]


class State(NamedTuple):
    before_last: int
    last: int


class TinyModel:
    """P(x | a, b) = softmax(near[b] + far[a])[x], for a text that goes on with a, b, x."""

    architecture = "tiny"
    self_normalised = False
    adapts = False
    context_length = 2

    def __init__(self, context="sentence", *, words=WORDS, tokenizer="whitespace", seed=0):
        random = np.random.default_rng(seed)
        self.vocabulary = Vocabulary(words, tokenizer=tokenizer)
        self.context = context
        self.carries_state = context == "continuous"
        num_words = len(self.vocabulary)
        self.near = random.normal(size=(num_words + 1, num_words))
        self.far = random.normal(size=(num_words + 1, num_words))
        self.embeddings = random.normal(size=(num_words + 1, 5)).astype(np.float32)
        self.parameters = {"near": self.near, "far": self.far}
        self.config = {"context": context, "width": float("nan")}
        self.info = {"epochs": 3, "valid_perplexity": float("inf")}
        self.calls = []  # the number of tokens in each call of token_log_probs and score_ids

    def start(self):
        beginning = self.vocabulary.start_id if self.context == "sentence" else self.vocabulary.end_id
        return State(beginning, beginning)

    def advance(self, state, id):
        if isinstance(state, list):
            return [self.advance(one, int(id)) for one, id in zip(state, id, strict=True)]
        return State(state.last, id)

    def log_prob(self, state, id):
        if isinstance(state, list):
            return np.array([self.log_prob(one, id) for one, id in zip(state, id, strict=True)])
        return self.log_probs(state)[id]

    def log_probs(self, state):
        if isinstance(state, list):
            return np.array([self.log_probs(one) for one in state])
        logits = self.near[state.last] + self.far[state.before_last]
        return logits - np.log(np.exp(logits).sum())

    def score_ids(self, state, ids, *, workers=None):
        self.calls.append(len(ids))
        scores = []
        for id in ids.tolist():
            scores.append(self.log_probs(state)[id])
            state = self.advance(state, id)
        return np.array(scores), state

    def log_probs_along(self, state, ids, *, workers=None):
        return measures.log_probs_along(self, state, ids)

    def tree_log_probs(self, parents, ids):
        return rescoring.tree_log_probs(self, parents, ids)

    def token_log_probs(self, corpus, *, num_streams=1, workers=None, progress=None):
        self.calls.append(len(corpus.ids))
        ids = corpus.ids.tolist()
        begins = {round(part * len(ids) / num_streams) for part in range(num_streams)}
        scores = []
        state = self.start()
        for position, id in enumerate(ids):
            if position > 0 and self.context == "continuous" and position in begins:
                state = self.advance(self.start(), ids[position - 1])
            scores.append(self.log_probs(state)[id])
            ended = self.context == "sentence" and id == self.vocabulary.end_id
            state = self.start() if ended else self.advance(state, id)
        if progress:
            progress(len(ids))
        return np.array(scores)

    def log_prob_blocks(self, corpus, *, num_streams=1, workers=None):
        log_probs = self.token_log_probs(corpus, num_streams=num_streams, workers=workers)
        for parity in (1, 0):  # in another order than that of the text
            yield np.arange(parity, len(log_probs), 2), log_probs[parity::2]

    def evaluate(self, corpus, *, num_streams=16, threads=None, progress=False, normalised=True):
        return evaluation.evaluate(
            self, corpus, num_streams=num_streams, progress=progress, normalised=normalised, measure_norms=True
        )

    def text_log_probs(self, lines):
        """Score lines of words by the definition, as an oracle for what goes through ids and batches."""
        scores, beginning = [], "<s>" if self.context == "sentence" else "</s>"
        history = [beginning, beginning]
        ids = {word: id for id, word in enumerate([*self.vocabulary.words, "<s>"])}
        for line in lines:
            if self.context == "sentence":
                history = [beginning, beginning]
            for word in [*line.split(), "</s>"] if line.split() else []:
                before_last, last = (ids.get(past, 0) for past in history[-2:])
                scores.append(self.log_probs(State(before_last, last))[ids.get(word, 0)])
                history.append(word)
        return np.array(scores)
