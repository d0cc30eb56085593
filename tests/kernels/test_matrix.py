"""Matrix products: packing, products of every shape, what stands beside what, and the code of lesser CPUs."""

import os
import subprocess
import sys
from pathlib import Path

import matrix_checks
import numpy as np
import pytest
from guards import Guards
from hypothesis import given, settings
from hypothesis import strategies as st
from matrix_checks import DTYPES, HEIGHT, check_exactly, check_nearly, check_slices, real_numbers
from reference import pack

import fastlm
from fastlm import kernels

DEPTHS = st.one_of(st.integers(1, 40), st.sampled_from(matrix_checks.DEPTHS))
WIDTHS = st.one_of(st.integers(1, 140), st.sampled_from(matrix_checks.WIDTHS))
HEIGHTS = st.one_of(st.integers(1, 45), st.integers(HEIGHT - 16, HEIGHT + 16), st.sampled_from(matrix_checks.ROWS))


@pytest.fixture(params=DTYPES)
def dtype(request: pytest.FixtureRequest) -> type:
    return request.param


# Packing


@pytest.mark.parametrize("depth", [0, 1, 2, 15, 16, 17, 31, 33, 300])
def test_packing_equals_the_oracle(depth: int, dtype: type) -> None:
    for columns in (0, 1, 2, 7, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97):
        guards = Guards()
        matrix = guards.around(real_numbers(dtype, depth, columns))
        expected = pack(matrix)
        for kernel, operand in [(kernels.pack_matrix, matrix), (kernels.pack_transposed, guards.around(matrix.T))]:
            panels = guards.array(dtype, *expected.shape)
            kernel(panels, operand)
            assert panels.tobytes() == expected.tobytes(), (kernel, depth, columns)
        guards.check()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_packed_as_it_is(bad: float, dtype: type) -> None:
    matrix = real_numbers(dtype, 5, 33)
    matrix[3, 32] = bad
    expected, panels = pack(matrix), np.empty((2, 5, 32) if dtype == np.float32 else (3, 5, 16), dtype)
    kernels.pack_matrix(panels, matrix)
    np.testing.assert_array_equal(panels, expected)
    kernels.pack_transposed(panels, matrix.T.copy())
    np.testing.assert_array_equal(panels, expected)


@pytest.mark.parametrize("kernel", [kernels.pack_matrix, kernels.pack_transposed])
@pytest.mark.parametrize("panels", [(1, 5, 32), (3, 5, 32), (2, 4, 32), (2, 6, 32), (2, 5, 16), (2, 5, 33)], ids=str)
def test_panels_that_do_not_fit_are_refused(kernel: object, panels: tuple[int, int, int]) -> None:
    matrix = np.zeros((5, 33) if kernel is kernels.pack_matrix else (33, 5), np.float32)
    got = str(panels).replace("(", r"\(").replace(")", r"\)")
    expected = rf"{got}, expected \(2, 5, 32\)( or, split, \(2, 9, 32\))?: 33 columns of 5"
    with pytest.raises(ValueError, match=expected):
        kernel(np.zeros(panels, np.float32), matrix)


# Products


def test_products_at_all_bounds_are_exact(dtype: type) -> None:
    for shape in matrix_checks.shapes_around_the_bounds():
        check_exactly(*shape, dtype)


@settings(max_examples=100)
@given(N=HEIGHTS, D=DEPTHS, H=WIDTHS, dtype=st.sampled_from(DTYPES))
def test_products_of_any_shape_are_exact(N: int, D: int, H: int, dtype: type) -> None:
    check_exactly(N, D, H, dtype)


@settings(max_examples=50)
@given(N=HEIGHTS, D=DEPTHS, H=WIDTHS, dtype=st.sampled_from(DTYPES))
def test_products_are_as_near_as_rounding_lets_them(N: int, D: int, H: int, dtype: type) -> None:
    check_nearly(N, D, H, dtype)


@settings(max_examples=150)
@given(N=HEIGHTS, D=DEPTHS, H=HEIGHTS, dtype=st.sampled_from(DTYPES), data=st.data())
def test_rows_of_a_product_do_not_depend_on_each_other(
    N: int, D: int, H: int, dtype: type, data: st.DataObject
) -> None:
    def part(size: int) -> slice:
        return slice(*sorted(data.draw(st.tuples(st.integers(0, size), st.integers(0, size)))))

    check_slices(N, D, H, dtype, part(N), part(H))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_row_and_column(bad: float, dtype: type) -> None:
    """Beside it there is zero times infinity only in what pads the last panel."""
    for D, H in [(1, 1), (3, 7), (3, 33), (257, 40)]:
        arrays = matrix_checks.operands(20, D, H, dtype)
        arrays["w"][arrays["w"] == 0] = 1
        clean = matrix_checks.products(**arrays)["y"]
        arrays["x"][5, D // 2] = bad
        output = matrix_checks.products(**arrays)["y"]
        assert not np.isfinite(output[5]).any()
        rest = np.arange(20) != 5
        assert output[rest].tobytes() == clean[rest].tobytes()


# CPU levels


def run_at_level(level: object, *command: str) -> subprocess.CompletedProcess[str]:
    folders = [str(Path(matrix_checks.__file__).parent), str(Path(fastlm.__file__).parents[1])]
    environment = os.environ | {"FASTLM_CPU_LEVEL": str(level), "PYTHONPATH": os.pathsep.join(folders)}
    environment |= {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, encoding="utf-8", check=False
    )


def test_lesser_cpus_compute_the_same(tmp_path: Path) -> None:
    """Each level checks itself against NumPy; those with FMA differ in nothing but how much is done at a time."""
    results = []
    for level in range(kernels.cpu_level + 1):
        done = run_at_level(level, matrix_checks.__file__, str(tmp_path / "results.npz"))
        assert done.returncode == 0, done.stderr
        with np.load(tmp_path / "results.npz") as saved:
            results.append(dict(saved))
    for name, expected in results[-1].items():
        for level, result in enumerate(results):
            scale = np.abs(expected).max() * np.finfo(expected.dtype).eps
            assert np.abs(result[name] - expected).max() <= (100 if level == 0 else 10) * scale, (name, level)


SAY_LEVEL = "from fastlm import kernels; print(kernels.cpu_level)"


def test_a_level_that_this_cpu_has_not_is_not_taken() -> None:
    said = [int(run_at_level(level, "-c", SAY_LEVEL).stdout) for level in range(4)]
    assert said == [min(level, said[3]) for level in range(4)]
    assert kernels.cpu_level <= said[3]


@pytest.mark.parametrize("level", ["4", "-1", "two", ""])
def test_a_level_that_no_cpu_has_is_refused(level: str) -> None:
    done = run_at_level(level, "-c", SAY_LEVEL)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"ValueError: the environment variable FASTLM_CPU_LEVEL is {level!r}, expected 0, 1, 2 or 3, or none"
    )
