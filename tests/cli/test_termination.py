import doctest
import os
import signal
import threading
from collections.abc import Iterator

import pytest

from fastlm.cli import termination as module
from fastlm.cli.termination import Terminated, termination

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture(autouse=True)
def usual_handler() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    signal.signal(signal.SIGTERM, before)


def test_sigterm_is_an_exception_in_the_block() -> None:
    closed = []
    with pytest.raises(Terminated), termination():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            closed.append("what was open")
    assert closed == ["what was open"]


def test_no_handler_of_failures_takes_it() -> None:
    assert not issubclass(Terminated, Exception)


def test_a_handler_of_somebody_else_stays() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with termination():
        signal.raise_signal(signal.SIGTERM)
    assert signal.signal(signal.SIGTERM, signal.SIG_DFL) == signal.SIG_IGN


def test_other_threads_set_no_handlers() -> None:
    found = []

    def work() -> None:
        with termination():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL]


def test_examples() -> None:
    results = doctest.testmod(module, extraglobs={"signal": signal})
    assert results.attempted > 0
    assert results.failed == 0
