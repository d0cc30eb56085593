"""The walls of the house: who may import whom, and how large a file may grow.

CONTRIBUTING.md ("Architecture") shows the same picture. A room is a folder or module of the package; `scan` is the
folder `fastlm/text/scan`. Exempt are the lazy face `fastlm/__init__.py` and `if TYPE_CHECKING:` blocks.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastlm

PACKAGE = Path(fastlm.__file__).parent
MAX_LINES = 400

COMPILED = frozenset({"kernels", "scan"})
ARROWS = {
    "training": {"models", "inference", "nn", "text", "storage", "progress"},
    "models": {"nn", "text", "modelfile", "inference", "progress"},
    "inference": {"nn", "text", "progress"},
    "modelfile": {"text", "storage"},
    "nn": {"kernels"},
    "text": {"scan", "storage", "progress"},
    "scan": set(),
    "kernels": set(),
    "storage": set(),
    "progress": set(),
    "data": set(),
    "errors": set(),
}
ARROWS["cli"] = set(ARROWS) - COMPILED
USE_COMPILED = {  # beside nn and text
    "fastlm.models.dynamic_evaluation",
    "fastlm.models.neural_cache",
    "fastlm.models.ngram",
    "fastlm.models.ngram_arpa",
    "fastlm.models.mixture",
    "fastlm.models.ngram_estimation",
    "fastlm.models.frozen",
}
OTHERS_MATRICES = {"scipy", "threadpoolctl"}  # NumPy and tqdm are all that is needed at run time

DRAWERS = {"util", "utils", "common", "helper", "helpers", "misc"}
SOURCES = {".py", ".pyi", ".pyx", ".pxd", ".pxi", ".h"}
CYTHON_IMPORT = re.compile(
    r"^[ \t]*(?:from +(?P<module>[\w.]+) +c?import +(?P<names>.+)|c?import +(?P<modules>.+))", re.MULTILINE
)


def violations(package: Path) -> list[str]:
    """All that breaks the rules in the folder of a package called fastlm."""
    found = []
    for path in sorted(path for path in package.rglob("*") if path.suffix in SOURCES):
        place = path.relative_to(package.parent).as_posix()
        found += [f"{place}: {words}" for words in wrong_shape(path, package)]
        if path.suffix not in {".h", ".pyi"} and path != package / "__init__.py":
            found += [f"{place}:{line}: {words}" for line, words in wrong_arrows(path, package)]
    return found


def wrong_shape(path: Path, package: Path) -> Iterator[str]:
    inside = path.relative_to(package)
    num_lines = len(path.read_text(encoding="utf-8").splitlines())
    if num_lines > MAX_LINES:
        yield f"{num_lines} lines, more than {MAX_LINES}"
    for part in inside.with_suffix("").parts:
        if part.strip("_").lower() in DRAWERS:
            yield f"{part!r} is a drawer, not a room: give what is in it a name"
    if path.suffix == ".pyx" and room(module_name(path, package)) not in COMPILED:
        yield "compiled modules live in fastlm/kernels and fastlm/text/scan"


def wrong_arrows(path: Path, package: Path) -> Iterator[tuple[int, str]]:
    module = module_name(path, package)
    source = room(module)
    if source not in ARROWS:
        yield 1, f"the room {source!r} is not in the plan"
        return
    allowed = ARROWS[source] | {source, "errors"} | (COMPILED if module in USE_COMPILED else set())
    for line, target in imports(path, module):
        if target.split(".")[0] in OTHERS_MATRICES:
            yield line, f"matrices are multiplied by fastlm.kernels.matrix, not by {target.split('.')[0]}"
        elif target.split(".")[0] == "fastlm" and not re.fullmatch(r"fastlm\.__\w+__", target):
            if room(target) not in ARROWS and source != "cli":
                yield line, f"{target} goes through the lazy face, which hides the arrow: import from the module"
            elif room(target) in ARROWS and room(target) not in allowed:
                yield line, f"{source} may not import {room(target)} ({target})"


def module_name(path: Path, package: Path) -> str:
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(module: str) -> str:
    """Return the room that a dotted name lies in: ``fastlm.nn.layers`` in nn, ``fastlm`` in the room ""."""
    parts = [*module.split("."), "", ""]
    if parts[1:3] == ["text", "scan"]:
        return "scan"
    return "cli" if parts[1] == "__main__" else parts[1]


def imports(path: Path, module: str) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that a file imports or cimports; ``from a import b`` is ``a.b``."""
    text = path.read_text(encoding="utf-8")
    package = module if path.stem == "__init__" else module.rpartition(".")[0]
    found = python_imports(ast.parse(text)) if path.suffix == ".py" else cython_imports(text)
    for line, origin, names in found:
        for name in names:
            yield line, ".".join(filter(None, [absolute(origin, package), name]))


def absolute(origin: str, package: str) -> str:
    name = origin.lstrip(".")
    level = len(origin) - len(name)
    if level == 0:
        return origin
    return ".".join([*package.split(".")[: package.count(".") + 2 - level], *([name] if name else [])])


def python_imports(node: ast.AST) -> Iterator[tuple[int, str, list[str]]]:
    """Line, module and imported names, of imports anywhere in the tree: in functions, too."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            for statement in child.orelse:
                yield from python_imports(ast.Module([statement], []))
            continue
        if isinstance(child, ast.Import):
            yield from ((child.lineno, alias.name, [""]) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield child.lineno, "." * child.level + (child.module or ""), [alias.name for alias in child.names]
        elif isinstance(child, ast.Call) and ast.unparse(child.func).split(".")[-1] in {"import_module", "__import__"}:
            # A name put together at run time is caught by its beginning.
            for text in ast.walk(child):
                if isinstance(text, ast.Constant) and isinstance(text.value, str):
                    yield child.lineno, text.value, [""]
        yield from python_imports(child)


def cython_imports(text: str) -> Iterator[tuple[int, str, list[str]]]:
    """Do the same for Cython, whose grammar `ast` does not know: imports stand on lines of their own."""
    joined = re.sub(r"\([^()]*\)", lambda part: part.group().replace("\n", "\v"), text)  # names in brackets
    for match in CYTHON_IMPORT.finditer(joined):
        line = len(re.findall("[\n\v]", joined[: match.start()])) + 1
        names = re.sub(r"#.*?(\v|$)|[()\v]", " ", match["names"] or match["modules"]).split(",")
        names = [name.split()[0] for name in names if name.split()]
        if match["module"]:
            yield line, match["module"], names
        else:
            yield from ((line, name, [""]) for name in names)


def test_the_package_keeps_its_walls() -> None:
    assert violations(PACKAGE) == []


def test_the_walk_sees_the_package() -> None:
    walked = {module_name(path, PACKAGE) for path in PACKAGE.rglob("*.py")}
    assert {"fastlm.cli", "fastlm.errors", "fastlm.nn", "fastlm.text"} <= walked


@pytest.mark.parametrize(
    ("place", "text", "expected"),
    [
        ("nn/layers.py", "import fastlm.text.vocabulary", "nn may not import text"),
        ("nn/layers.py", "from fastlm import text", "nn may not import text"),
        ("nn/layers.py", "from ..text import Vocabulary", "nn may not import text"),
        ("nn/__init__.py", "from .. import text", "nn may not import text"),
        ("nn/outputs/softmax.py", "from ...text.corpus import Corpus", "nn may not import text"),
        ("nn/layers.py", "def late():\n    from fastlm.text import Vocabulary", "layers.py:2: nn may not import text"),
        ("nn/layers.py", "if True:\n    import numpy, fastlm.models", "nn may not import models"),
        ("nn/layers.py", "import importlib\nx = importlib.import_module('fastlm.models.nnlm')", "import models"),
        ("text/corpus.py", "from fastlm.nn.layers import Linear", "text may not import nn"),
        ("inference/scoring.py", "from fastlm.models.base import LanguageModel", "inference may not import models"),
        ("inference/scoring.py", "from fastlm.text.scan import split", "inference may not import scan"),
        ("inference/scoring.py", "from fastlm.text import scan", "inference may not import scan"),
        ("models/nnlm.py", "from fastlm.kernels.softmax import forward", "models may not import kernels"),
        ("models/nnlm.py", "from fastlm.training import Trainer", "models may not import training"),
        ("cli/train.py", "from fastlm.kernels import softmax", "cli may not import kernels"),
        ("storage.py", "from fastlm.text import Vocabulary", "storage may not import text"),
        ("errors.py", "from fastlm.storage import Source", "errors may not import storage"),
        ("training/trainer.py", "import fastlm", "lazy face"),
        ("training/trainer.py", "from fastlm import RNNLM", "lazy face"),
        ("training/trainer.py", "if TYPE_CHECKING:\n    pass\nelse:\n    import fastlm.cli", "may not import cli"),
        ("kernels/softmax.pyx", "from fastlm.nn.parameters import Parameter", "kernels may not import nn"),
        ("kernels/softmax.pyx", "cimport cython\ncimport fastlm.text.scan as scan", "softmax.pyx:2: kernels may not"),
        ("kernels/softmax.pxd", "from ..text.scan cimport find", "kernels may not import scan"),
        (
            "kernels/softmax.pyx",
            "from fastlm cimport (\n    kernels,  # fine\n    text,\n)",
            "kernels may not import text",
        ),
        ("kernels/softmax.pyx", "from scipy.linalg.cython_blas cimport sgemm", "not by scipy"),
        ("kernels/softmax.pyx", "cimport scipy.linalg.cython_blas", "not by scipy"),
        ("nn/parallel.py", "from threadpoolctl import threadpool_limits", "not by threadpoolctl"),
        ("text/scan.pyx", "from fastlm.text.vocabulary import Vocabulary", "scan may not import text"),
        ("nn/fast.pyx", "", "compiled modules live in"),
        ("drawer/__init__.py", "", "the room 'drawer' is not in the plan"),
        ("nn/utils.py", "", "'utils' is a drawer"),
        ("nn/_helpers/__init__.py", "", "'_helpers' is a drawer"),
        ("kernels/common.pxd", "", "'common' is a drawer"),
        ("nn/layers.py", "x = 1\n" * (MAX_LINES + 1), f"401 lines, more than {MAX_LINES}"),
    ],
)
def test_what_is_not_allowed_is_found(tmp_path: Path, place: str, text: str, expected: str) -> None:
    found = violations(house(tmp_path, place, text))
    assert len(found) == 1
    assert found[0].startswith(f"fastlm/{place}:")
    assert expected in found[0]


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("__init__.py", "from fastlm.kernels import softmax"),
        ("__main__.py", "from fastlm.cli import main"),
        ("nn/layers.py", "if TYPE_CHECKING:\n    from fastlm.text import Vocabulary"),
        ("nn/layers.py", "import typing\nif typing.TYPE_CHECKING:\n    from fastlm.models import RNNLM"),
        ("nn/layers.py", "from fastlm.kernels import softmax"),
        ("nn/layers.py", "from .parameters import Parameter\nfrom ..errors import FastLMError"),
        ("text/corpus.py", "from fastlm.text import scan\nfrom fastlm import storage"),
        ("models/ngram.py", "from fastlm.kernels import ngram"),
        ("modelfile.py", "from fastlm import __version__"),
        ("cli/train.py", "import fastlm\nfrom fastlm import RNNLM, data, progress"),
        ("training/trainer.py", "import fastlmlike, numpy as np"),
        (
            "kernels/softmax.pyx",
            "from fastlm.kernels.matrix cimport real\nfrom .vector cimport exp\nfrom . cimport matrix",
        ),
        ("kernels/softmax.pyx", '"""\nfrom fastlm\'s import of words\n"""'),
        ("nn/layers.pyi", "from fastlm.text import Vocabulary"),
        ("nn/layers.py", "x = 1\n" * MAX_LINES),
    ],
)
def test_what_is_allowed_passes(tmp_path: Path, place: str, text: str) -> None:
    assert violations(house(tmp_path, place, text)) == []


def house(folder: Path, place: str, text: str) -> Path:
    """Build a package of one file."""
    path = folder / "fastlm" / place
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    return folder / "fastlm"
