"""The softmaxes within classes against their oracle, and whole distributions."""

from typing import Any

import numpy as np
import pytest
import reference

from fastlm import kernels

TOLERANCES = {np.float32: 2e-5, np.float64: 1e-12}
CASES = [  # where classes begin, how many tokens each has, H
    ([0, 1], [1], 1),
    ([0, 1, 4], [2, 3], 5),
    ([0, 2, 3, 40, 100], [70, 0, 5, 33], 13),
    ([0, 500], [40], 33),
]


class Classes:
    """Tokens sorted by class, and all the arrays of the kernels; G classes have tokens."""

    def __init__(self, bounds: list[int], counts: list[int], H: int, dtype: type) -> None:
        rng = np.random.default_rng(H)
        self.bounds, self.dtype = np.array(bounds, np.int32), dtype
        self.active = np.flatnonzero(counts)
        self.firsts, sizes = self.bounds[self.active], np.diff(self.bounds)[self.active]
        self.token_bounds, self.row_bounds = (
            np.concatenate([[0], np.cumsum(of)]).astype(np.int32) for of in (np.array(counts)[self.active], sizes)
        )
        self.classes = np.repeat(self.active, np.diff(self.token_bounds))
        self.targets = rng.integers(0, np.repeat(sizes, np.diff(self.token_bounds))).astype(np.int32)
        N, V = len(self.targets), bounds[-1]
        self.hidden, self.weight = rng.normal(size=(N, H)).astype(dtype), rng.normal(size=(V, H)).astype(dtype)
        self.bias = rng.normal(size=V).astype(dtype)
        itemsize = np.dtype(dtype).itemsize
        self.scratch = self.poison(kernels.class_scratch_size(self.token_bounds, self.row_bounds, H, itemsize))

    def poison(self, *shape: int) -> np.ndarray:
        return np.full(shape, np.nan, self.dtype)

    def parts(self, parts: list[tuple[int, int]] | None) -> list[tuple[int, int]]:
        return parts or [(0, len(self.active))]

    @property
    def groups(self) -> tuple[np.ndarray, ...]:
        return self.targets, self.token_bounds, self.row_bounds, self.firsts, self.scratch

    def forward(self, parts: list[tuple[int, int]] | None = None) -> np.ndarray:
        log_probs = self.poison(len(self.hidden))
        for start, stop in self.parts(parts):
            kernels.class_forward(log_probs, self.hidden, self.weight, self.bias, *self.groups, start, stop)
        return log_probs

    def forward_backward(self, parts: list[tuple[int, int]] | None = None) -> dict[str, np.ndarray]:
        (N, H), R = self.hidden.shape, self.row_bounds[-1]
        written: dict[str, Any] = {
            **{"log_probs": self.poison(N), "dhidden": self.poison(N, H), "dweight": self.poison(R, H)},
            **{"dbias": self.poison(R), "squares": np.full(len(self.active), np.nan)},
        }
        for start, stop in self.parts(parts):
            kernels.class_forward_backward(
                *written.values(), self.hidden, self.weight, self.bias, *self.groups, 0.25, start, stop
            )
        return written

    def log_probs_within(self) -> np.ndarray:
        """Return the log-probability of every word within its class, (N, V)."""
        of_words = np.repeat(np.arange(len(self.bounds) - 1), np.diff(self.bounds))
        no_classes = np.zeros((len(self.bounds) - 1, self.hidden.shape[1])), np.zeros(len(self.bounds) - 1)
        wide = [array.astype(np.float64) for array in (self.hidden, self.weight, self.bias)]
        both = reference.class_log_probs(wide[0], of_words, *no_classes, *wide[1:])
        return both + np.log(len(self.bounds) - 1)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("case", CASES)
def test_log_probs_equal_the_oracle(case: tuple[list[int], list[int], int], dtype: type) -> None:
    classes = Classes(*case, dtype)
    words = classes.targets + classes.bounds[classes.classes]
    expected = classes.log_probs_within()[np.arange(len(words)), words]
    tolerance = TOLERANCES[dtype]
    np.testing.assert_allclose(classes.forward(), expected, tolerance, tolerance)
    np.testing.assert_allclose(classes.forward_backward()["log_probs"], expected, tolerance, tolerance)


@pytest.mark.parametrize("case", CASES)
def test_float32_gradients_are_near_those_of_float64(case: tuple[list[int], list[int], int]) -> None:
    near, exact = Classes(*case, np.float32), Classes(*case, np.float64)
    for array in ("hidden", "weight", "bias"):
        setattr(exact, array, getattr(near, array).astype(np.float64))
    expected = exact.forward_backward()
    for name, result in near.forward_backward().items():
        np.testing.assert_allclose(result, expected[name], 1e-3, 1e-5, err_msg=name)


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_groups_in_any_parts_give_the_same_bytes(dtype: type) -> None:
    classes = Classes(*CASES[2], dtype)
    whole = classes.forward_backward()
    for parts in ([(2, 3), (0, 1), (1, 2)], [(0, 0), (1, 3), (0, 1)]):
        classes.scratch[:] = np.nan
        shared = classes.forward_backward(parts)
        assert {name: array.tobytes() for name, array in shared.items()} == {
            name: array.tobytes() for name, array in whole.items()
        }
        assert classes.forward(parts).tobytes() == whole["log_probs"].tobytes()


def test_the_only_word_of_a_class_is_certain() -> None:
    results = Classes([0, 1], [3], 4, np.float64).forward_backward()
    for name in ("log_probs", "dhidden", "dweight", "dbias"):
        np.testing.assert_allclose(results[name], 0, atol=1e-14)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("case", CASES)
def test_whole_distributions(case: tuple[list[int], list[int], int], dtype: type) -> None:
    classes, rng = Classes(*case, dtype), np.random.default_rng(1)
    num_classes, V = len(classes.bounds) - 1, classes.bounds[-1]
    of_classes = reference.log_softmax(rng.normal(size=(len(classes.hidden), num_classes))).astype(dtype)
    log_probs = classes.poison(len(classes.hidden), V)
    kernels.class_log_probs(
        log_probs, of_classes, classes.hidden, classes.weight, classes.bias, classes.bounds, classes.poison(V)
    )
    expected = classes.log_probs_within() + np.repeat(of_classes, np.diff(classes.bounds), axis=1)
    np.testing.assert_allclose(log_probs, expected, 10 * TOLERANCES[dtype], 10 * TOLERANCES[dtype])
    np.testing.assert_allclose(np.exp(log_probs.astype(np.float64)).sum(axis=1), 1, 10 * TOLERANCES[dtype])


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"token_bounds": [0, 5, 3, 108]}, "token_bounds fall from 5 to 3"),
        ({"token_bounds": [1, 70, 75, 108]}, "token_bounds are from 1 to 108, expected them to rise from 0 to 108"),
        ({"token_bounds": [0, 70, 75, 107]}, "token_bounds are from 0 to 107"),
        ({"row_bounds": [0, 2, 1, 99]}, "row_bounds fall from 2 to 1"),
        ({"firsts": [0, -1, 40]}, "group 1 has the words from -1 to 36, expected them within 0 to 100"),
        ({"firsts": [0, 64, 40]}, "group 1 has the words from 64 to 101"),
    ],
)
def test_groups_beyond_the_arrays_are_refused(wrong: dict[str, list[int]], text: str) -> None:
    classes = Classes(*CASES[2], np.float64)
    for name, values in wrong.items():
        setattr(classes, name, np.array(values, np.int32))
    for call in (classes.forward, classes.forward_backward):
        with pytest.raises(ValueError, match=text):
            call()


def test_too_little_scratch_is_refused() -> None:
    classes = Classes(*CASES[2], np.float64)
    needed, classes.scratch = len(classes.scratch), classes.scratch[:-1]
    with pytest.raises(ValueError, match=f"scratch has {needed - 1} elements, expected at least {needed}"):
        classes.forward()
