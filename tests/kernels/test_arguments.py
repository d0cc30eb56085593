"""What holds for the arguments of every kernel: shapes, types, layout, and what becomes of what was in them."""

import ast
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from output_calls import output_calls
from window_calls import window_calls

from fastlm import kernels

# Sizes of which no two are alike, also when one more is added, so that an error's text can be searched for them.
SIZES = {"N": 37, "V": 50, "D": 8, "H": 13, "B": 6, "T": 20, "R": 10, "block": 22}


@dataclass(frozen=True)
class Call:
    """Right arguments for one kernel, in order, and how it uses those that it writes.

    `longer` names the axes that may be longer than is needed, or that set a size which no other argument shares;
    `strided` the arrays that may be slices of larger ones.
    """

    kernel: Callable[..., Any]
    arguments: dict[str, Any]
    overwritten: str = ""
    added: str = ""
    updated: str = ""
    scratch: str = ""
    longer: frozenset[tuple[str, int]] = frozenset()
    strided: str = ""

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        return {name: value for name, value in self.arguments.items() if isinstance(value, np.ndarray)}

    @property
    def written(self) -> list[str]:
        return [*self.overwritten.split(), *self.added.split(), *self.updated.split(), *self.scratch.split()]

    def run(self, **changed: Any) -> dict[str, np.ndarray]:
        """Call with copies of the arguments, some of them others; return what was written, scratch left out."""
        arguments = {name: np.copy(a) if isinstance(a, np.ndarray) else a for name, a in self.arguments.items()}
        arguments |= changed
        self.kernel(*arguments.values())
        return {name: arguments[name] for name in self.written if name not in self.scratch.split()}


def make_call(name: str, dtype: type, **sizes: int) -> Call:
    """One call of the kernel that `name` begins with, with SIZES or others."""
    N, V, D, H, B, T, R, block = {**SIZES, **sizes}.values()
    W = kernels.PANEL_BYTES // np.dtype(dtype).itemsize
    P, PD, PH, K = (-(-size // width) for size, width in [(N, W), (D, W), (H, W), (V, block)])
    PH3, PH4 = -(-3 * H // W), -(-4 * H // W)
    rng = np.random.default_rng(7)

    def real(*shape: int) -> np.ndarray:
        return rng.uniform(0.1, 1.0, shape).astype(dtype)  # positive: Adagrad's sum of squares is among them

    def ids(size: int, below: int) -> np.ndarray:
        return rng.permutation(below)[:size].astype(np.int32)

    resets = (rng.random((T, B)) < 0.3).astype(np.uint8)
    targets = ids(N, V)
    targets[:1] = -1
    blocks = {"penalty": 0.1, "factor": 0.3, "block": block, "start": 0, "stop": K}
    slots = np.full(V, -1, np.int32)
    update = {"gradient": real(R, D), "rows": ids(R, V), "scale": 0.5, "learning_rate": 0.1}
    saved = {"exps": real(P, V, W), "shifts": real(P, K, W)}
    step = {"hidden": real(H), "inputs": real(H), "previous": real(H), "w_hh": real(H, H)}
    log_probs = {"log_probs": real(N), "log_norms": real(P, W)}
    output = {"hidden": real(P, H, W), "weight": real(V, H), "bias": real(V), "targets": targets}
    linear_weight = {"dweight": real(H, D), "dbias": real(H), "doutput": real(N, H), "inputs": real(PD, N, W)}
    softmax_weight = {
        **{
            "dweight": real(V, H),
            "dbias": real(V),
            "squares": rng.random(K),
            **saved,
            "log_norms": real(P, W),
            "log_probs": -(real(N) ** 2),
            "hidden": real(N, H),
        },
        **{"targets": targets, "rows": real(PH, P * W, W), "scales": real(2, P * W), "lanes": real(block, W // 2)},
        **blocks,
    }
    calls: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "dropout_mask": ({"mask": real(D), "key": 5, "rate": 0.4}, {"overwritten": "mask", "longer": [("mask", 0)]}),
        "dropout_forward": ({"output": real(N, D), "inputs": real(N, D), "mask": real(D)}, {"overwritten": "output"}),
        "word_dropout": (
            {"output": real(N, D), "inputs": real(N, D), "ids": ids(N, V), "key": 5, "rate": 0.4},
            {"overwritten": "output"},
        ),
        "embedding_forward": (
            {"output": real(N, D), "ids": ids(N, V), "table": real(V, D)},
            {"overwritten": "output", "longer": [("table", 0)]},
        ),
        "embedding_backward": (
            {"rows": ids(N, V), "drows": real(N, D), "doutput": real(N, D), "ids": ids(N, V), "slots": slots},
            {
                "overwritten": "rows drows",
                "updated": "slots",
                "longer": [("rows", 0), ("drows", 0), ("slots", 0)],
            },
        ),
        "pack_matrix": (
            {"panels": real(P, D, W), "matrix": real(D, N)},
            {"overwritten": "panels", "longer": [("matrix", 1)]},
        ),
        "pack_transposed": (
            {"panels": real(P, D, W), "matrix": real(N, D)},
            {"overwritten": "panels", "longer": [("matrix", 0)]},
        ),
        "linear_forward": (
            {"output": real(N, H), "inputs": real(N, D), "weight": real(PH, D, W), "bias": real(H)},
            {"overwritten": "output"},
        ),
        "linear_backward": (
            {"dinputs": real(N, D), "doutput": real(N, H), "weight": real(PD, H, W)},
            {"overwritten": "dinputs", "longer": [("dinputs", 1)]},
        ),
        "linear_backward_weight": (
            linear_weight | {"accumulate": True},
            {"added": "dweight dbias", "strided": "doutput", "longer": [("dweight", 1)]},
        ),
        "linear_backward_weight overwriting": (
            linear_weight | {"accumulate": False},
            {"overwritten": "dweight dbias", "strided": "doutput", "longer": [("dweight", 1)]},
        ),
        "linear_forward_vector": (
            {"output": real(H), "inputs": real(D), "weight": real(H, D), "bias": real(H)},
            {"overwritten": "output"},
        ),
        "tanh_forward": ({"hidden": real(N, H)}, {"updated": "hidden", "longer": [("hidden", 0), ("hidden", 1)]}),
        "tanh_backward": (
            {"dinputs": real(N, H), "dhidden": real(N, H), "hidden": real(N, H)},
            {"overwritten": "dinputs"},
        ),
        "relu_forward": ({"output": real(N, H), "inputs": real(N, H)}, {"overwritten": "output"}),
        "relu_backward": (
            {"dinputs": real(N, H), "doutput": real(N, H), "output": real(N, H)},
            {"overwritten": "dinputs"},
        ),
        "gelu_forward": ({"output": real(N, H), "inputs": real(N, H)}, {"overwritten": "output"}),
        "gelu_backward": (
            {"dinputs": real(N, H), "doutput": real(N, H), "inputs": real(N, H)},
            {"overwritten": "dinputs"},
        ),
        "layer_norm_forward": (
            {"output": real(N, H), "normalised": real(N, H), "scales": real(N), "inputs": real(N, H)}
            | {"gain": real(H), "bias": real(H), "epsilon": 1e-5},
            {"overwritten": "output normalised scales"},
        ),
        "layer_norm_backward": (
            {"dinputs": real(N, H), "dgain": real(H), "dbias": real(H), "doutput": real(N, H)}
            | {"normalised": real(N, H), "scales": real(N), "gain": real(H), "accumulate": True},
            {"overwritten": "dinputs", "added": "dgain dbias"},
        ),
        "elman_forward": (
            {"hidden": real(T, B, H), "previous": real(T, B, H), "inputs": real(T, B, H), "initial": real(B, H)}
            | {"resets": resets, "w_hh": real(PH, H, W)},
            {"overwritten": "hidden previous", "strided": "hidden previous inputs resets"},
        ),
        "elman_backward": (
            {"dinputs": real(T, B, H), "dinitial": real(B, H), "dhidden": real(T, B, H), "hidden": real(T, B, H)}
            | {"resets": resets, "w_hh": real(PH, H, W)},
            {"overwritten": "dinputs dinitial", "strided": "dinputs dhidden hidden resets"},
        ),
        "elman_step": (step, {"overwritten": "hidden"}),
        "gru_forward": (
            {"hidden": real(T, B, H), "gates": real(T, B, 3 * H), "products": real(T, B, 3 * H)}
            | {"previous": real(T, B, H), "initial": real(B, H), "resets": resets, "w_hh": real(PH3, H, W)},
            {
                "overwritten": "hidden products previous",
                "updated": "gates",
                "strided": "hidden gates products previous resets",
            },
        ),
        "gru_backward": (
            {"dgates": real(T, B, 3 * H), "dproducts": real(T, B, 3 * H), "dinitial": real(B, H)}
            | {"dhidden": real(T, B, H), "gates": real(T, B, 3 * H), "products": real(T, B, 3 * H)}
            | {"previous": real(T, B, H), "resets": resets, "w_hh": real(PH, 3 * H, W)},
            {
                "overwritten": "dgates dproducts dinitial",
                "strided": "dgates dproducts dhidden gates products previous resets",
            },
        ),
        "gru_step": (
            {"hidden": real(H), "gates": real(3 * H), "products": real(3 * H), "previous": real(H)}
            | {"w_hh": real(3 * H, H)},
            {"overwritten": "hidden products", "updated": "gates"},
        ),
        "lstm_forward": (
            {"hidden": real(T, B, H), "cell": real(T, B, H), "gates": real(T, B, 4 * H), "previous": real(T, B, H)}
            | {"previous_cell": real(T, B, H), "initial": real(B, H), "initial_cell": real(B, H), "resets": resets}
            | {"w_hh": real(PH4, H, W)},
            {
                "overwritten": "hidden cell previous previous_cell",
                "updated": "gates",
                "strided": "hidden cell gates previous previous_cell resets",
            },
        ),
        "lstm_backward": (
            {"dgates": real(T, B, 4 * H), "dinitial": real(B, H), "dinitial_cell": real(B, H)}
            | {"dhidden": real(T, B, H), "gates": real(T, B, 4 * H), "cell": real(T, B, H)}
            | {"previous_cell": real(T, B, H), "resets": resets, "w_hh": real(PH, 4 * H, W)},
            {
                "overwritten": "dgates dinitial dinitial_cell",
                "strided": "dgates dhidden gates cell previous_cell resets",
            },
        ),
        "lstm_step": (
            {"hidden": real(H), "cell": real(H), "gates": real(4 * H), "previous": real(H), "previous_cell": real(H)}
            | {"w_hh": real(4 * H, H)},
            {"overwritten": "hidden cell", "updated": "gates"},
        ),
        "softmax_forward": (
            log_probs | output | {"exps": real(2, block, W), "shifts": real(P, W)},
            {"overwritten": "log_probs log_norms", "scratch": "exps shifts", "longer": [("exps", 0), ("exps", 1)]},
        ),
        "softmax_forward_backward": (
            log_probs
            | {"dhidden": real(N, H)}
            | saved
            | output
            | {"scratch": real(P, H, W), "penalty": 0.1, "factor": 0.3, "block": block},
            {"overwritten": "log_probs log_norms dhidden exps shifts", "scratch": "scratch"},
        ),
        "softmax_backward_weight": (
            softmax_weight | {"accumulate": True},
            {"added": "dweight dbias", "overwritten": "squares", "scratch": "rows scales lanes"},
        ),
        "softmax_backward_weight overwriting": (
            softmax_weight | {"accumulate": False},
            {"overwritten": "dweight dbias squares", "scratch": "rows scales lanes"},
        ),
        "softmax_log_probs": (
            {"log_probs": real(N, V), "hidden": real(N, H), "weight": real(V, H), "bias": real(V), "scratch": real(V)},
            {"overwritten": "log_probs", "scratch": "scratch"},
        ),
        "softmax_log_probs_batch": (
            {
                **{"log_probs": real(N, V), "hidden": real(P, H, W), "weight": real(V, H), "bias": real(V)},
                **{"logits": real(2, block, W), "scratch": real(V)},
            },
            {
                **{"overwritten": "log_probs", "scratch": "logits scratch"},
                **{"longer": [("log_probs", 0), ("logits", 0), ("logits", 1)]},
            },
        ),
        "entropies_and_ranks": (
            {
                **{"entropies": rng.random(N), "ranks": ids(N, V), "log_probs": real(N, V)},
                **{"targets": ids(N, V), "scratch": real(2, V)},
            },
            {"overwritten": "entropies ranks", "scratch": "scratch"},
        ),
        "squared_norm": ({"gradient": real(R, D)}, {"longer": [("gradient", 0), ("gradient", 1)]}),
        "sgd_update": ({"value": real(V, D), **update}, {"updated": "value", "longer": [("value", 0)]}),
        "averaged_update": (
            {"value": real(V, D), "sums": real(V, D), **update, "decay": 0.01, "weight": 3.0},
            {"updated": "value sums"},
        ),
        "decay_update": (
            {"value": real(V, D), "rows": ids(R, V), "factor": 0.9},
            {"updated": "value", "longer": [("value", 0), ("value", 1), ("rows", 0)]},
        ),
        "momentum_update": (
            {"value": real(V, D), "velocity": real(V, D), **update, "momentum": 0.9},
            {"updated": "value velocity"},
        ),
        "adagrad_update": (
            {"value": real(V, D), "squares": real(V, D), **update, "epsilon": 1e-8},
            {"updated": "value squares"},
        ),
        "adam_update": (
            {"value": real(V, D), "mean": real(V, D), "square": real(V, D), **update}
            | {"beta1": 0.9, "beta2": 0.99, "epsilon": 1e-8, "step": 3},
            {"updated": "value mean square"},
        ),
    }
    calls |= output_calls(dtype, N, V, D, H, R) | window_calls(dtype, B, T, D, H)
    arguments, uses = calls[name]
    uses["longer"] = frozenset(uses.get("longer", ()))
    return Call(getattr(kernels, name.partition(" ")[0]), arguments, **uses)


@pytest.fixture(params=[np.float32, np.float64])
def dtype(request: pytest.FixtureRequest) -> type:
    return request.param


KERNELS = [name for name in kernels.__all__ if callable(getattr(kernels, name))]
CALLS = [*KERNELS, "linear_backward_weight overwriting", "softmax_backward_weight overwriting"]


@pytest.fixture(params=CALLS)
def call(request: pytest.FixtureRequest, dtype: type) -> Call:
    return make_call(request.param, dtype)


def refused(call: Call, *kinds: type[Exception], **changed: Any) -> str:
    """Assert that the call raises a ValueError, or one of `kinds`, and writes nothing; return the error's text."""
    arguments = call.arguments | changed
    before = {name: array.tobytes() for name, array in call.arrays.items()}
    with pytest.raises((ValueError, *kinds)) as caught:
        call.kernel(*arguments.values())
    assert {name: array.tobytes() for name, array in call.arrays.items()} == before
    return str(caught.value)


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return all(one[name].tobytes() == other[name].tobytes() for name in one)


def poison(array: np.ndarray) -> np.ndarray:
    return np.full_like(array, np.nan if array.dtype.kind == "f" else 99)


def test_arguments_are_in_the_order_of_the_signature(call: Call) -> None:
    assert list(call.arguments) == list(inspect.signature(call.kernel).parameters)


def test_the_stub_beside_the_module_has_this_signature(call: Call) -> None:
    folder = Path(kernels.__file__).parent
    stub = folder / (call.kernel.__module__.split(".")[-1] + ".pyi")
    functions = {node.name: node for node in ast.parse(stub.read_text()).body if isinstance(node, ast.FunctionDef)}
    stubbed = functions[call.kernel.__name__]
    assert [argument.arg for argument in stubbed.args.args] == list(inspect.signature(call.kernel).parameters)


def test_read_only_inputs_are_accepted(call: Call) -> None:
    inputs = {name: array.copy() for name, array in call.arrays.items() if name not in call.written}
    for array in inputs.values():
        array.setflags(write=False)
    assert same(call.run(**inputs), call.run())


def test_read_only_outputs_are_refused(call: Call) -> None:
    for name in call.written:
        array = call.arrays[name].copy()
        array.setflags(write=False)
        assert "read-only" in refused(call, **{name: array})


def test_what_is_overwritten_may_hold_anything_before(call: Call) -> None:
    names = [*call.overwritten.split(), *call.scratch.split()]
    assert same(call.run(**{name: poison(call.arrays[name]) for name in names}), call.run())


def test_what_is_added_to_keeps_what_it_held(call: Call) -> None:
    names = call.added.split()
    zeros = call.run(**{name: np.zeros_like(call.arrays[name]) for name in names})
    for name, result in call.run().items():
        if name in names:
            assert zeros[name].any()
            np.testing.assert_allclose(result, call.arrays[name] + zeros[name], rtol=1e-5)


def test_a_wrong_size_is_refused_with_what_was_given_and_what_was_expected(call: Call) -> None:
    for name, array in call.arrays.items():
        for axis in range(array.ndim):
            if (name, axis) in call.longer:
                continue
            shape = tuple(size + (i == axis) for i, size in enumerate(array.shape))
            text = refused(call, **{name: np.zeros(shape, array.dtype)})
            numbers = set(map(int, re.findall(r"\d+", text)))
            assert {array.shape[axis], shape[axis]} <= numbers, f"{name}, axis {axis}: {text}"


def test_too_short_is_refused_where_longer_is_not(call: Call) -> None:
    if call.kernel is kernels.embedding_backward:
        for name in ("rows", "drows"):
            assert "do not fit 37 ids" in refused(call, **{name: call.arrays[name][:36]})


def test_a_wrong_number_of_axes_is_refused(call: Call) -> None:
    for name, array in call.arrays.items():
        refused(call, TypeError, **{name: array[None]})
        refused(call, TypeError, **{name: array[..., 0]})


def test_a_wrong_type_is_refused(call: Call, dtype: type) -> None:
    num_real = sum(array.dtype == dtype for array in call.arrays.values())
    for name, array in call.arrays.items():
        wrong: list[type] = [np.float16, np.complex64, np.int16]
        if array.dtype != dtype or num_real > 1:
            wrong += [np.int64, np.float32 if dtype == np.float64 else np.float64]
        for other in set(wrong) - {array.dtype.type}:
            refused(call, TypeError, **{name: array.astype(other)})


def test_rows_that_are_not_contiguous_are_refused(call: Call) -> None:
    for name, array in call.arrays.items():
        if name != "resets":
            spread = np.zeros((*array.shape, 2), array.dtype)[..., 0]
            refused(call, TypeError, **{name: spread})
            refused(call, TypeError, **{name: array[..., ::-1]})
            if array.ndim > 1:
                refused(call, TypeError, **{name: np.asfortranarray(array)})


def test_slices_of_a_wider_array_are_refused_or_give_the_same_bytes(call: Call) -> None:
    for name, array in call.arrays.items():
        if array.ndim > 1:
            wider = np.zeros((*array.shape[:-2], array.shape[-2] + 3, array.shape[-1] + 2), array.dtype)
            slices = wider[..., 2:-1, 1:-1]
            slices[...] = array
            if name in call.strided.split():
                assert same(call.run(**{name: slices}), call.run())
            else:
                refused(call, TypeError, **{name: slices})


def test_rows_that_run_backwards_or_lie_on_each_other_are_refused(call: Call) -> None:
    for name, array in call.arrays.items():
        if array.ndim > 1 and name != "resets":
            refused(call, TypeError, **{name: array[..., ::-1, :]})
            refused(call, TypeError, **{name: np.broadcast_to(array[..., :1, :], array.shape)})


@pytest.mark.parametrize("empty", ["N", "D", "H", "B", "T", "R"])
@pytest.mark.parametrize("name", CALLS)
def test_empty_arrays_are_accepted(name: str, empty: str, dtype: type) -> None:
    make_call(name, dtype, **{empty: 0}).run()


@pytest.mark.parametrize(
    ("name", "wrong", "text"),
    [
        ("dropout_mask", {"rate": 1.0}, "rate is 1.0, expected 0 <= rate < 1"),
        ("word_dropout", {"rate": 1.0}, "rate is 1.0, expected 0 <= rate < 1"),
        ("dropout_mask", {"rate": -0.1}, "rate is -0.1"),
        ("dropout_mask", {"rate": float("nan")}, "rate is nan"),
        ("adam_update", {"step": 0}, "step is 0, expected 1 at the first step"),
        ("softmax_forward_backward", {"block": 0}, "block is 0, expected at least 1"),
        ("softmax_forward_backward", {"block": -22}, "block is -22"),
        ("softmax_forward_backward", {"block": 5}, "in blocks of 5: expected (2, 50, 32), (2, 10, 32), (2, 32)"),
        ("softmax_forward_backward", {"block": 50}, "in blocks of 50: expected (2, 50, 32), (2, 1, 32), (2, 32)"),
        ("softmax_backward_weight", {"block": 0}, "block is 0, expected at least 1"),
        ("softmax_backward_weight", {"block": 50}, "in blocks of 50: expected (2, 50, 32), (2, 1, 32), (2, 32)"),
        ("softmax_backward_weight", {"stop": 4}, "start is 0 and stop is 4, expected 0 <= start <= stop <= 3 blocks"),
        ("softmax_backward_weight", {"start": 3, "stop": 2}, "start is 3 and stop is 2"),
        ("softmax_backward_weight", {"start": -1}, "start is -1"),
        ("class_forward", {"stop": 3}, "start is 0 and stop is 3, expected 0 <= start <= stop <= 2 groups"),
        ("class_forward_backward", {"start": -1}, "start is -1 and stop is 2"),
        ("sampled_backward_weight", {"stop": 45}, "start is 0 and stop is 45, expected 0 <= start <= stop <= 44 rows"),
        ("sampled_backward_weight", {"start": -1}, "start is -1 and stop is 44"),
        ("layer_norm_forward", {"epsilon": 0.0}, "epsilon is 0.0, expected a number above 0"),
        ("window_forward", {"size": 0}, "do not fit windows of 0"),
        ("pack_words", {"size": 5}, "weight has shape (13, 24), expected (H, 5 * D) for 5 words"),
        ("pack_windows", {"size": 4}, "windows of 4 words do not fit inputs (6, 22, 8)"),
        ("average_backward_weight", {"stop": 6}, "start is 0 and stop is 6, expected 0 <= start <= stop <= 5 rows"),
        ("average_backward_weight", {"start": -1}, "start is -1"),
        ("average_forward", {"ends": np.array([3, 2, 5], np.int32)}, "do not fit 3 averages"),
        ("average_forward", {"ends": np.array([6, 5], np.int32)}, "ends are [6, 5], expected rising numbers"),
        ("average_forward", {"ends": np.array([2, 4], np.int32)}, "of which the last is 5"),
        ("average_backward", {"ends": np.array([-1, 5], np.int32)}, "ends are [-1, 5]"),
        ("draw_rows", {"num_samples": 4}, "do not fit 4 samples and 37 targets: expected (41,), (37,)"),
    ],
)
def test_a_wrong_number_is_refused(name: str, wrong: dict[str, float], text: str) -> None:
    assert text in refused(make_call(name, np.float32), **wrong)
