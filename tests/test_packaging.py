"""What is installed: the metadata, the compiled modules with their types, and the sample texts."""

import gzip
import re
import unicodedata
from importlib import import_module, metadata
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import fastlm
from fastlm.data import SAMPLE_TEXTS, sample_text

PACKAGE = Path(fastlm.__file__).parent
CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"


@pytest.fixture(scope="module")
def installed() -> metadata.Distribution:
    try:
        distribution = metadata.distribution("fastlm")
    except metadata.PackageNotFoundError:
        pytest.skip("fastlm is not installed, it runs from its sources")
    installed = Path(str(distribution.locate_file("fastlm/__init__.py")))
    if not installed.exists() or not installed.samefile(fastlm.__file__):  # none is there if it is installed editable
        pytest.skip("another fastlm is installed than the one that runs")
    return distribution


def test_the_version_is_said_once(installed: metadata.Distribution) -> None:
    assert fastlm.__version__ == installed.version


def test_the_changelog_begins_with_this_version(installed: metadata.Distribution) -> None:
    versions = re.findall(r"^## \[(\d\S*)\]", CHANGELOG.read_text(encoding="utf-8"), re.MULTILINE)
    assert versions[0] == installed.version


def test_only_light_things_are_needed_at_run_time(installed: metadata.Distribution) -> None:
    requirements = [line for line in installed.requires or [] if "extra ==" not in line]
    names = {re.match(r"[\w-]+", line)[0] for line in requirements}
    assert names == {"numpy", "tqdm"}


def test_the_command_is_there(installed: metadata.Distribution) -> None:
    (command,) = installed.entry_points.select(group="console_scripts")
    assert command.name == "fastlm"
    assert callable(command.load())


def test_nothing_lies_outside_the_package(installed: metadata.Distribution) -> None:
    tops = {file.parts[0] for file in installed.files or [] if file.parts[0] != ".."}
    assert all(top == "fastlm" or re.fullmatch(r"fastlm-.*\.dist-info", top) for top in tops)
    suffixes = {file.suffix for file in installed.files or []}
    assert ".c" not in suffixes


def test_types_are_shipped_also_for_what_is_compiled() -> None:
    assert (PACKAGE / "py.typed").is_file()
    for path in compiled_modules():
        assert path.with_name(path.name.split(".")[0] + ".pyi").is_file(), f"{path.name} has no .pyi beside it"


def test_every_cython_module_is_compiled() -> None:
    for path in PACKAGE.rglob("*.pyx"):
        module = import_module(".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts))
        assert Path(module.__file__) in compiled_modules()


def compiled_modules() -> list[Path]:
    return [path for path in PACKAGE.rglob("*") if path.name.endswith(tuple(EXTENSION_SUFFIXES))]


@pytest.mark.parametrize(("name", "num_lines", "text"), [("shakespeare", 40_000, "Romeo"), ("korean", 13_000, "영화")])
def test_a_sample_text_is_whole_and_clean(name: str, num_lines: int, text: str) -> None:
    assert name in SAMPLE_TEXTS
    sample = gzip.decompress(sample_text(name).read_bytes()).decode("utf-8")
    assert sample.count("\n") == num_lines
    assert sample.endswith("\n")
    assert text in sample
    assert unicodedata.is_normalized("NFC", sample)
    for reserved in ("<s>", "</s>", "<unk>", "\r", "\0", "\t", "\ufeff"):
        assert reserved not in sample


@pytest.mark.parametrize("name", SAMPLE_TEXTS)
def test_a_sample_text_has_no_clock_time_in_it(name: str) -> None:
    assert sample_text(name).read_bytes()[4:8] == bytes(4)


def test_an_unknown_sample_text_is_refused() -> None:
    with pytest.raises(ValueError, match="'goethe'; there are 'shakespeare' and 'korean'"):
        sample_text("goethe")
