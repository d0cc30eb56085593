"""The files of a text are found, and cut at ends of lines."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlm.errors import FileError
from fastlm.text.inputs import Input, Piece, cut_into_parts, find_inputs, lines_before


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.txt", "a.txt", "c/d.txt", "c/a.txt.gz", ".hidden", ".git/e.txt", "empty/.keep"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    return tmp_path


def found(folder: Path, *names: str) -> list[str]:
    return [str(Path(item.path).relative_to(folder)) for item in find_inputs([str(folder / name) for name in names])]


def test_names_patterns_and_folders(folder: Path) -> None:
    everything = ["a.txt", "b.txt", "c/a.txt.gz", "c/d.txt"]
    assert found(folder, "b.txt", "a.txt", "b.txt") == ["b.txt", "a.txt", "b.txt"]  # as they stand
    assert found(folder, "*.txt") == ["a.txt", "b.txt"]
    assert found(folder, "[b-c]*") == ["b.txt", "c/a.txt.gz", "c/d.txt"]
    assert found(folder, "**") == found(folder, "") == everything
    assert found(folder, "c", "a.txt") == ["c/a.txt.gz", "c/d.txt", "a.txt"]
    assert find_inputs(folder / "a.txt") == find_inputs([folder / "a.txt"]) == [Input.of(str(folder / "a.txt"))]


def test_a_name_with_the_letters_of_a_pattern(folder: Path) -> None:
    (folder / "[a].txt").touch()
    assert found(folder, "[a].txt") == ["[a].txt"]


@pytest.mark.parametrize(
    ("name", "problem"),
    [("d.txt", "No such file"), ("*.md", "none matches"), ("empty", "there is no file in it"), ("x/a", "No such file")],
)
def test_what_is_not_there(folder: Path, name: str, problem: str) -> None:
    with pytest.raises(FileError, match=problem) as failure:
        found(folder, "a.txt", name)
    assert str(folder / name) in str(failure.value)


def test_a_folder_that_cannot_be_read_is_not_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def closed(path: str) -> Any:
        if Path(path).name == "c":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(FileError, match=r"cannot read '.*/c': Permission denied; check the permissions"):
        found(folder, "")


def test_wrong_arguments() -> None:
    for sources in ([], [b"bytes"]):
        with pytest.raises(ValueError, match="expected the paths of one text or more"):
            find_inputs(sources)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="can be read once only"):
        find_inputs(["-", "-"])


def test_a_change_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one")
    before = Input.of(str(path))
    assert Input.of(str(path)) == before
    os.utime(path, ns=(1, 1))
    assert Input.of(str(path)) != before
    assert Input.of("-").is_stream


lines = st.lists(st.sampled_from([b"", b"one", b"two words", b"a longer line of some words"]), max_size=9)
texts = lines.map(b"\n".join)


@given(st.lists(texts, min_size=1, max_size=5), st.integers(1, 6))
def test_parts_are_the_text(tmp_path_factory: pytest.TempPathFactory, contents: list[bytes], num_parts: int) -> None:
    folder = tmp_path_factory.mktemp("texts")
    for number, content in enumerate(contents):
        (folder / f"{number}.txt").write_bytes(content)
    inputs = [Input.of(str(folder / f"{number}.txt")) for number in range(len(contents))]
    parts = cut_into_parts(inputs, num_parts)
    pieces = [piece for part in parts for piece in part]
    read = [(piece.path, Path(piece.path).read_bytes()[piece.begin : piece.end]) for piece in pieces]
    for item, content in zip(inputs, contents, strict=True):
        assert b"".join(piece for path, piece in read if path == item.path) == content
    assert all(piece.endswith(b"\n") or contents[int(Path(path).stem)].endswith(piece) for path, piece in read)
    assert [path for path, _ in read] == sorted(path for path, _ in read)
    assert len(parts) <= num_parts
    assert all(parts) or not pieces
    for piece, (_, content) in zip(pieces, read, strict=True):
        before = Path(piece.path).read_bytes()[: piece.begin]
        assert lines_before(piece) == before.count(b"\n")
        assert content


def test_parts_are_of_about_equal_size(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("some words\n" * 10_000)
    parts = cut_into_parts(find_inputs(tmp_path), 7)
    sizes = [sum((piece.end or 0) - piece.begin for piece in part) for part in parts]
    assert len(sizes) == 7
    assert max(sizes) - min(sizes) <= 7 * len("some words\n")


def test_compressed_files_stay_whole_and_small_ones_are_put_together(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(bytes(1000))
    for name in "bcd":
        (tmp_path / f"{name}.txt").write_text("word\n" * 20)
    parts = cut_into_parts(find_inputs(tmp_path), 4)
    assert parts[0] == [Piece(str(tmp_path / "a.txt.gz"), 0, None)]
    assert [Path(piece.path).stem for piece in parts[1]] == ["b", "c", "d"]
    assert len(parts) == 2


def test_a_line_longer_than_a_part(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("word " * 100_000 + "\nword\n")
    parts = cut_into_parts(find_inputs(tmp_path), 10)
    assert [(piece.begin, piece.end) for part in parts for piece in part] == [(0, 500_001), (500_001, 500_006)]
