"""Where the time of a training step goes, kernel by kernel."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import contextmanager

from contenders import GATES, VOCAB_SIZE, Setting, fastlm_step
from machine import print_row

STEPS = 40


def print_profile(settings: Sequence[Setting]) -> None:
    """Print, for each kernel, its share of a step's time and the rate of its products; one thread."""
    print_row(["one thread", "kernel", "share of the step", "ms", "GFLOP/s"], head=True)
    for setting in settings:
        step = fastlm_step(setting)
        step()
        with timed_kernels() as seconds:
            began = time.perf_counter()
            for _ in range(STEPS):
                step()
            whole = time.perf_counter() - began
        rest = whole - sum(seconds.values())
        rows = sorted(seconds.items(), key=lambda item: -item[1])
        shown = [(name, spent) for name, spent in rows if spent > 0.005 * whole]
        others = sum(spent for _, spent in rows) - sum(spent for _, spent in shown)
        for name, spent in [*shown, ("other kernels", others), ("Python between them", rest)]:
            flops = product_flops(name, setting)
            rate = f"{STEPS * flops / spent / 1e9:.0f}" if flops else ""
            print_row([str(setting), name, f"{spent / whole:.1%}", f"{1e3 * spent / STEPS:.2f}", rate])


def product_flops(kernel: str, setting: Setting) -> int:
    """FLOPs of the matrix products in one kernel's calls of a step."""
    output = 2 * setting.tokens * setting.hidden * VOCAB_SIZE
    inner = setting.flops // 3 - output  # the products below the output layer, in one direction
    recurrent = 2 * setting.tokens * setting.hidden**2 * GATES.get(setting.kind, 0)
    return {
        "softmax_forward_backward": 2 * output,
        "softmax_backward_weight": output,
        "linear_forward": inner - recurrent,
        "linear_backward": inner - recurrent,
        "linear_backward_weight": inner,
        **{f"{cell}_{pass_}": recurrent for cell in ("elman", "gru", "lstm") for pass_ in ("forward", "backward")},
    }.get(kernel, 0)


@contextmanager
def timed_kernels():
    """Yield a dict of the seconds spent in each kernel while this is open."""
    from fastlm import kernels

    seconds: dict[str, float] = defaultdict(float)
    originals = {name: getattr(kernels, name) for name in kernels.__all__ if callable(getattr(kernels, name))}

    def timed(name: str, kernel: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            began = time.perf_counter()
            result = kernel(*arguments)
            seconds[name] += time.perf_counter() - began
            return result

        return call

    for name, kernel in originals.items():
        setattr(kernels, name, timed(name, kernel))
    try:
        yield seconds
    finally:
        for name, kernel in originals.items():
            setattr(kernels, name, kernel)
