"""The lookup table against its oracle, and the rows of its gradient."""

import numpy as np
import pytest
import reference

from fastlm import kernels

CASES = [  # ids, V, D
    ([0], 1, 1),
    ([3, 0, 3, 3, 1], 4, 7),
    ([6, 5, 4], 7, 1),
    ([2] * 40, 3, 33),
    (list(range(50)), 50, 16),
]


def table_and_ids(ids: list[int], V: int, D: int, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    return np.random.default_rng(V).normal(size=(V, D)).astype(dtype), np.array(ids, np.int32)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES)
def test_forward_gathers_rows(case: tuple[list[int], int, int], dtype: type) -> None:
    table, ids = table_and_ids(*case, dtype)
    output = np.full((len(ids), case[2]), np.nan, dtype)
    kernels.embedding_forward(output, ids, table)
    assert output.tobytes() == reference.embedding_forward(ids, table).tobytes()


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 1e-5), (np.float64, 1e-12)])
@pytest.mark.parametrize("case", CASES)
def test_backward_sums_the_gradients_of_each_row(case: tuple[list[int], int, int], dtype: type, rtol: float) -> None:
    (_, V, D), (_, ids) = case, table_and_ids(*case, dtype)
    N = len(ids)
    doutput = np.random.default_rng(N).normal(size=(N, D)).astype(dtype)
    rows, drows, slots = np.full(N, 99, np.int32), np.full((N, D), np.nan, dtype), np.full(V, -1, np.int32)
    count = kernels.embedding_backward(rows, drows, doutput, ids, slots)
    assert rows[:count].tolist() == list(dict.fromkeys(ids.tolist()))  # in the order of first occurrence
    dense = reference.embedding_backward(doutput.astype(np.float64), ids, V)
    np.testing.assert_allclose(drows[:count], dense[rows[:count]], rtol, atol=rtol)
    assert (slots == -1).all()
    assert (rows[count:] == 99).all()
    assert np.isnan(drows[count:]).all()


def test_scratch_serves_again() -> None:
    slots = np.full(9, -1, np.int32)
    for ids in ([8, 0, 8], [0, 1, 1], [5, 8, 5]):
        rows, drows = np.empty(3, np.int32), np.empty((3, 2))
        count = kernels.embedding_backward(rows, drows, np.ones((3, 2)), np.array(ids, np.int32), slots)
        assert count == 2
        assert sorted(drows[:2, 0]) == [1.0, 2.0]
        assert (slots == -1).all()


def test_one_id_and_its_gradient_does_not_leak_into_another() -> None:
    doutput = np.array([[np.nan], [2.0], [3.0]])
    rows, drows = np.empty(3, np.int32), np.empty((3, 1))
    kernels.embedding_backward(rows, drows, doutput, np.array([4, 1, 1], np.int32), np.full(5, -1, np.int32))
    assert np.isnan(drows[0, 0])
    assert drows[1, 0] == 5.0


def test_nothing_looked_up_gives_no_rows() -> None:
    slots = np.full(3, -1, np.int32)
    no_rows = np.empty((0, 2))
    assert kernels.embedding_backward(np.empty(0, np.int32), no_rows, no_rows, np.empty(0, np.int32), slots) == 0
