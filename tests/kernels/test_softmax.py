"""Softmax cross-entropy against its oracle, in blocks of the vocabulary, and at the ends of the range."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import reference

from fastlm import kernels

TOLERANCES = {np.float32: 2e-5, np.float64: 1e-12}
SHAPES = [  # N, V, H, block
    (1, 1, 1, 1),
    (1, 5, 3, 1),
    (4, 12, 1, 4),
    (3, 7, 5, 3),
    (2, 6, 3, 20),
    (9, 101, 33, 16),
    (20, 250, 64, 100),
]
TARGETS = {"all": slice(0), "some": slice(0, None, 2), "none": slice(None)}  # where there is no event


class Output:
    """A softmax output layer: what goes in, and what each kernel leaves."""

    def __init__(self, N: int, V: int, H: int, block: int, dtype: type, *, no_event: slice = slice(0)) -> None:
        rng = np.random.default_rng(N + V + H)
        self.hidden, self.weight = rng.normal(size=(N, H)).astype(dtype), rng.normal(size=(V, H)).astype(dtype)
        self.bias, self.targets = rng.normal(size=V).astype(dtype), rng.integers(V, size=N).astype(np.int32)
        self.targets[no_event] = -1
        self.block, self.factor, self.dtype = block, 0.25, dtype
        self.dweight, self.dbias = np.ones((V, H), dtype), np.ones(V, dtype)
        self.dhidden = np.full((N, H), np.nan, dtype)

    @property
    def num_blocks(self) -> int:
        return -(-len(self.weight) // self.block)

    def forward(self, width: int | None = None) -> "Output":
        N, V = len(self.hidden), len(self.weight)
        self.log_probs, self.log_norms = np.full((2, N), np.nan, self.dtype)
        self.exps = np.full((N, width or V), np.nan, self.dtype)
        self.scales = np.full((N, self.num_blocks), np.nan, self.dtype)
        kernels.softmax_forward(
            self.log_probs, self.log_norms, self.exps, self.scales, self.hidden, self.weight, self.bias, self.targets,
            self.block,
        )  # fmt: skip
        return self

    def backward(self) -> "Output":
        kernels.softmax_backward(
            self.dhidden, self.exps, self.scales, self.weight, self.targets, np.full_like(self.hidden, np.nan),
            self.factor, self.block,
        )  # fmt: skip
        return self

    def backward_weight(self, order: list[int] | None = None) -> "Output":
        scratch = np.full_like(self.hidden, np.nan)
        for k in range(self.num_blocks) if order is None else order:
            kernels.softmax_backward_weight(
                self.dweight, self.dbias, self.exps, self.scales, self.hidden, self.targets, scratch, self.factor,
                self.block, k,
            )  # fmt: skip
        return self

    def distributions(self) -> np.ndarray:
        log_probs = np.full((len(self.hidden), len(self.weight)), np.nan, self.dtype)
        scratch = np.empty_like(self.bias)
        kernels.softmax_log_probs(log_probs, self.hidden, self.weight, self.bias, scratch)
        return log_probs

    def wide(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return the arguments of the oracles."""
        return (
            self.hidden.astype(np.float64),
            self.targets,
            self.weight.astype(np.float64),
            self.bias.astype(np.float64),
        )


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("no_event", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("shape", SHAPES)
def test_everything_equals_the_oracle(shape: tuple[int, int, int, int], no_event: slice, dtype: type) -> None:
    layer = Output(*shape, dtype, no_event=no_event).forward().backward().backward_weight()
    hidden, targets, weight, bias = layer.wide()
    logits = reference.linear_forward(hidden, weight, bias)
    rtol = atol = TOLERANCES[dtype]
    expected = reference.log_softmax(logits)
    events = targets >= 0
    np.testing.assert_allclose(layer.log_probs[events], expected[events, targets[events]], rtol, atol)
    assert (layer.log_probs[~events] == 0).all()
    np.testing.assert_allclose(-layer.log_probs.sum(), reference.softmax_loss(*layer.wide()), rtol, atol)
    np.testing.assert_allclose(layer.log_norms, np.log(np.exp(logits).sum(axis=1)), rtol, atol)
    scales = np.repeat(layer.scales, layer.block, axis=1)[:, : len(weight)]
    np.testing.assert_allclose(layer.exps * scales, np.exp(expected), rtol, atol)
    np.testing.assert_allclose(layer.distributions(), expected, rtol, atol)
    dhidden, dweight, dbias = reference.softmax_loss_backward(*layer.wide())
    np.testing.assert_allclose(layer.dhidden, layer.factor * dhidden, rtol, atol)
    np.testing.assert_allclose(layer.dweight, 1 + layer.factor * dweight, rtol, atol)
    np.testing.assert_allclose(layer.dbias, 1 + layer.factor * dbias, rtol, atol)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("shape", SHAPES)
def test_whole_distributions_sum_to_one_and_hold_the_log_probs(shape: tuple[int, int, int, int], dtype: type) -> None:
    layer = Output(*shape, dtype).forward()
    log_probs = layer.distributions()
    tolerance = TOLERANCES[dtype]
    np.testing.assert_allclose(np.exp(log_probs.astype(np.float64)).sum(axis=1), 1, tolerance)
    np.testing.assert_allclose(log_probs[np.arange(shape[0]), layer.targets], layer.log_probs, tolerance, tolerance)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_narrow_form_gives_the_same_bytes(shape: tuple[int, int, int, int], dtype: type) -> None:
    wide, narrow = Output(*shape, dtype).forward(), Output(*shape, dtype).forward(width=shape[3])
    assert narrow.exps.shape[1] == shape[3]
    for name in ("log_probs", "log_norms", "scales"):
        assert getattr(narrow, name).tobytes() == getattr(wide, name).tobytes()


@pytest.mark.parametrize("width", [1, 2, 4, 6, 8, 13])
def test_any_other_width_is_refused(width: int) -> None:
    with pytest.raises(ValueError, match=f"exps has {width} columns, expected 7, or 3 where no backward"):
        Output(3, 7, 5, 3, np.float32).forward(width=width)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_size_of_the_blocks_does_not_matter(shape: tuple[int, int, int, int], dtype: type) -> None:
    N, V, H, block = shape
    tolerance = TOLERANCES[dtype]
    one = Output(N, V, H, V, dtype).forward().backward().backward_weight()
    many = Output(N, V, H, block, dtype).forward().backward().backward_weight()
    for name in ("log_probs", "log_norms", "dhidden", "dweight", "dbias"):
        np.testing.assert_allclose(getattr(many, name), getattr(one, name), tolerance, tolerance)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("shape", SHAPES)
def test_blocks_in_any_order_give_the_same_bytes(shape: tuple[int, int, int, int], dtype: type) -> None:
    first = Output(*shape, dtype, no_event=slice(0, None, 3)).forward().backward_weight()
    order = np.random.default_rng(1).permutation(first.num_blocks).tolist()
    for other_order in (order, order[::-1]):
        other = Output(*shape, dtype, no_event=slice(0, None, 3)).forward().backward_weight(other_order)
        assert other.dweight.tobytes() == first.dweight.tobytes()
        assert other.dbias.tobytes() == first.dbias.tobytes()


def test_threads_that_share_the_blocks_give_the_same_bytes() -> None:
    first, shared = (Output(20, 950, 33, 100, np.float32).forward() for _ in range(2))
    first.backward_weight()
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda k: shared.backward_weight([k]), range(shared.num_blocks)))
    assert shared.dweight.tobytes() == first.dweight.tobytes()
    assert shared.dbias.tobytes() == first.dbias.tobytes()


def test_a_block_touches_its_own_rows_alone() -> None:
    layer = Output(4, 10, 3, 4, np.float64).forward().backward_weight([1])
    outside = [0, 1, 2, 3, 8, 9]
    assert (layer.dweight[4:8] != 1).all()
    assert (layer.dbias[4:8] != 1).all()
    assert (layer.dweight[outside] == 1).all()
    assert (layer.dbias[outside] == 1).all()


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_without_events_there_is_no_loss_and_no_gradient(dtype: type) -> None:
    layer = Output(4, 10, 3, 4, dtype, no_event=slice(None)).forward().backward().backward_weight()
    assert (layer.log_probs == 0).all()
    assert (layer.dhidden == 0).all()
    assert (layer.dweight == 1).all()
    assert (layer.dbias == 1).all()


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_any_negative_target_is_no_event(dtype: type) -> None:
    layer = Output(3, 10, 3, 4, dtype)
    layer.targets[:] = [-1, -4, -(2**31)]
    layer.forward().backward().backward_weight()
    assert (layer.log_probs == 0).all()
    assert (layer.dhidden == 0).all()
    assert (layer.dweight == 1).all()


def given_logits(logits: np.ndarray, targets: list[int], block: int) -> Output:
    """Return an output layer with these logits (N, V): the identity times them."""
    N, V = logits.shape
    layer = Output(N, V, N, block, logits.dtype.type)
    layer.hidden, layer.weight = np.eye(N, dtype=logits.dtype), logits.T.copy()
    layer.bias[:] = 0
    layer.targets[:] = targets
    return layer


@pytest.mark.parametrize("block", [1, 3, 7, 32])
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_large_logits_give_finite_losses(dtype: type, block: int) -> None:
    logits = np.zeros((6, 7), dtype)
    logits[0, 2] = logits[1, 3] = 1e4
    logits[2, 4] = logits[3, 5] = -1e4
    logits[4], logits[5] = 1e4, -1e4
    targets = [2, 0, 4, 0, 6, 6]
    layer = given_logits(logits, targets, block).forward().backward().backward_weight()
    expected = [0, -1e4, -1e4 - np.log(6), -np.log(6), -np.log(7), -np.log(7)]
    np.testing.assert_allclose(layer.log_probs, expected, 1e-6, 2e-3)  # float32 has steps of 1e-3 at 1e4
    np.testing.assert_allclose(layer.distributions()[range(6), targets], expected, 1e-6, 2e-3)
    for result in (layer.dhidden, layer.dweight, layer.dbias, layer.scales, layer.exps):
        assert np.isfinite(result).all()


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_a_bias_of_ten_thousand_is_a_logit_of_ten_thousand(dtype: type) -> None:
    layer = Output(3, 7, 2, 3, dtype)
    layer.bias[:] = [1e4, -1e4, 0, 0, 0, 0, 0]
    layer.targets[:] = [0, 1, 2]
    layer.forward().backward().backward_weight()
    np.testing.assert_allclose(layer.log_probs, [0, -2e4, -1e4], 1e-3, 1e-2)
    assert np.isfinite(layer.dhidden).all()
    assert np.isfinite(layer.dweight).all()


@pytest.mark.parametrize("block", [1, 2, 16, 64])
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_never_a_silent_loss(bad: float, dtype: type, block: int) -> None:
    V = 37  # two rounds of the vector loops and a rest
    for place in (0, 5, 16, 36):
        logits = np.random.default_rng(place).normal(size=(1, V)).astype(dtype)
        logits[0, place] = bad
        layer = given_logits(logits, [1], block).forward()
        assert np.isnan(layer.log_probs[0])
        assert np.isnan(layer.log_norms[0])
        assert np.isnan(layer.distributions()[0, place])


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_nan_in_one_hidden_state_stays_in_its_row(dtype: type) -> None:
    layer = Output(4, 40, 3, 16, dtype)
    right = Output(4, 40, 3, 16, dtype).forward().log_probs
    layer.hidden[2, 1] = np.nan
    layer.forward().backward()
    log_probs = layer.distributions()
    assert np.isnan(layer.log_probs[2])
    assert np.isnan(log_probs[2]).all()
    assert np.isnan(layer.dhidden[2]).all()
    rest = [0, 1, 3]
    assert (layer.log_probs[rest] == right[rest]).all()
    assert np.isfinite(log_probs[rest]).all()
    assert np.isfinite(layer.dhidden[rest]).all()


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_nan_reaches_the_weight_gradient(dtype: type) -> None:
    layer = Output(4, 40, 3, 16, dtype)
    layer.hidden[2, 1] = np.nan
    layer.forward().backward_weight()
    assert np.isnan(layer.dweight).any(axis=1).all()
    assert np.isnan(layer.dbias).all()


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_gradients_of_a_row_sum_to_zero_over_the_vocabulary(dtype: type) -> None:
    layer = Output(5, 33, 4, 8, dtype)
    layer.dbias[:] = 0
    layer.forward().backward_weight()
    assert abs(layer.dbias.sum()) < 10 * TOLERANCES[dtype]
