"""What worker processes can be asked to do in tests: they find these by name."""

import os
import time
from collections.abc import Callable


def double(number: int, pulse: Callable[[int], object]) -> int:
    pulse(number)
    return 2 * number


def fail_at(number: int, bad: int, pulse: Callable[[int], object]) -> None:
    """Fail at one number; at others go on until somebody says stop."""
    if number == bad:
        raise ValueError(f"number {number} is bad")
    while True:
        pulse(0)
        time.sleep(0.01)


def die(number: int, pulse: Callable[[int], object]) -> None:
    os._exit(9)


def process_id(number: int, pulse: Callable[[int], object]) -> int:
    return os.getpid()
