"""Checkpoints: all that a run must know to go on to the same bytes as if nothing had happened.

A checkpoint is a container (see `fastlm.storage.header`) named `checkpoint-NNNNNN.safetensors`. Its metadata holds
`format` ("fastlm-checkpoint") and `version` (1), and as JSON objects `run`, which must be the same when the run goes
on (options, sizes, fingerprints of the texts), and `state`, the numbers of the run: where it stands in its epochs,
what validation has shown, how far the log goes, which file is the best model so far. The tensors are the parameters,
the optimizer's state, and what one batch leaves to the next. Dropout and other noise are functions of the seed and the
step, so those two numbers are all there is of a generator's state.

The best model lies beside the checkpoints as a model file, `best-EPOCH.fastlm`, written once when it becomes the best.
"""

import json
import logging
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Self

from fastlm.errors import FastLMError, FileError, ModelFileError
from fastlm.nn.parameters import FloatArray
from fastlm.storage import Source, check_writable, read_tensors, write_tensors
from fastlm.storage.files import system_failures
from fastlm.storage.locks import Lock

__all__ = ["Checkpoint", "Checkpoints", "check_directory"]

logger = logging.getLogger("fastlm")

FORMAT = "fastlm-checkpoint"
VERSION = "1"
NUM_KEPT = 2
NAME = re.compile(r"checkpoint-(\d{6,})\.safetensors")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A run between two steps.

    Attributes
    ----------
    run : dict
        What must be the same when the run goes on, by name, as JSON has it.
    state : dict
        Its numbers, as JSON has them; the name of the best model's file, or None, under "best".
    arrays : dict of str to array
        Read-only views of the file's memory map when they were read.
    """

    run: dict[str, Any]
    state: dict[str, Any]
    arrays: Mapping[str, FloatArray]


def check_directory(directory: Source, *, resume: bool) -> None:
    """Find out, before any work, whether checkpoints can be kept in a directory; it is made if it is not there.

    Parameters
    ----------
    directory : path
    resume : bool
        Whether a run is to go on from what is there; otherwise there must be no checkpoints.

    Raises
    ------
    FileError
        If the directory cannot be made or written to, or has checkpoints that nobody asked for.

    Examples
    --------
    >>> check_directory("run1", resume=False)
    """
    folder = Path(directory)
    with system_failures("create the directory", directory):
        folder.mkdir(parents=True, exist_ok=True)
    check_writable(folder / "checkpoint")
    if not resume and _numbers(folder):
        raise FileError(
            f"{os.fspath(directory)!r} has checkpoints of an earlier run; say --resume (resume=True) to go on with "
            "it, or give a new directory"
        )


class Checkpoints:
    """The last two checkpoints of one run, in a directory that belongs to it alone; a context manager.

    Parameters
    ----------
    directory : path, optional
        None keeps nothing.
    every : float
        Seconds between checkpoints; 0 makes one after each step.
    resume : bool
        Whether the run goes on from what is there.

    Attributes
    ----------
    folder : Path or None
    number : int
        Of the last checkpoint that was saved or read, from 1; 0 if there is none.

    Raises
    ------
    FileError
        If the directory cannot be used, or another process is using it.

    Examples
    --------
    >>> with Checkpoints("checkpoints", 600) as checkpoints:
    ...     checkpoints.save(Checkpoint({"seed": 1}, {"step": 7, "best": None}, {}))
    >>> with Checkpoints("checkpoints", 600, resume=True) as checkpoints:
    ...     checkpoints.latest().state["step"]
    7
    """

    def __init__(self, directory: Source | None, every: float, *, resume: bool = False) -> None:
        self.folder = None if directory is None else Path(directory)
        self._every = every
        self._resume = resume
        self.number = 0
        self._best_files: dict[int, str | None] = {}  # of the checkpoints that are kept
        self._lock: Lock | None = None
        self._saved_at = monotonic()

    def __enter__(self) -> Self:
        if self.folder is not None:
            check_directory(self.folder, resume=self._resume)
            self._lock = Lock(
                self.folder / ".lock",
                f"another run is using {os.fspath(self.folder)!r} for its checkpoints; wait for its end, or give a new "
                "directory",
            )
            for temporary in self.folder.glob(".fastlm-*.tmp"):  # of a process that was killed
                with system_failures("remove", temporary):
                    temporary.unlink(missing_ok=True)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._lock is not None:
            self._lock.release()

    @property
    def are_due(self) -> bool:
        """Whether it is time for one."""
        return self.folder is not None and monotonic() - self._saved_at >= self._every

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, and then remove what is older than the one before it.

        Raises
        ------
        FileError
            If it cannot be written; the ones before are then whole.
        """
        if self.folder is None:
            return
        self._saved_at = monotonic()  # also if it fails: the next attempt is not made at the next step
        contents = {"run": checkpoint.run, "state": checkpoint.state}
        metadata = {"format": FORMAT, "version": VERSION}
        metadata |= {name: json.dumps(content, sort_keys=True) for name, content in contents.items()}
        write_tensors(_path(self.folder, self.number + 1), metadata, checkpoint.arrays)
        self.number += 1
        self._saved_at = monotonic()
        self._best_files[self.number] = checkpoint.state["best"]
        self._remove_others()

    def latest(self) -> Checkpoint | None:
        """Read the last checkpoint, or where it is damaged the one before; None if there never was one.

        Raises
        ------
        FileError
            If there are checkpoints, but none can be used.
        """
        if self.folder is None:
            return None
        numbers = _numbers(self.folder)
        problems = []
        for number in numbers:
            try:
                checkpoint = _read(self.folder, number)
            except FastLMError as error:
                problems.append(str(error))
                logger.warning("%s; going back to the checkpoint before it, if there is one", error)
                continue
            self.number = number
            self._best_files[number] = checkpoint.state["best"]
            return checkpoint
        if problems:
            raise FileError(
                f"no checkpoint in {os.fspath(self.folder)!r} can be used: {'; '.join(problems)}. Put whole ones "
                "there, or begin the run again in a new directory"
            )
        return None

    def _remove_others(self) -> None:
        """Leave the last two and the best models that they name; what cannot be removed now can be the next time."""
        if self.folder is None:
            return
        kept = range(self.number - NUM_KEPT + 1, self.number + 1)
        self._best_files = {number: name for number, name in self._best_files.items() if number in kept}
        others = [_path(self.folder, number) for number in _numbers(self.folder) if number not in kept]
        others += [path for path in self.folder.glob("best-*.fastlm") if path.name not in self._best_files.values()]
        for path in others:
            with suppress(OSError):
                path.unlink()


def _path(folder: Path, number: int) -> Path:
    return folder / f"checkpoint-{number:06}.safetensors"


def _numbers(folder: Path) -> list[int]:
    """List the numbers of the checkpoints in a folder, the last one first."""
    with system_failures("read", folder):
        matches = [NAME.fullmatch(entry.name) for entry in folder.iterdir()]
    return sorted((int(match[1]) for match in matches if match), reverse=True)


def _read(folder: Path, number: int) -> Checkpoint:
    path = _path(folder, number)
    file = read_tensors(path)
    found = file.metadata.get("format"), file.metadata.get("version")
    if found != (FORMAT, VERSION):
        raise ModelFileError(
            f"cannot use {os.fspath(path)!r}: it has the format {found[0]!r}, version {found[1]!r}; expected "
            f"{FORMAT!r}, version {VERSION!r}"
        )
    try:
        run, state = (dict(json.loads(file.metadata[name])) for name in ("run", "state"))
        best = state["best"] and folder / state["best"]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"cannot use {os.fspath(path)!r}: its {error} is not that of a checkpoint") from error
    if best:
        read_tensors(best)  # verified: the run could not end without it
    return Checkpoint(run, state, file.tensors)
