"""Output layers over the embeddings' table: as over a table of their own, with the lookup's rows added."""

from collections.abc import Callable

import numpy as np
import pytest
import reference
from gradcheck import check_gradient

from fastlm.nn.layers import Embedding
from fastlm.nn.outputs import OUTPUTS, OutputLayer, Projected, Softmax
from fastlm.nn.parameters import Parameter, RandomParameters
from fastlm.nn.workspace import Workspace

Make = Callable[..., Workspace]
SHAPES = [(1, 1, 1, 2), (3, 4, 4, 7), (6, 5, 3, 11), (40, 7, 9, 300)]  # N, H, D, V
KINDS = ["softmax", "sampled", "nce"]


def dense(parameter: Parameter) -> np.ndarray:
    """Return a gradient as an array like the parameter's value."""
    rows = parameter.gradient_rows()
    gradient = np.zeros_like(parameter.matrix)
    gradient[rows.ids] = rows.values
    return gradient.reshape(parameter.value.shape)


class Case:
    """A lookup table that is also the output's, with ids to look up, and hidden states with their targets."""

    def __init__(self, kind: str, N: int, H: int, D: int, V: int, dtype: type = np.float64) -> None:
        rng, source = np.random.default_rng(N + H + D + V), RandomParameters(2, dtype)
        self.kind, self.sizes, counts = kind, (D, V), np.arange(1, V + 1)[::-1]
        self.embedding = Embedding("embedding", V + 1, D, source)
        self.layer = OUTPUTS[kind]("output", D, V, source, counts, table=self.embedding.weight)
        self.output = self.layer if H == D else Projected(self.layer, H, D, source)
        self.ids = rng.integers(0, V + 1, N).astype(np.int32)
        self.ids[-1] = V  # <s>
        self.targets = np.where(rng.random(N) < 0.3, -1, rng.integers(0, V, N)).astype(np.int32)
        self.targets[0] = V - 1
        self.hidden, self.dlooked_up = (rng.normal(size=(N, size)).astype(dtype) for size in (H, D))
        for parameter in self.output.parameters:
            parameter.value[:] = rng.normal(size=parameter.value.shape)

    @property
    def parameters(self) -> list[Parameter]:
        return [*self.embedding.parameters, *self.output.parameters]

    def untied(self) -> Softmax:
        """Return the same output layer over a table of its own."""
        D, V = self.sizes
        layer = OUTPUTS[self.kind]("output", D, V, RandomParameters(2, np.float64), np.arange(1, V + 1)[::-1])
        assert isinstance(self.layer, Softmax)
        assert isinstance(layer, Softmax)
        layer.weight.value[:] = self.embedding.weight.value[:-1]
        layer.bias.value[:] = self.layer.bias.value
        return layer

    def projected(self) -> np.ndarray:
        if not isinstance(self.output, Projected):
            return self.hidden
        return reference.linear_forward(self.hidden, *(p.value for p in self.output.projection.parameters))

    def loss_and_gradients(self, workspace: Workspace) -> tuple[float, np.ndarray]:
        """Return the loss, and the gradient of the hidden states; that of the table is complete."""
        for parameter in self.parameters:
            parameter.clear_gradient()
        looked_up = self.embedding.forward(self.ids, workspace)
        loss, dhidden = self.output.loss_and_gradient(self.hidden, self.targets, 0.5, workspace)
        self.embedding.backward(self.dlooked_up, workspace)
        workspace.workers.finish()
        return 0.5 * loss + float((looked_up * self.dlooked_up).sum()), dhidden


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def test_the_table_remains_the_parameter_of_the_embeddings(kind: str) -> None:
    assert [p.name for p in Case(kind, 1, 4, 4, 7).output.parameters] == ["output.bias"]
    names = ["output.projection.weight", "output.projection.bias", "output.bias"]
    assert [p.name for p in Case(kind, 1, 5, 4, 7).output.parameters] == names


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_those_of_two_tables_added(make_workspace: Make, kind: str, shape: tuple[int, ...]) -> None:
    case, untied, x = Case(kind, *shape), (own := Case(kind, *shape)).untied(), own.projected()
    loss, dx = untied.loss_and_gradient(x, case.targets, 0.5, workspace := make_workspace())
    workspace.workers.finish()
    dtable = reference.embedding_backward(case.dlooked_up, case.ids, shape[3] + 1)
    dtable[:-1] += dense(untied.weight)
    if kind == "softmax":
        case.embedding.weight.dense_gradient()[0][:] = np.nan  # whatever is in new memory

    found, dhidden = case.loss_and_gradients(make_workspace())
    assert found == pytest.approx(0.5 * loss + (case.embedding.weight.value[case.ids] * case.dlooked_up).sum())
    close = {"rtol": 1e-11, "atol": 1e-11}
    np.testing.assert_allclose(dense(case.embedding.weight), dtable, **close)
    np.testing.assert_allclose(dense(case.output.parameters[-1]), dense(untied.bias), **close)
    if isinstance(case.output, Projected):
        weight, bias = case.output.projection.parameters
        expected = reference.linear_backward(dx, case.hidden, weight.value)
        for one, other in zip((dhidden, weight.gradient, bias.gradient), expected, strict=True):
            np.testing.assert_allclose(one, other, **close)
    else:
        np.testing.assert_allclose(dhidden, dx, **close)


@pytest.mark.parametrize("shape", SHAPES[:3])
def test_gradients_against_numbers(make_workspace: Make, shape: tuple[int, ...]) -> None:
    case, workspace = Case("softmax", *shape), make_workspace()
    _, dhidden = case.loss_and_gradients(workspace)
    gradients = [dhidden.copy(), *(np.array(p.gradient) for p in case.parameters)]
    for array, gradient in zip([case.hidden, *(p.value for p in case.parameters)], gradients, strict=True):
        check_gradient(lambda: case.loss_and_gradients(workspace)[0], array, gradient)


def test_the_norm_of_the_gradient_is_not_that_of_the_output_alone(make_workspace: Make, kind: str) -> None:
    case = Case(kind, 6, 5, 3, 11)
    case.loss_and_gradients(make_workspace())
    assert case.embedding.weight.gradient_squares is None


@pytest.mark.parametrize("shape", SHAPES)
def test_probabilities(make_workspace: Make, kind: str, shape: tuple[int, ...]) -> None:
    case = Case(kind, *shape)
    whole = case.output.log_probs(case.hidden)
    np.testing.assert_allclose(whole, case.untied().log_probs(case.projected()), rtol=1e-11)
    assert whole.shape == (shape[0], shape[3])  # <s> is never predicted
    chosen = case.output.target_log_probs(case.hidden, case.targets, make_workspace())
    events = case.targets >= 0
    np.testing.assert_allclose(chosen[events], whole[events, case.targets[events]], rtol=1e-11)
    assert not chosen[~events].any()


@pytest.mark.parametrize("shape", SHAPES)
def test_scores_before_normalisation(make_workspace: Make, kind: str, shape: tuple[int, ...]) -> None:
    case, workspace = Case(kind, *shape), make_workspace()
    assert case.output.self_normalised == (kind != "softmax")
    if kind == "softmax":
        with pytest.raises(TypeError, match="Softmax has no scores"):
            case.output.target_scores(case.hidden, case.targets, workspace)
        return
    expected = case.untied().target_scores(case.projected(), case.targets, make_workspace())
    np.testing.assert_allclose(case.output.target_scores(case.hidden, case.targets, workspace), expected, rtol=1e-11)


def test_no_tokens_have_no_distributions(kind: str) -> None:
    output: OutputLayer = Case(kind, 1, 5, 3, 11).output
    assert output.log_probs(np.empty((0, 5))).shape == (0, 11)


@pytest.mark.usefixtures("fine_shares")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_number_of_threads_gives_the_same_bytes(make_workspace: Make, kind: str, dtype: type) -> None:
    case, results = Case(kind, 140, 9, 17, 2053, dtype), set()
    for threads in (1, 2, 7):
        loss, dhidden = case.loss_and_gradients(make_workspace(dtype, threads=threads))
        results.add((loss, dhidden.tobytes(), *(dense(p).tobytes() for p in case.parameters)))
    assert len(results) == 1
