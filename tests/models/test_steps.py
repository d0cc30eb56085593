"""Whole steps of training and evaluation: the same bytes for any number of threads, no new memory after the first."""

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import pytest

from fastlm.models import NNLM, RNNLM, NeuralModel
from fastlm.nn.optimizers import Adam, gradient_norm
from fastlm.nn.parallel import Workers
from fastlm.nn.workspace import Workspace
from fastlm.text.corpus import Corpus
from fastlm.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary([f"w{i}" for i in range(900)])
IDS = np.random.default_rng(0).integers(1, len(VOCABULARY), 6000)
CORPUS = Corpus.from_ids(IDS.tolist(), VOCABULARY)
Busy = Callable[[Workers], AbstractContextManager[None]]
Make = Callable[..., NeuralModel]


def nnlm(**options: Any) -> NeuralModel:
    return NNLM(VOCABULARY, **({"context_size": 3, "embedding_dim": 50, "hidden_size": 130, "dropout": 0.3} | options))


def direct_nnlm(**options: Any) -> NeuralModel:
    return nnlm(direct=True, **options)


def modern_nnlm(**options: Any) -> NeuralModel:
    modern = {"num_layers": 3, "num_averages": 2, "activation": "gelu", "tied": True, "context": "continuous"}
    return nnlm(**(modern | options))


def rnnlm(**options: Any) -> NeuralModel:
    return RNNLM(VOCABULARY, **({"embedding_dim": 60, "hidden_size": 70, "dropout": 0.3} | options))


def batches(model: NeuralModel) -> Iterator[Any]:
    sizes = {"batch_size": 25, "bptt_len": 20} if isinstance(model, RNNLM) else {"batch_size": 300, "bptt_len": None}
    return model.training_batches(CORPUS, **sizes, seed=[1])


def step(model: NeuralModel, batch: Any, workspace: Workspace) -> tuple[float, int]:
    """Compute the gradients of a batch, whatever the buffers hold that they are computed into."""
    for parameter in model.parameter_list:
        parameter.clear_gradient()
    return model.loss_and_gradients(batch, workspace)


@pytest.mark.usefixtures("fine_shares")
@pytest.mark.parametrize("make", [nnlm, direct_nnlm, modern_nnlm, rnnlm])
@pytest.mark.parametrize("options", [{}, {"dropout": 0.0}, {"dtype": "float64"}], ids=str)
def test_the_same_bytes_for_any_number_of_threads(make: Make, options: dict[str, Any], busy: Busy) -> None:
    """Also when the other threads have no time, so that all that can be put off is done last."""
    results = set()
    for threads, held in [(1, False), (2, False), (3, False), (7, False), (2, True)]:
        model, results_of_steps = make(**options), []
        optimizer = Adam(model.parameter_list)
        with Workers(threads) as workers:
            workspace = Workspace(model.dtype, workers, training=True, seed=2)
            for batch, _ in zip(batches(model), range(3), strict=False):
                with busy(workers) if held else nullcontext():
                    results_of_steps.append(step(model, batch, workspace))
                for parameter in model.parameter_list:
                    rows = parameter.gradient_rows()
                    results_of_steps.append((rows.ids.tobytes(), rows.values.tobytes()))
                results_of_steps.append(gradient_norm(model.parameter_list, workers))
                optimizer.step(0.01, workers)
                workspace.step += 1
        results_of_steps.append(tuple(array.tobytes() for array in model.parameters.values()))
        results.add(tuple(results_of_steps))
    assert len(results) == 1


@pytest.mark.parametrize(
    "make",
    [
        nnlm,
        modern_nnlm,
        rnnlm,
        pytest.param(direct_nnlm, marks=pytest.mark.xfail(strict=True, reason="copies the hidden layer's gradient")),
    ],
)
@pytest.mark.parametrize("threads", [1, 3])
def test_after_the_first_step_no_array_is_made(make: Make, threads: int) -> None:
    model = make()
    optimizer = Adam(model.parameter_list)
    with Workers(threads) as workers:
        workspace = Workspace(model.dtype, workers, training=True, seed=2)

        def take(batch: Any) -> None:
            step(model, batch, workspace)
            gradient_norm(model.parameter_list, workers)
            optimizer.step(0.01, workers)

        first, second, third = (batch for batch, _ in zip(batches(model), range(3), strict=False))
        take(first)
        take(second)
        buffers = {name: buffer.ctypes.data for name, buffer in workspace._buffers.items()}
        tracemalloc.start()
        try:
            take(third)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert {name: buffer.ctypes.data for name, buffer in workspace._buffers.items()} == buffers
    assert max(buffer.nbytes for buffer in workspace._buffers.values()) > 900_000
    assert peak < 100_000


@pytest.mark.usefixtures("fine_shares")
@pytest.mark.parametrize("make", [nnlm, modern_nnlm, rnnlm])
@pytest.mark.parametrize("rows", [64, 100])
def test_an_evaluation_gives_the_same_bytes_for_any_number_of_threads(
    make: Make, rows: int, busy: Busy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The output layer is a batch behind, and may come last of all."""
    for module in ("nnlm", "rnnlm"):
        monkeypatch.setattr(f"fastlm.models.{module}.EVALUATION_ROWS", rows)
    model, results, told = make(), set(), []
    for threads, held in [(1, False), (2, False), (3, False), (7, False), (2, True)]:
        with Workers(threads) as workers, busy(workers) if held else nullcontext():
            log_probs = model.token_log_probs(CORPUS, num_streams=9, workers=workers, progress=told.append)
        results.add(log_probs.tobytes())
        assert sum(told) == len(IDS)
        told.clear()
    assert len(results) == 1
    one_by_one, _ = model.score_ids(model.start(), IDS[:300])
    if model.context == "sentence":
        np.testing.assert_allclose(np.frombuffer(results.pop())[:300], one_by_one, 1e-4, 1e-5)
