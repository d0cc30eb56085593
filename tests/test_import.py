"""The package's face: quick to import, names found late, every docstring's example true."""

import doctest
import importlib
import inspect
import json
import os
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fastlm

HEAVY = {"matplotlib", "numpy", "scipy", "tqdm", "threadpoolctl", "tokenizers", "zstandard"}
NAMES = {"Corpus", "FastLMError", "NGramLM", "NNLM", "RNNLM", "Trainer", "Vocabulary", "load", "recipe"}
MODULES = [
    module.name
    for module in pkgutil.walk_packages(fastlm.__path__, "fastlm.")
    if not module.name.endswith("__main__")  # whose import runs the command line
]


def run_python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run code in an interpreter of its own that finds this same fastlm, away from any checkout."""
    environment = os.environ | {"PYTHONPATH": str(Path(fastlm.__file__).parents[1]), "PYTHONUTF8": "1"}
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("code", ["import fastlm", "import fastlm.errors", "import fastlm; dir(fastlm)"])
def test_the_import_is_light(tmp_path: Path, code: str) -> None:
    done = run_python(f"{code}\nimport json, sys; print(json.dumps(list(sys.modules)))", tmp_path)
    modules = json.loads(done.stdout)
    assert heavy_ones(modules) == set()
    assert "importlib.metadata" not in modules  # only the version needs it, and it is slow


@pytest.mark.parametrize(
    "code", ["import fastlm; fastlm.Vocabulary", "import fastlm; fastlm.load", "import fastlm.nn.layers"]
)
def test_sources_without_compiled_modules_say_what_to_do(tmp_path: Path, code: str) -> None:
    shutil.copytree(
        Path(fastlm.__file__).parent, tmp_path / "fastlm", ignore=shutil.ignore_patterns("*.so", "*.pyd", "__pycache__")
    )
    command = [sys.executable, "-c", code]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 1
    assert "looks like a source checkout: install it with 'pip install .'" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_are_light(tmp_path: Path, option: str) -> None:
    code = f"""
import json, sys
from fastlm.cli import main
sys.argv = ["fastlm", {option!r}]
try:
    status = main()
except SystemExit as stop:
    status = stop.code
print(json.dumps([status, list(sys.modules)]), file=sys.stderr)
"""
    done = run_python(code, tmp_path)
    status, modules = json.loads(done.stderr)
    assert status in {0, None}
    assert heavy_ones(modules) == set()
    assert "fastlm" in done.stdout


def heavy_ones(modules: list[str]) -> set[str]:
    return HEAVY & {name.split(".")[0] for name in modules}


def test_the_public_names_are_all_there() -> None:
    assert set(fastlm.__all__) >= NAMES
    assert len(set(fastlm.__all__)) == len(fastlm.__all__)
    assert set(dir(fastlm)) >= set(fastlm.__all__)
    for name in fastlm.__all__:
        assert getattr(fastlm, name) is not None


def test_a_public_name_is_the_same_object_each_time() -> None:
    for name in fastlm.__all__:
        assert getattr(fastlm, name) is getattr(fastlm, name)


def test_a_misspelt_name_is_an_attribute_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match="RNNML"):
        fastlm.RNNML  # noqa: B018
    assert not hasattr(fastlm, "__wrapped__")


def test_star_import_gives_the_public_names() -> None:
    namespace: dict[str, object] = {}
    exec("from fastlm import *", namespace)
    assert {name for name in namespace if not name.startswith("__")} == {
        name for name in fastlm.__all__ if not name.startswith("__")
    }


def test_public_names_say_what_they_do_by_an_example() -> None:
    without = []
    for name in fastlm.__all__:
        value = getattr(fastlm, name)
        is_error = inspect.isclass(value) and issubclass(value, Exception)
        if callable(value) and not is_error and ">>>" not in (inspect.getdoc(value) or ""):
            without.append(name)
    assert without == []


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_are_true(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    results = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert results.failed == 0, f"{results.failed} of {results.attempted} examples fail: see the captured output"
