"""Checks of the matrix products at whatever CPU level they run; as a script, at the one of FASTLM_CPU_LEVEL."""

import os
import sys
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
from guards import Guards
from output_layer import OutputLayer
from reference import pack

from fastlm import kernels

DTYPES = (np.float32, np.float64)
HEIGHT, DEPTH = 168, 256  # rows that are taken at a time, and at most so many steps in depth
TILES = (*range(1, 31), 41, 42, 43)  # heights: all tiles of up to 14 rows, alone and as parts
WIDTHS = (*range(1, 34), *(width + i for width in (40, 48, 64, 96) for i in (-1, 0, 1)))
DEPTHS = (1, 2, *(DEPTH * parts + i for parts in (1, 2, 3) for i in (-1, 0, 1)), 2 * DEPTH + 2)
ROWS = tuple(HEIGHT * times + i for times in (1, 2, 3) for i in (-1, 0, 1, 2))

Products = dict[str, np.ndarray]
Pack = Callable[[np.ndarray], np.ndarray]  # of a right operand, (D, N)


def whole_numbers(dtype: type, *shape: int) -> np.ndarray:
    """Draw numbers of which every sum of products is exact, in any order."""
    return np.random.default_rng(sum(shape)).integers(-9, 10, shape).astype(dtype)


def real_numbers(dtype: type, *shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(dtype)


def operands(N: int, D: int, H: int, dtype: type, draw: object = whole_numbers) -> Products:
    return {"x": draw(dtype, N, D), "w": draw(dtype, H, D), "b": draw(dtype, H), "dy": draw(dtype, N, H)}


def products(x: np.ndarray, w: np.ndarray, b: np.ndarray, dy: np.ndarray, pack: Pack = pack) -> Products:
    """Run the three kernels of an affine layer between guards; `dy` is a slice of a wider array."""
    (N, D), H, dtype, guards = x.shape, len(w), x.dtype.type, Guards()
    wider = guards.array(dtype, N, H + 5)
    wider[:, 3:-2] = dy
    x, w, b, w_in_panels, wt_in_panels, x_in_panels = map(guards.around, (x, w, b, pack(w), pack(w.T), pack(x)))
    results = {
        "y": guards.array(dtype, N, H),
        "dx": guards.array(dtype, N, D),
        "dw": guards.array(dtype, H, D),
        "db": guards.array(dtype, H),
        "added": guards.around(w),
    }
    kernels.linear_forward(results["y"], x, wt_in_panels, b)
    kernels.linear_backward(results["dx"], guards.around(dy), w_in_panels)
    kernels.linear_backward_weight(results["dw"], results["db"], wider[:, 3:-2], x_in_panels, False)
    kernels.linear_backward_weight(results["added"], np.empty(0, dtype), wider[:, 3:-2], x_in_panels, True)
    guards.check()
    return results


def oracle(x: np.ndarray, w: np.ndarray, b: np.ndarray, dy: np.ndarray) -> Products:
    x, w, b, dy = (array.astype(np.float64) for array in (x, w, b, dy))
    return {"y": x @ w.T + b, "dx": dy @ w, "dw": dy.T @ x, "db": dy.sum(axis=0), "added": w + dy.T @ x}


def check_exactly(N: int, D: int, H: int, dtype: type, pack: Pack = pack) -> None:
    """Assert that products of whole numbers are those of NumPy."""
    arrays = operands(N, D, H, dtype)
    expected = oracle(**arrays)
    for name, result in products(**arrays, pack=pack).items():
        assert np.array_equal(result, expected[name]), f"{name} of N={N}, D={D}, H={H} is wrong in {dtype.__name__}"


def check_nearly(N: int, D: int, H: int, dtype: type, pack: Pack = pack) -> Products:
    """Assert that products are as near to NumPy as any order of the sums would be; return them."""
    arrays = operands(N, D, H, dtype, real_numbers)
    expected, size = oracle(**arrays), oracle(**{name: np.abs(array) for name, array in arrays.items()})
    results = products(**arrays, pack=pack)
    for name, depth in {"y": D + 1, "dx": H, "dw": N, "db": N, "added": N + 1}.items():
        error = np.abs(results[name] - expected[name])
        assert (error <= (depth + 1) * np.finfo(dtype).eps * size[name]).all(), (name, N, D, H, dtype)
    return results


def check_slices(N: int, D: int, H: int, dtype: type, rows: slice, outputs: slice, pack: Pack = pack) -> None:
    """Assert that some rows of the batch, and some of the outputs, give the bytes that they have in the whole."""
    arrays = operands(N, D, H, dtype, real_numbers)
    whole = products(**arrays, pack=pack)
    part = products(**arrays | {"x": arrays["x"][rows], "dy": arrays["dy"][rows]}, pack=pack)
    assert part["y"].tobytes() == whole["y"][rows].tobytes()
    assert part["dx"].tobytes() == whole["dx"][rows].tobytes()
    part = products(arrays["x"], arrays["w"][outputs], arrays["b"][outputs], arrays["dy"][:, outputs], pack)
    assert part["y"].tobytes() == np.ascontiguousarray(whole["y"][:, outputs]).tobytes()
    for name in ("dw", "db", "added"):
        assert part[name].tobytes() == whole[name][outputs].tobytes()


def shapes_around_the_bounds() -> Iterator[tuple[int, int, int]]:
    """Yield (N, D, H) at which each axis comes to the bounds that the products have as rows, columns and depth."""
    yield from product(TILES, (3,), WIDTHS)
    yield from product((1, 6, 15), DEPTHS, (1, 17, 32))
    yield from product(DEPTHS, (33,), (5, 15))
    yield from product(ROWS, (1, 257), (1, 16, 33))
    yield from product((3,), (2, 40), ROWS)


def main(path: str) -> None:
    assert kernels.cpu_level == int(os.environ["FASTLM_CPU_LEVEL"])
    saved = {}
    for dtype in DTYPES:
        for shape in list(shapes_around_the_bounds())[::11]:
            check_exactly(*shape, dtype)
        for N, D, H in [(5, 3, 2), (30, 300, 65), (170, 40, 33)]:
            results = check_nearly(N, D, H, dtype)
            saved |= {f"{name} {N} {D} {H} {dtype.__name__}": array for name, array in results.items()}
            check_slices(N, D, H, dtype, slice(1, N - 1), slice(1, H))
        layer = OutputLayer(300, 133, 41, 48, dtype, no_event=slice(0, None, 5)).forward_backward().backward_weight()
        layer.check(2e-5 if dtype == np.float32 else 1e-12)
        for name in ("log_probs", "dhidden", "dweight", "dbias"):
            saved[f"{name} {dtype.__name__}"] = getattr(layer, name)
    np.savez(path, **saved)


if __name__ == "__main__":
    main(sys.argv[1])
