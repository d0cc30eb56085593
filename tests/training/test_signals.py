import doctest
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from fastlm.training import signals as module
from fastlm.training.signals import Signals, Stopped

BOTH = [signal.SIGINT, signal.SIGTERM]
pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


class Heard(BaseException):
    pass


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Have SIGTERM raise Heard and SIGINT do what it does in a program of Python, whatever holds around the tests."""
    before = [signal.getsignal(number) for number in BOTH]

    def hear(number: int, frame: Any) -> None:
        raise Heard

    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, hear)
    yield
    for number, handler in zip(BOTH, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", BOTH)
def test_the_first_signal_waits_to_be_asked_for(number: signal.Signals) -> None:
    done = []
    with pytest.raises((Stopped, Heard)), Signals() as signals:
        signals.check()
        signal.raise_signal(number)
        done.append("the rest of a step")
        assert signals.received == number
        signals.check()
    assert done == ["the rest of a step"]


def test_sigint_is_used_up_and_sigterm_handed_on() -> None:
    with Signals() as signals:
        signal.raise_signal(signal.SIGINT)
    assert signals.received == signal.SIGINT
    with pytest.raises(Heard), Signals():
        signal.raise_signal(signal.SIGTERM)


def test_another_error_is_the_news_then() -> None:
    with pytest.raises(LookupError), Signals():
        signal.raise_signal(signal.SIGTERM)
        raise LookupError


@pytest.mark.parametrize("first", BOTH)
@pytest.mark.parametrize(("second", "expected"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Heard)])
def test_the_second_signal_acts_at_once(
    first: signal.Signals, second: signal.Signals, expected: type[BaseException]
) -> None:
    done = []
    with pytest.raises(expected) as caught, Signals():
        signal.raise_signal(first)
        done.append("the rest of a step")
        signal.raise_signal(second)
        done.append("never reached")
    assert done == ["the rest of a step"]
    assert not isinstance(caught.value, Stopped)


@pytest.mark.parametrize("number", BOTH)
def test_some_blocks_can_be_left_in_their_middle(number: signal.Signals) -> None:
    with Signals() as signals:
        done = []
        with pytest.raises(Stopped), signals.at_once():
            signal.raise_signal(number)
            done.append("never reached")
        assert done == []
        with pytest.raises(Stopped), signals.at_once():
            done.append("never reached")
        assert done == []
        if number == signal.SIGTERM:
            signals.received = None  # so that this test is not ended by it


def test_handlers_are_as_before() -> None:
    before = [signal.getsignal(number) for number in BOTH]
    with Signals():
        assert [signal.getsignal(number) for number in BOTH] != before
    assert [signal.getsignal(number) for number in BOTH] == before


def test_what_is_ignored_stays_so() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Signals() as signals:
        signal.raise_signal(signal.SIGINT)
    assert signals.received is None
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_other_threads_hear_nothing() -> None:
    before = [signal.getsignal(number) for number in BOTH]
    found: list[Any] = []

    def work() -> None:
        with Signals() as signals:
            found.extend(signal.getsignal(number) for number in BOTH)
            signals.check()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == before


def test_examples() -> None:
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0
