"""The folder beside a corpus in which its preparation lies until it is finished, so that a restart can go on."""

import errno
import hashlib
import json
import secrets
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fastlm.errors import FileError
from fastlm.storage import Source, atomic_write
from fastlm.storage.files import system_failures
from fastlm.storage.locks import Lock
from fastlm.text.inputs import Input, Part, Piece
from fastlm.text.parts import WorkedPart
from fastlm.text.tokenizer import Tokenizer

__all__ = ["Unfinished"]

PLAN = "plan.json"
FORMAT = "fastlm-unfinished-corpus"
VERSION = 1


class Unfinished:
    """What has been done so far for a corpus, in a folder that has its name and ``.unfinished`` behind it.

    There is a plan: how the text is cut into parts, and a fingerprint of what the parts depend on; and the files of
    each part that is counted.

    Parameters
    ----------
    path : str or path-like
        The corpus.

    Attributes
    ----------
    folder : Path
    """

    def __init__(self, path: Source) -> None:
        self.path = path
        target = Path(path).resolve()
        self.folder = target.with_name(f"{target.name}.unfinished")
        self._lock: Lock | None = None

    def part(self, number: int) -> WorkedPart:
        """Return the place of a part's files."""
        return WorkedPart(str(self.folder), number)

    def open(
        self,
        inputs: Sequence[Input],
        tokenizer: Tokenizer,
        cut: Callable[[], list[Part]],
        say: Callable[[str], object],
    ) -> list[Part]:
        """Go on from what an earlier run has left, or begin.

        Parameters
        ----------
        inputs : sequence of Input
            The text.
        tokenizer : Tokenizer
            How it is split.
        cut : callable
            Cuts the text into parts, if that is to be done.
        say : callable
            Told why an earlier run's work is of no use.

        Returns
        -------
        list of Part
        """
        fingerprint = _fingerprint(inputs, tokenizer)
        if self.folder.exists():
            self._take()
            plan = self._read_plan()
            if plan is not None and plan["fingerprint"] == fingerprint:
                return [[Piece(inputs[i].path, begin, end) for i, begin, end in part] for part in plan["parts"]]
            if plan is not None:
                say(f"the texts or the tokenizer have changed since {self.folder} was left: all is counted afresh")
            self.clear()
        parts = cut()
        with system_failures("create", self.folder):
            self.folder.mkdir()
        self._take()
        places = {item.path: number for number, item in enumerate(inputs)}
        numbered = [[(places[piece.path], piece.begin, piece.end) for piece in part] for part in parts]
        plan = {"format": FORMAT, "version": VERSION, "fingerprint": fingerprint, "parts": numbered}
        with atomic_write(self.folder / PLAN) as file:
            file.write(json.dumps(plan).encode())
        return parts

    def release(self) -> None:
        """Let other processes use the folder."""
        if self._lock is not None:
            self._lock.release()

    def _take(self) -> None:
        self.release()
        self._lock = Lock(
            self.folder, f"another process is preparing {str(self.path)!r}; wait for its end, or give another name"
        )

    def _read_plan(self) -> dict[str, Any] | None:
        """Return the plan that is there; None if a run was stopped before it had one, or while it removed all."""
        try:
            with system_failures("read", self.folder / PLAN):
                text = (self.folder / PLAN).read_bytes()
            plan: dict[str, Any] = json.loads(text)
            if plan["format"] == FORMAT and plan["version"] == VERSION:
                return plan
        except FileError as error:
            if error.errno == errno.ENOENT:
                if all(path.suffix in (".tmp", ".numbers", ".words") for path in self.folder.iterdir()):
                    return None
            elif error.errno != errno.ENOTDIR:
                raise
        except (ValueError, LookupError, TypeError):
            pass
        raise FileError(
            f"cannot use {str(self.folder)!r} for what is unfinished: it is there already, and was not left by this "
            "version of fastlm; remove it, or give the corpus another name"
        )

    def clear(self) -> None:
        """Remove the folder, if it is there."""
        if not self.folder.exists():
            return
        with system_failures("remove", self.folder):
            shutil.rmtree(self.folder)
        self.release()


def _fingerprint(inputs: Sequence[Input], tokenizer: Tokenizer) -> str:
    """Return a digest of all that the numbers of the parts depend on; never the same where a pipe is among it."""
    files = [
        (str(Path(item.path).absolute()), item.size, secrets.token_hex() if item.is_stream else item.changed)
        for item in inputs
    ]
    return hashlib.sha256(json.dumps([files, tokenizer.spec], sort_keys=True).encode()).hexdigest()
