"""The softmax over the embeddings' table: against its oracle and numbers, with the lookup's rows added."""

from collections.abc import Callable

import numpy as np
import pytest
import reference
from gradcheck import check_gradient

from fastlm.nn.layers import Embedding
from fastlm.nn.outputs import TiedSoftmax
from fastlm.nn.parameters import RandomParameters
from fastlm.nn.workspace import Workspace

Make = Callable[..., Workspace]
SHAPES = [(1, 1, 1, 2), (3, 4, 4, 7), (6, 5, 3, 11), (40, 7, 9, 300)]  # N, H, D, V


class Case:
    """A lookup table that is also the output's, with ids to look up, and hidden states with their targets."""

    def __init__(self, N: int, H: int, D: int, V: int, dtype: type = np.float64) -> None:
        rng, source = np.random.default_rng(N + H + D + V), RandomParameters(2, dtype)
        self.embedding = Embedding("embedding", V + 1, D, source)
        self.output = TiedSoftmax("output", H, V, source, table=self.embedding.weight)
        self.ids = rng.integers(0, V + 1, N).astype(np.int32)
        self.ids[-1] = V  # <s>
        self.targets = np.where(rng.random(N) < 0.3, -1, rng.integers(0, V, N)).astype(np.int32)
        self.targets[0] = V - 1
        self.hidden, self.dlooked_up = (rng.normal(size=(N, size)).astype(dtype) for size in (H, D))
        for parameter in self.output.parameters:
            parameter.value[:] = rng.normal(size=parameter.value.shape)

    def loss_and_gradients(self, workspace: Workspace) -> tuple[float, np.ndarray]:
        """Return the loss, and the gradient of the hidden states; that of the table is complete."""
        for parameter in (*self.embedding.parameters, *self.output.parameters):
            parameter.clear_gradient()
        looked_up = self.embedding.forward(self.ids, workspace)
        loss, dhidden = self.output.loss_and_gradient(self.hidden, self.targets, 0.5, workspace)
        self.embedding.backward(self.dlooked_up, workspace)
        workspace.workers.finish()
        return 0.5 * loss + float((looked_up * self.dlooked_up).sum()), dhidden


def test_the_size_decides_about_a_projection() -> None:
    assert [p.name for p in Case(1, 4, 4, 7).output.parameters] == ["output.bias"]
    names = ["output.bias", "output.projection.weight", "output.projection.bias"]
    assert [p.name for p in Case(1, 5, 4, 7).output.parameters] == names


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_against_the_oracle(make_workspace: Make, shape: tuple[int, int, int, int]) -> None:
    case, V = Case(*shape), shape[3]
    case.embedding.weight.dense_gradient()[0][:] = np.nan  # whatever is in new memory
    table, bias, x = case.embedding.weight.value, case.output.bias.value, case.hidden
    if case.output.projection is not None:
        x = reference.linear_forward(x, *(p.value for p in case.output.projection.parameters))
    dx, dweight, dbias = reference.softmax_loss_backward(x, case.targets, table[:V], bias)
    dtable = reference.embedding_backward(case.dlooked_up, case.ids, V + 1)
    dtable[:V] += 0.5 * dweight
    loss, dhidden = case.loss_and_gradients(make_workspace())
    expected = 0.5 * reference.softmax_loss(x, case.targets, table[:V], bias)
    assert loss == pytest.approx(expected + (table[case.ids] * case.dlooked_up).sum())
    np.testing.assert_allclose(case.embedding.weight.gradient, dtable, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(case.output.bias.gradient, 0.5 * dbias, rtol=1e-11, atol=1e-11)
    if case.output.projection is None:
        np.testing.assert_allclose(dhidden, 0.5 * dx, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("shape", SHAPES[:3])
def test_gradients_against_numbers(make_workspace: Make, shape: tuple[int, int, int, int]) -> None:
    case, workspace = Case(*shape), make_workspace()
    _, dhidden = case.loss_and_gradients(workspace)
    parameters = [*case.embedding.parameters, *case.output.parameters]
    gradients = [dhidden.copy(), *(np.array(p.gradient) for p in parameters)]
    for array, gradient in zip([case.hidden, *(p.value for p in parameters)], gradients, strict=True):
        check_gradient(lambda: case.loss_and_gradients(workspace)[0], array, gradient)


def test_the_norm_of_the_gradient_is_not_that_of_the_output_alone(make_workspace: Make) -> None:
    case = Case(6, 5, 3, 11)
    case.loss_and_gradients(make_workspace())
    assert case.embedding.weight.gradient_squares is None


@pytest.mark.parametrize("shape", SHAPES)
def test_probabilities(make_workspace: Make, shape: tuple[int, int, int, int]) -> None:
    case = Case(*shape)
    whole = case.output.log_probs(case.hidden)
    assert whole.shape == (shape[0], shape[3])  # <s> is never predicted
    np.testing.assert_allclose(np.exp(whole).sum(axis=1), 1, rtol=1e-12)
    chosen = case.output.target_log_probs(case.hidden, case.targets, make_workspace())
    events = case.targets >= 0
    np.testing.assert_allclose(chosen[events], whole[events, case.targets[events]], rtol=1e-11)
    assert not chosen[~events].any()


@pytest.mark.usefixtures("fine_shares")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_number_of_threads_gives_the_same_bytes(make_workspace: Make, dtype: type) -> None:
    case, results = Case(140, 9, 17, 2053, dtype), set()
    for threads in (1, 2, 7):
        loss, dhidden = case.loss_and_gradients(make_workspace(dtype, threads=threads))
        parameters = [*case.embedding.parameters, *case.output.parameters]
        results.add((loss, dhidden.tobytes(), *(p.gradient.tobytes() for p in parameters)))
    assert len(results) == 1
