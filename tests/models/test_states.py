"""What a decoder may rely on, whichever the model: states that never change, equal by their future, one or many."""

import copy
import dataclasses
import pickle
import threading
from collections.abc import Callable

import numpy as np
import pytest

from fastlm import Corpus, FrozenNNLM, Mixture, NGramLM, Vocabulary
from fastlm.inference.interface import State
from fastlm.inference.rescoring import tree_log_probs
from fastlm.models import NNLM, RNNLM, LanguageModel, NeuralModel

WORDS = ["the", "cat", "sat", "on", "mat", "고양이", "나는"]
VOCABULARY = Vocabulary(WORDS, np.arange(9, 0, -1))
V = len(VOCABULARY)
TEXT = [
    "the cat sat on the mat",
    "나는 고양이",
    "the mat sat",
    "on the cat the mat sat on the cat",
    "cat",
    "the cat sat on",
]
CORPUS = Corpus.encode(TEXT, VOCABULARY)


def network(kind: type[NeuralModel], **options: object) -> NeuralModel:
    """Make a model whose parameters are all large enough to matter."""
    model = kind(VOCABULARY, embedding_dim=5, hidden_size=7, **options)
    random = np.random.default_rng(7)
    for parameter in model.parameter_list:
        parameter.value += 0.7 * random.normal(size=parameter.value.shape).astype(model.dtype)
    return model


MODELS: dict[str, Callable[[str], LanguageModel]] = {
    "nnlm": lambda context: network(NNLM, context_size=3, context=context),
    "direct": lambda context: network(NNLM, context_size=2, direct=True, context=context),
    "rnnlm": lambda context: network(RNNLM, context=context),
    "lstm": lambda context: network(RNNLM, cell="lstm", num_layers=2, residual=True, context=context),
    "gru": lambda context: network(RNNLM, cell="gru", tied=True, context=context),
    "classes": lambda context: network(RNNLM, output="class", num_classes=3, context=context),
    "tails": lambda context: network(NNLM, context_size=2, output="adaptive", cutoffs=[4], context=context),
    "nce": lambda context: network(RNNLM, output="nce", num_samples=3, context=context),
    "ngram": lambda context: NGramLM(VOCABULARY, order=3).fit(CORPUS),
    "frozen": lambda context: FrozenNNLM.of(
        network(NNLM, context_size=3, self_normalising=0.1, context=context)
    ).exact(),
    "window": lambda context: network(NNLM, context_size=3, num_layers=2, context=context),
    "mixture": lambda context: Mixture([MODELS["rnnlm"](context), MODELS["ngram"]("sentence")], [0.4, 0.6]),
    "counts": lambda context: NGramLM(VOCABULARY, order=2, smoothing="none").fit(CORPUS),
}
ALL = [(name, context) for name in MODELS for context in ("sentence", "continuous")]
ALL = [pair for pair in ALL if pair not in {("ngram", "continuous"), ("counts", "continuous")}]


@pytest.fixture(params=ALL, ids="-".join)
def model(request: pytest.FixtureRequest) -> LanguageModel:
    name, context = request.param
    return MODELS[name](context)


def after(model: LanguageModel, words: str) -> State:
    state = model.start()
    for word in words.split():
        state = state.advance(word)
    return state


def contexts(model: LanguageModel) -> list[State]:
    """States after all beginnings of the text, sentence by sentence."""
    return [after(model, " ".join(line.split()[:n])) for line in TEXT for n in range(len(line.split()) + 1)]


def near(actual: object, expected: object) -> None:
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


# A state's own methods, and the model's


def test_steps_add_up_to_the_score_of_a_sentence(model: LanguageModel) -> None:
    for line in TEXT:
        state, total = model.start(), 0.0
        for word in [*line.split(), "</s>"]:
            total += state.log_prob(word)
            state = state.advance(word)
        assert total == pytest.approx(model.score(line).log_prob, abs=1e-5)


def test_a_states_methods_are_the_models(model: LanguageModel) -> None:
    state = after(model, "the cat")
    assert state.log_probs().tobytes() == model.log_probs(state).tobytes()
    assert state.log_prob("sat") == model.log_prob(state, "sat")
    assert state.advance("sat") == model.advance(state, "sat")
    assert model.advance(state, "sat").log_probs().tobytes() == state.advance("sat").log_probs().tobytes()


def test_one_word_is_one_of_all(model: LanguageModel) -> None:
    for state in contexts(model):
        assert np.exp(state.log_probs()).sum() == pytest.approx(1, abs=1e-5)
        near([state.log_prob(id) for id in range(V)], state.log_probs())


def test_words_are_as_good_as_ids(model: LanguageModel) -> None:
    state = after(model, "the")
    for id, word in enumerate(model.vocabulary.words):
        assert state.advance(word) == state.advance(id) == state.advance(np.int64(id))
        assert state.log_prob(word) == state.log_prob(id)


def test_a_word_that_is_not_known_is_the_unknown_word(model: LanguageModel) -> None:
    state = after(model, "the")
    assert state.advance("zebra") == state.advance("<unk>") == state.advance(0)
    assert state.log_prob("zebra") == state.log_prob("<unk>")
    assert state.advance("zebra").log_probs().tobytes() == state.advance(0).log_probs().tobytes()


def test_the_end_leads_back_to_the_start_in_sentence_context(model: LanguageModel) -> None:
    ended = after(model, "the cat </s>")
    again = model.advance([after(model, "the cat")], ["</s>"])[0]
    assert ended == again
    assert (ended == model.start()) == (model.context == "sentence")
    if model.context == "sentence":
        near(ended.log_probs(), model.start().log_probs())
        near(again.log_probs(), model.start().log_probs())


# Many at once


def test_a_batch_is_one_by_one(model: LanguageModel) -> None:
    states = contexts(model)
    ids = np.random.default_rng(1).integers(0, V, len(states))
    batch = model.advance(states, ids)
    assert batch == [state.advance(id) for state, id in zip(states, ids.tolist(), strict=True)]
    near(model.log_prob(states, ids), [state.log_prob(int(id)) for state, id in zip(states, ids, strict=True)])
    near(model.log_probs(states), [state.log_probs() for state in states])
    near(model.log_probs(batch), [state.advance(int(id)).log_probs() for state, id in zip(states, ids, strict=True)])
    assert model.log_prob(states, ids).dtype == np.float64


def test_a_batch_of_words(model: LanguageModel) -> None:
    states = [after(model, "the"), model.start(), after(model, "the cat sat on")]
    words = ["cat", "zebra", "</s>"]
    assert model.advance(states, words) == [state.advance(word) for state, word in zip(states, words, strict=True)]
    near(model.log_prob(tuple(states), words), [s.log_prob(w) for s, w in zip(states, words, strict=True)])
    assert model.advance(states, ["cat", 3, np.int32(4)]) == model.advance(states, ["cat", "cat", "sat"])


def test_a_batch_of_nothing(model: LanguageModel) -> None:
    assert model.advance([], []) == []
    assert model.log_prob([], []).shape == (0,)
    assert model.log_probs([]).shape == (0, V)


def test_a_row_of_a_batch_does_not_depend_on_the_others(model: LanguageModel) -> None:
    states = contexts(model)
    words = [3] * len(states)
    whole, part = model.advance(states, words), model.advance(states[5:9], words[5:9])
    assert model.log_prob(whole, words)[5:9].tobytes() == model.log_prob(part, words[5:9]).tobytes()


# Equal when the future is equal


def test_equal_states_have_one_hash_and_one_future(model: LanguageModel) -> None:
    states = contexts(model)
    for one in states:
        for other in states:
            if one == other:
                assert hash(one) == hash(other)
                near(one.log_probs(), other.log_probs())
                assert one.advance("mat") == other.advance("mat")
    assert len(set(states)) == len({state.key for state in states}) < len(states)  # each sentence has its beginning


def test_what_a_window_does_not_see_does_not_matter() -> None:
    model = MODELS["nnlm"]("sentence")
    assert after(model, "the cat sat on the") == after(model, "mat sat on the")
    assert after(model, "the cat sat on the") != after(model, "the cat sat mat the")


def test_what_no_ngram_begins_with_does_not_matter() -> None:
    model = MODELS["ngram"]("sentence")
    assert after(model, "mat mat 나는") == after(model, "cat 나는")
    assert after(model, "cat 나는").key == (VOCABULARY["나는"],)
    assert after(model, "sat on").key == (VOCABULARY["sat"], VOCABULARY["on"])


def test_every_word_matters_to_a_recurrent_model() -> None:
    for context in ("sentence", "continuous"):
        model = MODELS["rnnlm"](context)
        histories = ["", "the", "cat the", "the cat the", "the the", "<unk>", "<unk> <unk>", "the cat the </s> the"]
        states = {history: after(model, history) for history in histories}
        assert len(set(states.values())) == len(histories) - (context == "sentence")
        ids = [VOCABULARY[word] for word in histories[-1].split()]
        assert model.score_ids(model.start(), np.array(ids))[1] == states[histories[-1]]
        batch = model.start()
        for id in ids:
            batch = model.advance([batch], [id])[0]
        assert batch == states[histories[-1]]


def test_states_of_two_models_differ(model: LanguageModel) -> None:
    other = copy.deepcopy(model)
    assert after(model, "the cat") != after(other, "the cat")
    assert model.start() != "the"
    for call in (lambda state: model.advance(state, 3), lambda state: model.log_probs([state]), model.log_probs):
        with pytest.raises(ValueError, match="expected a state of this model"):
            call(other.start())
    with pytest.raises(ValueError, match="expected a state of this model"):
        model.score_ids(other.start(), np.array([3]))


# Never changed, cheap to copy


def test_states_never_change(model: LanguageModel) -> None:
    state = after(model, "the cat")
    before = state.log_probs().tobytes()
    state.advance("sat")
    model.advance([state, state], ["sat", "on"])
    model.score_ids(state, np.array([3, 4, 5]))
    assert state.log_probs().tobytes() == before
    for kept in (state, model.advance([state], [2])[0], model.score_ids(state, np.array([3]))[1]):
        for member in dataclasses.fields(kept):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(kept, member.name, None)
            if isinstance(getattr(kept, member.name), np.ndarray):
                assert not getattr(kept, member.name).flags.writeable


def test_copies_are_the_state_itself(model: LanguageModel) -> None:
    state = after(model, "the cat")
    assert copy.copy(state) is state
    assert copy.deepcopy([state])[0] is state


def test_a_state_travels_without_its_model(model: LanguageModel) -> None:
    state = after(model, "the cat")
    data = pickle.dumps(state)
    assert len(data) < 1000
    arrived = pickle.loads(data)
    assert arrived == state
    assert hash(arrived) == hash(state)
    assert model.log_probs(arrived).tobytes() == state.log_probs().tobytes()
    assert model.advance(arrived, "sat").advance("on") == state.advance("sat").advance("on")
    with pytest.raises(ValueError, match="pickled without its model"):
        arrived.advance("sat")


# Prefix trees


def test_a_tree_is_scored_as_its_paths(model: LanguageModel) -> None:
    random = np.random.default_rng(5)
    parents = np.array([random.integers(-1, edge) if edge else -1 for edge in range(60)], np.int32)
    parents[20:30] = np.arange(19, 29)  # a branch that is longer than what any model with a window sees
    ids = random.integers(0, V, 60).astype(np.int32)
    ids[np.isin(np.arange(60), parents) & (ids == VOCABULARY.end_id)] = 2  # nothing comes after </s>
    expected, states = [], {-1: model.start()}
    for edge, (parent, id) in enumerate(zip(parents.tolist(), ids.tolist(), strict=True)):
        expected.append(states[parent].log_prob(id))
        states[edge] = states[parent].advance(id)
    near(model.tree_log_probs(parents, ids), expected)
    near(tree_log_probs(model, parents, ids), expected)
    near(model.tree_log_probs(parents[:1], ids[:1]), expected[:1])


# Distributions along a text


@pytest.mark.parametrize("begin", ["", "cat sat"])
@pytest.mark.parametrize("stop", [0, 1, 9, len(CORPUS.ids)])  # within a sentence, and at the end of one
def test_distributions_along_a_text(model: LanguageModel, begin: str, stop: int) -> None:
    state, ids, expected = after(model, begin), CORPUS.ids[:stop].astype(np.int32), []
    log_probs, last = model.log_probs_along(state, ids)
    for id in ids.tolist():
        expected.append(state.log_probs())
        state = state.advance(id)
    assert last == state
    near(last.log_probs(), state.log_probs())
    if stop:
        near(log_probs(slice(0, stop)), expected)
        near(log_probs(slice(stop // 2, stop)), expected[stop // 2 :])
    assert log_probs(slice(0, 0)).shape == (0, len(VOCABULARY))


# Threads


def test_eight_threads_get_what_one_gets(model: LanguageModel) -> None:
    states, words = contexts(model), ["the", "cat", "</s>", "zebra", "sat"]

    def decode() -> list[bytes]:
        found = []
        for number, state in enumerate(states):
            word = words[number % len(words)]
            found += [state.log_probs().tobytes(), state.advance(word).log_probs().tobytes()]
            found.append(model.log_prob(states[: number + 1], [word] * (number + 1)).tobytes())
            found.append(model.log_probs(model.advance(states[number:], [word] * len(states[number:]))).tobytes())
        return found

    expected, results = decode(), []
    threads = [threading.Thread(target=lambda: results.append(decode())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 8


# What is wrong is said


@pytest.mark.parametrize("word", [-1, V, 2**40, 1.5, b"the", None, True])
def test_what_is_no_word(model: LanguageModel, word: object) -> None:
    state = model.start()
    for call in (state.advance, state.log_prob):
        with pytest.raises(ValueError, match=f"expected 0 to {V - 1}"):
            call(word)
    for call in (model.advance, model.log_prob):
        with pytest.raises(ValueError, match=r"id is|ids are"):
            call([state, state], [3, word])


def test_no_word_comes_before_the_start(model: LanguageModel) -> None:
    state = model.start()
    for call in (state.advance, state.log_prob, lambda word: model.advance([state, state], [word, 3])):
        with pytest.raises(ValueError, match=r"begin a sentence with start\(\)"):
            call("<s>")


def test_as_many_words_as_states(model: LanguageModel) -> None:
    for call in (model.advance, model.log_prob):
        with pytest.raises(ValueError, match="got 2 states and 1 words"):
            call([model.start()] * 2, ["the"])


def test_a_string_is_no_list_of_words(model: LanguageModel) -> None:
    with pytest.raises(ValueError, match="expected a list"):
        model.advance([model.start()] * 2, "ab")
    with pytest.raises(ValueError, match="expected a list"):
        model.score_nbest("the cat")
