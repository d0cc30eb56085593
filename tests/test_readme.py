"""The README is true: its Python blocks run, its command lines are ones that the command line accepts.

Blocks marked ``python`` run in order in one namespace, in a folder that holds train.txt and valid.txt, two small
parts of the Shakespeare sample. Those that train for long or need other data are marked ``python no-run`` and only
compiled. Of ``sh`` blocks every `fastlm` command is given to the parser, and none is run.
"""

import gzip
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest

from fastlm.data import sample_text

README = Path(__file__).parents[1] / "README.md"
NUM_TRAIN, NUM_VALID = 1000, 100  # lines: enough for words to come again, little enough for seconds


class Block(NamedTuple):
    info: str
    line: int  # of its first line of code, from 1
    code: str


def blocks(text: str) -> list[Block]:
    """All fenced blocks of a Markdown text."""
    found, opened = [], None
    for number, line in enumerate(text.splitlines(), start=1):
        if opened is None and line.startswith("```"):
            opened = Block(line.removeprefix("```").strip(), number + 1, "")
        elif opened is not None and line.rstrip() == "```":
            found.append(opened)
            opened = None
        elif opened is not None:
            opened = opened._replace(code=f"{opened.code}{line}\n")
    assert opened is None, f"the block that opens at line {opened.line - 1} is not closed"
    for block in found:
        if block.info.startswith("python") and block.info not in {"python", "python no-run"}:
            raise AssertionError(f"line {block.line - 1}: {block.info!r} is neither 'python' nor 'python no-run'")
    return found


def run_python(found: list[Block], file_name: str) -> None:
    """Run the Python blocks in one namespace; a traceback names the line of the file that they come from."""
    namespace: dict[str, object] = {"__name__": "readme"}
    for block in found:
        if block.info.startswith("python"):
            code = compile("\n" * (block.line - 1) + block.code, file_name, "exec")
            if block.info == "python":
                exec(code, namespace)


def commands(found: list[Block]) -> list[list[str]]:
    """Return the arguments of every fastlm command in the sh blocks, redirections left out."""
    result = []
    for block in found:
        if block.info == "sh":
            for line in re.sub(r"\\\n", " ", block.code).splitlines():
                result += [words[1:] for words in split(line.removeprefix("$ ")) if words[:1] == ["fastlm"]]
    return result


def split(line: str) -> list[list[str]]:
    """Split a line of shell into its commands: at pipes, `&&`, `;`; without redirections and assignments in front."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    result: list[list[str]] = [[]]
    is_target = False
    for word in lexer:
        if set(word) <= set("<>"):
            is_target = True
        elif set(word) <= set("|&;()"):
            result.append([])
        elif is_target:
            is_target = False
        elif result[-1] or not re.match(r"\w+=", word):
            result[-1].append(word)
    return result


@pytest.fixture(scope="module")
def readme() -> list[Block]:
    if not README.is_file():
        pytest.skip("there is no README.md beside tests/")
    return blocks(README.read_text(encoding="utf-8"))


def test_the_python_blocks_run(readme: list[Block], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not any(block.info == "python" for block in readme):
        pytest.skip("README.md has no python blocks")
    with gzip.open(sample_text("shakespeare"), "rt", encoding="utf-8") as sample:
        lines = [line for line in sample if line.strip()]
    (tmp_path / "train.txt").write_text("".join(lines[:NUM_TRAIN]), encoding="utf-8")
    (tmp_path / "valid.txt").write_text("".join(lines[NUM_TRAIN : NUM_TRAIN + NUM_VALID]), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    run_python(readme, str(README))


def test_the_command_lines_are_accepted(readme: list[Block], capsys: pytest.CaptureFixture[str]) -> None:
    found = commands(readme)
    if not found:
        pytest.skip("README.md has no fastlm commands")
    from fastlm.cli.main import build_parser

    for arguments in found:
        try:
            build_parser().parse_args(arguments)
        except SystemExit as stop:
            assert stop.code in {0, None}, f"fastlm {shlex.join(arguments)}: {capsys.readouterr().err}"


def test_the_first_two_commands_install_and_do_everything(readme: list[Block]) -> None:
    lines = [line for block in readme if block.info == "sh" for line in block.code.splitlines()]
    assert lines[:2] == ["pip install . && fastlm demo", 'pip install ".[test]" && pytest']


SAMPLE = """\
# Title
```sh
pip install . && fastlm demo   # a comment
$ A=1 fastlm train rnnlm train.txt --valid valid.txt \\
    -o "my model" > log.txt && cat log.txt | fastlm score "my model" < - > out
python bench
```
Words, then
```python
x = 1
```
```python no-run
x = train_for_hours()
```
```text
fastlm is not run from here
```
```python
y = x + 1
```
"""


def test_blocks_are_found_with_their_lines() -> None:
    found = blocks(SAMPLE)
    assert [block.info for block in found] == ["sh", "python", "python no-run", "text", "python"]
    for block in found:
        assert SAMPLE.splitlines()[block.line - 1] == block.code.splitlines()[0]


def test_commands_are_found_with_their_arguments() -> None:
    assert commands(blocks(SAMPLE)) == [
        ["demo"],
        ["train", "rnnlm", "train.txt", "--valid", "valid.txt", "-o", "my model"],
        ["score", "my model"],
    ]


def test_python_blocks_share_a_namespace_and_no_run_is_not_run() -> None:
    run_python(blocks(SAMPLE), "sample.md")
    with pytest.raises(NameError, match="train_for_hours"):
        run_python(blocks(SAMPLE.replace(" no-run", "")), "sample.md")
    with pytest.raises(SyntaxError) as caught:
        run_python(blocks(SAMPLE.replace("train_for_hours()", "train for hours")), "sample.md")
    assert caught.value.lineno == SAMPLE.splitlines().index("x = train_for_hours()") + 1


def test_a_misspelt_mark_and_an_open_block_are_found() -> None:
    with pytest.raises(AssertionError, match="'python norun' is neither"):
        blocks(SAMPLE.replace("no-run", "norun"))
    with pytest.raises(AssertionError, match="line 18 is not closed"):
        blocks(SAMPLE.removesuffix("```\n"))
