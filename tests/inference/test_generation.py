import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_model import TinyModel

from fastlm.errors import FastLMError
from fastlm.inference.generation import generate, next_log_probs, next_token_distribution, predict

PROBABILITIES = np.array([0.1, 0.4, 0.05, 0.3, 0.15])


@pytest.fixture(params=["sentence", "continuous"])
def model(request):
    return TinyModel(request.param)


def ids_after(model, words):
    state = model.start()
    for word in words.split():
        state = model.advance(state, model.vocabulary[word])
    return model.log_probs(state)


def test_next_log_probs_use_the_whole_context(model):
    assert next_log_probs(model, "the cat") == pytest.approx(ids_after(model, "the cat"))
    assert next_log_probs(model, "on cat")[3] != next_log_probs(model, "the cat")[3]
    assert next_log_probs(model, "") == pytest.approx(model.log_probs(model.start()))
    assert np.exp(next_log_probs(model, "the dog")).sum() == pytest.approx(1)


def test_predictions_are_the_most_likely_words(model):
    log_probs = ids_after(model, "the cat")
    words = model.vocabulary.words
    expected = sorted(((p, w) for p, w in zip(np.exp(log_probs), words, strict=True) if w != "<unk>"), reverse=True)
    for k in (1, 3, 8, 100):
        predictions = predict(model, "the cat", k)
        assert [prediction.word for prediction in predictions] == [word for _, word in expected[:k]]
        assert [prediction.probability for prediction in predictions] == pytest.approx([p for p, _ in expected[:k]])


def test_unknown_is_predicted_only_if_asked(model):
    assert "<unk>" not in {prediction.word for prediction in predict(model, "the", 100)}
    everything = predict(model, "the", 100, unknown=True)
    assert {prediction.word for prediction in everything} == set(model.vocabulary.words)
    assert sum(prediction.probability for prediction in everything) == pytest.approx(1)


def test_equal_words_come_in_the_order_of_their_ids():
    model = TinyModel()
    model.near[:] = model.far[:] = 0
    assert [prediction.word for prediction in predict(model, "", 3)] == ["</s>", "the", "cat"]


def test_where_only_unknown_words_follow(model):
    model.near[model.vocabulary["cat"], 1:] = -np.inf
    with pytest.raises(FastLMError, match="every word but <unk> has probability zero here; allow unknown words"):
        predict(model, "the cat")
    assert predict(model, "the cat", unknown=True) == [("<unk>", 1.0)]
    assert generate(model, "cat", max_tokens=1, temperature=0, unknown=True) == "cat <unk>"


def test_greedy_takes_the_most_likely_word_each_time(model):
    text = "the cat"
    for _ in range(5):
        word = predict(model, text, 1)[0].word
        if word == "</s>":
            break
        text += " " + word
    assert generate(model, "the cat", max_tokens=5, temperature=0) == text


def test_the_same_seed_gives_the_same_text(model):
    texts = [generate(model, "the", max_tokens=20, seed=seed) for seed in (1, 1, 2, 3, 4)]
    assert texts[0] == texts[1]
    assert len(set(texts)) > 1
    assert all(text.startswith("the") for text in texts)


def test_a_generator_goes_on_where_it_was(model):
    random = np.random.Generator(np.random.PCG64(5))
    first, second = (generate(model, max_tokens=20, seed=random) for _ in range(2))
    assert first == generate(model, max_tokens=20, seed=5)
    assert first != second


def test_samples_have_the_frequencies_of_the_model():
    model = TinyModel()
    random = np.random.Generator(np.random.PCG64(1))
    samples = [generate(model, "the cat", max_tokens=1, seed=random) for _ in range(4000)]
    log_probs = ids_after(model, "the cat")
    log_probs[0] = -np.inf
    expected = np.exp(log_probs) / np.exp(log_probs).sum()
    for id, word in enumerate(model.vocabulary.words):
        text = "the cat" if word == "</s>" else f"the cat {word}"
        assert samples.count(text) / 4000 == pytest.approx(expected[id], abs=0.03)  # four standard deviations
    assert not any("<unk>" in sample for sample in samples)


def test_unknown_is_generated_only_if_asked(model):
    model.near[:, 0] = 50.0
    assert "<unk>" not in generate(model, max_tokens=50, seed=1)
    assert "<unk>" in generate(model, max_tokens=50, seed=1, unknown=True)


def test_the_end_stops_or_begins_another_line(model):
    the, cat, sat = (model.vocabulary[word] for word in ("the", "cat", "sat"))
    model.near[:] = model.far[:] = 0
    model.near[the, 1] = model.near[1, cat] = model.near[cat, 1] = 50.0
    model.near[model.vocabulary.start_id, sat] = model.near[sat, 1] = 50.0
    assert generate(model, "the", max_tokens=5, seed=1) == "the"
    following = "sat" if model.context == "sentence" else "cat"
    assert generate(model, "the", max_tokens=4, seed=1, stop_at_end=False) == f"the\n{following}\n{following}"
    assert generate(model, "the", max_tokens=5, seed=1, stop_at_end=False) == f"the\n{following}\n{following}\n"


def test_at_most_so_many_tokens(model):
    model.near[:, 1] = -50.0
    assert len(generate(model, "the cat", max_tokens=7, seed=1).split()) == 9


def test_unknown_words_of_the_prompt_stay_as_they_are(model):
    assert generate(model, "the dog", max_tokens=3, seed=1).startswith("the dog")


def test_text_is_put_together_as_the_tokenizer_does():
    model = TinyModel(words=["c", "a", "t", "▁"], tokenizer="char")
    model.near[:] = model.far[:] = 0
    for word, following in [("a", "t"), ("t", "▁"), ("▁", "c"), ("c", "a")]:
        model.near[model.vocabulary[word], model.vocabulary[following]] = 50.0
    assert generate(model, "돛 ca", max_tokens=6, seed=1) == "돛 cat cat "


def test_the_start_is_never_generated(model):
    assert "<s>" not in generate(model, max_tokens=300, seed=1, stop_at_end=False)


def test_top_k_and_top_p_by_hand():
    ids, probabilities = next_token_distribution(np.log(PROBABILITIES), top_k=3)
    assert ids.tolist() == [1, 3, 4]
    assert probabilities == pytest.approx(np.array([0.4, 0.3, 0.15]) / 0.85)
    ids, probabilities = next_token_distribution(np.log(PROBABILITIES), top_p=0.65)
    assert ids.tolist() == [1, 3]
    assert probabilities == pytest.approx(np.array([4, 3]) / 7)
    ids, probabilities = next_token_distribution(np.log(PROBABILITIES), top_k=3, top_p=0.8)
    assert ids.tolist() == [1, 3]  # 0.7 / 0.85 reaches 0.8
    assert next_token_distribution(np.log(PROBABILITIES), top_p=1e-9)[0].tolist() == [1]
    assert next_token_distribution(np.log(PROBABILITIES), top_p=1.0)[0].tolist() == [1, 3, 4, 0, 2]


def test_temperature_by_hand():
    ids, probabilities = next_token_distribution(np.log(PROBABILITIES), temperature=0.5)
    assert ids.tolist() == [0, 1, 2, 3, 4]
    assert probabilities == pytest.approx(PROBABILITIES**2 / (PROBABILITIES**2).sum())
    assert next_token_distribution(np.log(PROBABILITIES), temperature=0)[0].tolist() == [1]
    assert next_token_distribution(np.log(PROBABILITIES), temperature=1e-320)[1].tolist() == [0, 1, 0, 0, 0]


@given(
    st.lists(st.floats(-30, 30), min_size=1, max_size=30),
    st.floats(0.01, 100),
    st.none() | st.integers(1, 40),
    st.none() | st.floats(0.001, 1),
)
def test_any_distribution_is_cut_right(logits, temperature, top_k, top_p):
    logits = np.array(logits)
    ids, probabilities = next_token_distribution(logits, temperature, top_k, top_p)
    assert probabilities.sum() == pytest.approx(1)
    assert len(set(ids.tolist())) == len(ids) <= (top_k or len(logits))
    weights = np.exp((logits - logits.max()) / temperature)
    assert probabilities == pytest.approx(weights[ids] / weights[ids].sum())
    left_out = np.delete(logits, ids)
    assert not len(left_out) or left_out.max() <= logits[ids].min()
    if top_p is not None and len(ids) > 1:
        reachable = np.sort(weights)[::-1][: top_k or len(logits)]
        assert weights[ids][:-1].sum() / reachable.sum() <= top_p + 1e-9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_tokens": 0}, "max_tokens must be a whole number of at least 1, got 0"),
        ({"temperature": -0.1}, "temperature must be at least 0, got -0.1"),
        ({"temperature": float("nan")}, "temperature must be a finite number, got nan"),
        ({"temperature": float("inf")}, "temperature must be a finite number"),
        ({"temperature": "hot"}, "temperature must be a finite number, got 'hot'"),
        ({"top_k": 0}, "top_k must be a whole number of at least 1"),
        ({"top_k": 2.0}, "top_k must be a whole number"),
        ({"top_p": 0.0}, "top_p must be above 0 and at most 1, got 0.0"),
        ({"top_p": 1.1}, "top_p must be above 0 and at most 1"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
        ({"seed": 0.5}, "seed must be a whole number"),
        ({"prompt": "a\nb"}, "one line of text"),
    ],
)
def test_wrong_arguments(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        generate(model, **arguments)


@pytest.mark.parametrize("k", [0, -3, 1.0, None, True])
def test_k_is_checked(model, k):
    with pytest.raises(ValueError, match="k must be a whole number of at least 1"):
        predict(model, "the", k)


def test_a_broken_model_is_an_error(model):
    model.near[:] = np.nan
    for use in (predict, generate, next_log_probs):
        with pytest.raises(FastLMError, match="finite"):
            use(model, "the")
