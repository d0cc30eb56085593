import numpy as np
import pytest

from fastlm.nn.parallel import Workers
from fastlm.nn.workspace import Workspace


def make(**options: object) -> Workspace:
    return Workspace(np.float32, Workers(1), **options)  # type: ignore[arg-type]


def test_the_same_name_gives_the_same_memory() -> None:
    workspace = make()
    first = workspace.array("hidden", (3, 4))
    first[:] = 7
    again = workspace.array("hidden", (2, 6))
    assert np.shares_memory(first, again)
    assert again.shape == (2, 6)
    assert (again == 7).all()


def test_another_name_gives_other_memory() -> None:
    workspace = make()
    assert not np.shares_memory(workspace.array("a", (5,)), workspace.array("b", (5,)))


@pytest.mark.parametrize("shape", [(1,), (3, 5), (2, 3, 4), (0, 4)])
def test_arrays_are_whole_and_writable(shape: tuple[int, ...]) -> None:
    workspace = make()
    workspace.array("x", (1,))
    array = workspace.array("x", shape)
    assert array.shape == shape
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert array.dtype == np.float32


def test_a_smaller_use_in_between_keeps_the_memory() -> None:
    workspace = make()
    large = workspace.array("x", (10,))
    workspace.array("x", (2,))
    assert np.shares_memory(large, workspace.array("x", (10,)))


def test_fill_is_for_new_memory_only() -> None:
    workspace = make()
    slots = workspace.array("slots", (4,), np.int32, fill=-1)
    assert slots.dtype == np.int32
    assert slots.tolist() == [-1] * 4
    slots[0] = 5
    assert workspace.array("slots", (4,), np.int32, fill=-1).tolist() == [5, -1, -1, -1]
    assert workspace.array("slots", (6,), np.int32, fill=-1).tolist() == [-1] * 6


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_arrays_begin_with_a_cache_line(dtype: type) -> None:
    workspace = make()
    for size in (*range(1, 70), 1000, 100_003):
        array = workspace.array(f"{size}", (size,), dtype)
        assert array.ctypes.data % 64 == 0
        assert array.dtype == dtype
        array[:] = size  # all of it is there
        assert (array == size).all()


def test_keys_differ_by_seed_step_and_name() -> None:
    keys = set()
    for seed in (0, 1, 2**63):
        for step in range(5):
            for name in ("embedding_dropout", "hidden_dropout"):
                workspace = make(seed=seed)
                workspace.step = step
                key = workspace.random_key(name)
                assert 0 <= key < 2**64
                assert workspace.random_key(name) == key
                keys.add(key)
    assert len(keys) == 3 * 5 * 2
