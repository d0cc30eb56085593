"""What several test files need: small texts of our own, and threads that share little work or none."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np  # noqa: F401  # loads the BLAS that is to be held
import pytest
from hypothesis import settings
from threadpoolctl import threadpool_limits

from fastlm.nn import products
from fastlm.nn.outputs import softmax
from fastlm.nn.parallel import Workers

settings.register_profile("fastlm", deadline=None)  # a busy machine is no fault
settings.load_profile("fastlm")

# Processes that tests start take the installed package, also from a checkout, whose folder holds the sources.
os.environ["PYTHONSAFEPATH"] = "1"

ENGLISH = """\
the cat sat on the mat
the dog sat on the rug
a cat and a dog slept by the fire
the bird sang in the tree
the old man fed the birds in the park
a young woman read a book in the park
the children played by the river
the river ran past the old mill
the miller gave the children bread
bread and milk were on the table
the cat drank the milk
the dog ate the bread
rain fell on the roof
snow fell on the hill
the wind came from the hill
the woman closed the window
the man lit the fire
the fire warmed the room
the children slept in the warm room
the bird slept in the tree
""".splitlines()

KOREAN = """\
고양이가 방석 위에 앉아 있다.
강아지가 마당에서 잠을 잔다.
새가 나무에서 노래를 부른다!
할머니가 고양이에게 우유를 주었다.
아이들이 강가에서 놀고 있다.
강물이 오래된 다리 밑으로 흐른다.
비가 지붕 위에 내린다...
눈이 산 위에 내린다.
바람이 산에서 불어온다.
어머니가 창문을 닫았다.
아버지가 불을 피웠다.
방이 따뜻해서 아이들이 잠들었다.
영화가 정말 재미있었다 ㅋㅋ
영화가 너무 지루했다 ㅠㅠ
다시 보고 싶은 영화다.
배우들의 연기가 좋았다.
""".splitlines()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kenlm",
        metavar="FOLDER",
        help="a folder with order5.arpa.xz, KenLM's ARPA file of the sample text, to compare with",
    )


@pytest.fixture(scope="session")
def english_lines() -> list[str]:
    """Twenty sentences, lower case, split at spaces, with few words that come often."""
    return list(ENGLISH)


@pytest.fixture(scope="session")
def korean_lines() -> list[str]:
    """Sixteen sentences as people write them: punctuation attached, single jamo among syllables, NFC."""
    return list(KOREAN)


@pytest.fixture
def english_file(tmp_path: Path, english_lines: list[str]) -> Path:
    return write_lines(tmp_path / "english.txt", english_lines)


@pytest.fixture
def korean_file(tmp_path: Path, korean_lines: list[str]) -> Path:
    return write_lines(tmp_path / "korean.txt", korean_lines)


def write_lines(path: Path, lines: list[str]) -> Path:
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())
    return path


@pytest.fixture(scope="session", autouse=True)
def one_blas_thread() -> Iterator[None]:
    """Hold the oracles' products to one thread: on a busy machine those of BLAS wait for each other for seconds."""
    with threadpool_limits(1, user_api="blas"):
        yield


@pytest.fixture
def fine_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each thread a share also of what is too little to be worth one."""
    monkeypatch.setattr(products, "WORTH_A_THREAD", 1)
    monkeypatch.setattr(softmax, "FEWEST_PANELS", 1)


@pytest.fixture
def busy() -> Callable[[Workers], AbstractContextManager[None]]:
    """Return what keeps the threads of workers busy for a time, so that all work is left to who calls."""

    @contextmanager
    def hold(workers: Workers) -> Iterator[None]:
        ended = threading.Event()
        for _ in range(workers.threads - 1):
            workers._pool.submit(ended.wait, 30)
        try:
            yield
        finally:
            ended.set()

    return hold
