"""Build the compiled modules of fastlm; everything else stands in pyproject.toml."""

import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

DEBUG = os.environ.get("FASTLM_DEBUG_BUILD") == "1"
JOBS = int(os.environ.get("FASTLM_BUILD_JOBS", os.cpu_count() or 1))

# No -ffast-math: linking with it flips denormal handling for the whole process. These three only
# promise that nobody reads errno, floating-point traps or the sign of a zero.
GNU_FLAGS = ["-O3", "-g0", "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-Wno-unused-function"]
MSVC_FLAGS = ["/O2"]

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": DEBUG,
    "wraparound": False,
    "initializedcheck": DEBUG,
    "cdivision": True,
    "embedsignature": True,
    "freethreading_compatible": True,
}


def extension(path: Path) -> Extension:
    return Extension(
        ".".join(path.with_suffix("").parts),
        [str(path)],
        include_dirs=["fastlm/kernels"],
        depends=[str(header) for header in Path("fastlm/kernels").glob("*.h")],
        extra_compile_args=MSVC_FLAGS if sys.platform == "win32" else GNU_FLAGS,
    )


if __name__ == "__main__":  # where processes are not forked, each of cythonize's own imports this file
    setup(
        ext_modules=cythonize(
            [extension(path) for path in sorted(Path("fastlm").rglob("*.pyx"))],
            compiler_directives=DIRECTIVES,
            nthreads=JOBS,
        ),
        options={"build_ext": {"parallel": JOBS}},
    )
