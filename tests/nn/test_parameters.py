import numpy as np
import pytest

from fastlm.errors import ModelFileError
from fastlm.nn.parameters import Parameter, RandomParameters, Rows, StoredParameters


def parameter(*shape: int) -> Parameter:
    return Parameter("hidden.weight", np.ones(shape, np.float32))


# Gradients


def test_a_dense_gradient_is_overwritten_first_and_then_added_to_in_each_step() -> None:
    p = parameter(2, 3)
    for _ in range(2):
        assert p.gradient is None
        first, accumulate = p.dense_gradient()
        assert not accumulate
        assert (first.shape, first.dtype) == ((2, 3), np.float32)
        first[:] = 5
        for _ in range(2):
            again, accumulate = p.dense_gradient()
            assert accumulate
            assert again is first is p.gradient
        assert (first == 5).all()
        p.clear_gradient()


def test_memory_is_kept_from_step_to_step_and_given_back() -> None:
    p = parameter(2, 3)
    first, _ = p.dense_gradient()
    p.clear_gradient()
    assert p.dense_gradient()[0] is first
    p.release_gradient()
    assert p.gradient is None
    again, accumulate = p.dense_gradient()
    assert again is not first
    assert not accumulate


def test_a_gradient_is_dense_or_sparse() -> None:
    p = parameter(2, 3)
    p.gradient = Rows(np.array([1], np.int32), np.ones((1, 3), np.float32))
    with pytest.raises(TypeError, match=r"hidden\.weight has a row-sparse gradient"):
        p.dense_gradient()


def test_rows_of_every_kind_of_gradient() -> None:
    p = parameter(2, 3)
    none = p.gradient_rows()
    assert none.ids.shape == (0,)
    assert none.values.shape == (0, 3)
    assert none.values.dtype == np.float32

    p.dense_gradient()[0][:] = [[1, 2, 3], [4, 5, 6]]
    dense = p.gradient_rows()
    assert dense.ids.tolist() == [0, 1]
    assert dense.ids.dtype == np.int32
    np.testing.assert_array_equal(dense.values, [[1, 2, 3], [4, 5, 6]])

    p.gradient = rows = Rows(np.array([1], np.int32), np.ones((1, 3), np.float32))
    assert p.gradient_rows() is rows


def test_a_vector_is_one_row() -> None:
    p = parameter(4)
    p.dense_gradient()[0][:] = [1, 2, 3, 4]
    assert p.gradient_rows().ids.tolist() == [0]
    np.testing.assert_array_equal(p.gradient_rows().values, [[1, 2, 3, 4]])
    p.matrix[0, 2] = 9
    assert p.value.tolist() == [1, 1, 9, 1]


def test_only_a_read_only_value_is_copied() -> None:
    p = parameter(2, 2)
    before = p.value
    p.make_writable()
    assert p.value is before
    before.flags.writeable = False
    p.make_writable()
    assert p.value is not before
    p.value[:] = 3
    assert (before == 1).all()


def test_sums_of_squares_are_those_of_the_last_gradient() -> None:
    p = parameter(2, 3)
    for forget in (p.clear_gradient, p.release_gradient, p.dense_gradient):
        assert p.gradient_squares is None
        p.dense_gradient()
        p.gradient_squares = np.ones(4)
        forget()
    assert p.gradient_squares is None


# Where they come from


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_random_parameters_are_even_within_their_bound(dtype: str) -> None:
    p = RandomParameters(1, dtype).uniform("w", (200, 100), 0.5)
    assert (p.name, p.value.shape, p.value.dtype) == ("w", (200, 100), np.dtype(dtype))
    assert np.abs(p.value).max() <= 0.5
    counts = np.histogram(p.value, bins=10, range=(-0.5, 0.5))[0]
    assert np.abs(counts - 2000).max() < 6 * np.sqrt(2000)


def test_the_seed_decides_and_nothing_else() -> None:
    def draw(seed: int) -> bytes:
        source = RandomParameters(seed, np.float32)
        return source.uniform("a", (3, 4), 0.1).value.tobytes() + source.uniform("b", (3, 4), 0.1).value.tobytes()

    assert draw(1) == draw(1) != draw(2)
    assert draw(1)[:48] != draw(1)[48:]


def test_filled_parameters() -> None:
    source = RandomParameters(1, np.float64)
    assert source.filled("b", (3,)).value.tolist() == [0, 0, 0]
    assert source.filled("b", (2,), np.array([0.5, 1.5])).value.tolist() == [0.5, 1.5]
    assert source.filled("b", (3,)).value.dtype == np.float64


def test_stored_parameters_are_not_copied() -> None:
    array = np.ones((2, 3), np.float32)
    array.flags.writeable = False
    source = StoredParameters({"w": array}, "float32")
    assert source.uniform("w", (2, 3), 0.1).value is array
    source.check_all_taken()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "no array 'w'"),
        ({"w": np.ones((3, 2), np.float32)}, r"'w' is float32\[3, 2\], expected float32\[2, 3\]"),
        ({"w": np.ones(6, np.float32)}, r"'w' is float32\[6\]"),
        ({"w": np.ones((2, 3), np.float64)}, r"'w' is float64\[2, 3\]"),
        ({"w": np.ones((2, 3), np.int32)}, r"'w' is int32\[2, 3\]"),
    ],
)
def test_stored_parameters_that_do_not_fit(arrays: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        StoredParameters(arrays, "float32").uniform("w", (2, 3), 0.1)


def test_stored_parameters_that_nobody_takes() -> None:
    with pytest.raises(ModelFileError, match="arrays that a model of its config does not have: extra"):
        StoredParameters({"extra": np.ones(1, np.float32)}, "float32").check_all_taken()
