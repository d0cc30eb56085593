"""What using a model costs: evaluation, scoring of short lines, and a decoder's step."""

from collections.abc import Callable, Sequence

import numpy as np
from contenders import BPTT_LEN, VOCAB_SIZE, Setting, fastlm_model, zipf_ids
from machine import print_row, seconds_a_call, spread
from threadpoolctl import threadpool_limits

from fastlm import RNNLM, Corpus
from fastlm.nn.parallel import Workers
from fastlm.nn.workspace import Workspace

WORDS_A_LINE = 9
TOKENS = 16_000


def print_use(settings: Sequence[Setting], rounds: int) -> None:
    """Print speeds of use as ratios, for RNNLMs on one thread."""
    print_row(
        [
            "one thread",
            "evaluation / forward part of training",
            f"lines of {WORDS_A_LINE} words, from text / continuous",
            "a decoder's step / streaming its weights",
        ],
        head=True,
    )
    for setting in settings:
        if setting.kind != "rnnlm" or setting.batch != 20:
            continue
        calls = {
            "forward": forward_part(setting),
            "evaluation": evaluation(setting),
            "lines": line_scoring(setting),
            "step": decoder_step(setting),
            "stream": weight_streaming(setting),
        }
        times: dict[str, list[float]] = {name: [] for name in calls}
        with threadpool_limits(1, "blas"):  # what streams the weights
            for _ in range(rounds):
                for name, call in calls.items():
                    times[name].append(seconds_a_call(call))
        seconds = {name: np.array(values) for name, values in times.items()}
        per_token = seconds["evaluation"] / TOKENS
        print_row(
            [
                f"rnnlm hidden {setting.hidden}",
                spread(seconds["forward"] / setting.tokens / per_token),
                spread(per_token / (seconds["lines"] / TOKENS)),
                f"{spread(seconds['step'] / seconds['stream'])}, {np.median(seconds['step']) * 1e6:.0f} µs",
            ]
        )


def forward_part(setting: Setting) -> Callable[[], object]:
    """Return the forward pass of a training step: hidden layer and loss, of a chunk."""
    model, corpus = fastlm_model(setting, setting.tokens)
    return training_forward(model, corpus, setting.batch)


def training_forward(model: RNNLM, corpus: Corpus, batch_size: int) -> Callable[[], object]:
    """Return the forward pass of the first chunk of a corpus, as in training, on one thread."""
    workspace = Workspace("float32", Workers(1), training=True)
    chunk = next(iter(model.training_batches(corpus, batch_size=batch_size, bptt_len=BPTT_LEN, seed=(1, 1))))
    memory = model.carried(batch_size, workspace)["memory"]

    def forward() -> None:
        hidden = model._hidden(chunk.inputs, chunk.resets, memory, workspace)
        dropped = model.output_dropout.forward(hidden.reshape(len(hidden), -1), workspace)
        model.output.target_log_probs(dropped.reshape(chunk.targets.size, -1), chunk.targets.reshape(-1), workspace)

    return forward


def evaluation(setting: Setting) -> Callable[[], object]:
    """Return the evaluation of a text."""
    from fastlm.inference.evaluation import evaluate

    model, corpus = fastlm_model(setting, TOKENS)
    workers = Workers(setting.threads)
    workers.__enter__()  # for the life of the process
    return lambda: evaluate(model, corpus, workers=workers)


def line_scoring(setting: Setting) -> Callable[[], object]:
    """Return the scoring of short lines of text, each by itself."""
    from fastlm.inference.tokens import score_lines

    model, _ = fastlm_model(setting, 1, context="sentence")
    words = [f"w{id % (VOCAB_SIZE - 2)}" for id in zipf_ids(TOKENS)]
    step = WORDS_A_LINE + 1  # </s> counts
    lines = [" ".join(words[start : start + WORDS_A_LINE]) for start in range(0, TOKENS, step)]
    return lambda: [score.log_prob for score in score_lines(model, lines)]


def decoder_step(setting: Setting) -> Callable[[], object]:
    """Return one step of a decoder: a word more, and the distribution of the next."""
    model, _ = fastlm_model(setting, 1)
    states = [model.start()]

    def step() -> None:
        states[0] = model.advance(states[0], 17)
        model.log_probs(states[0])

    return step


def weight_streaming(setting: Setting) -> Callable[[], object]:
    """Return the products of a vector and the step's weights by BLAS, which stream them once."""
    model, _ = fastlm_model(setting, 1)
    weights = [model.parameters[name] for name in ("recurrent.w_xh", "recurrent.w_hh", "output.weight")]
    vector = np.ones(setting.hidden, np.float32)
    return lambda: [weight @ vector for weight in weights]
