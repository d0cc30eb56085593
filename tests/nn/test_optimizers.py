"""Optimizers against their oracles over several steps, dense, sparse and by turns; schedules against their formulas."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import reference

from fastlm.nn import optimizers
from fastlm.nn.optimizers import (
    SGD,
    Adagrad,
    Adam,
    AdamW,
    AveragedSGD,
    Constant,
    Cosine,
    Halving,
    Optimizer,
    gradient_norm,
)
from fastlm.nn.parallel import Workers
from fastlm.nn.parameters import Parameter, Rows

STEPS = 6


def averaging(parameters: list[Parameter]) -> AveragedSGD:
    """Make an optimizer that averages from its first step on."""
    optimizer = AveragedSGD(parameters, averaging_patience=1, weight_decay=0.4)
    for loss in (1.0, 1.0, 2.0):
        optimizer.validated(loss)
    assert optimizer.numbers["first_step"] == 0
    return optimizer


KINDS: dict[str, tuple[Callable[[list[Parameter]], Optimizer], Callable[..., np.ndarray]]] = {
    "sgd": (SGD, reference.sgd),
    "momentum": (
        lambda parameters: SGD(parameters, momentum=0.8),
        lambda *given: reference.momentum(*given, momentum=0.8),
    ),
    "adagrad": (Adagrad, lambda *given: reference.adagrad(*given, epsilon=1e-8)),
    "adam": (Adam, reference.adam),
    "adamw": (AdamW, lambda *given: reference.adam(*given, weight_decay=0.01)),
    "decayed adagrad": (
        lambda parameters: Adagrad(parameters, weight_decay=0.4),
        lambda *given: reference.adagrad(*given, epsilon=1e-8, weight_decay=0.4),
    ),
    "decayed momentum": (
        lambda parameters: SGD(parameters, momentum=0.8, weight_decay=0.4),
        lambda *given: reference.momentum(*given, momentum=0.8, weight_decay=0.4),
    ),
    "averaged sgd": (averaging, lambda *given: reference.sgd(*given, weight_decay=0.4)),
}


@pytest.fixture(scope="module", params=[1, 3])
def workers(request: pytest.FixtureRequest) -> Iterator[Workers]:
    with Workers(request.param) as active:
        yield active


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def dense_gradients(shape: tuple[int, ...]) -> list[reference.Gradient]:
    random = np.random.default_rng(sum(shape))
    return [random.normal(size=shape) for _ in range(STEPS)]


def sparse_gradients(shape: tuple[int, int]) -> list[reference.Gradient]:
    random = np.random.default_rng(sum(shape))
    gradients: list[reference.Gradient] = []
    for _ in range(STEPS):
        ids = random.permutation(shape[0])[: max(1, shape[0] // 3)]
        gradients.append((ids, random.normal(size=(len(ids), shape[1]))))
    return gradients


def mixed_gradients(shape: tuple[int, int]) -> list[reference.Gradient]:
    pairs = zip(dense_gradients(shape), sparse_gradients(shape), strict=True)
    return [pair[step % 2] for step, pair in enumerate(pairs)]


def give(parameter: Parameter, gradient: reference.Gradient) -> None:
    parameter.clear_gradient()
    if isinstance(gradient, tuple):
        parameter.gradient = Rows(gradient[0].astype(np.int32), gradient[1].astype(parameter.value.dtype))
    else:
        parameter.dense_gradient()[0][:] = gradient


SOME = {
    "matrix": dense_gradients((5, 3)),
    "vector": dense_gradients((7,)),
    "one": dense_gradients((1, 1)),
    "sparse": sparse_gradients((9, 4)),
    "mixed": mixed_gradients((6, 5)),
}
SHAPES = {"matrix": (5, 3), "vector": (7,), "one": (1, 1), "sparse": (9, 4), "mixed": (6, 5)}


def start(dtype: type = np.float64) -> list[Parameter]:
    random = np.random.default_rng(0)
    return [Parameter(name, random.normal(size=shape).astype(dtype)) for name, shape in SHAPES.items()]


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-12), (np.float32, 2e-4)])
def test_several_steps_with_changing_rates(kind: str, workers: Workers, dtype: type, rtol: float) -> None:
    make, oracle = KINDS[kind]
    rates = [0.1, 0.2, 0.05, 0.1, 0.01, 0.3]
    parameters = start(dtype)
    for number, parameter in enumerate(parameters):
        parameter.rate_factor = 1.0 / (1 + number % 2)
    before = {p.name: p.value.astype(np.float64) for p in parameters}
    optimizer = make(parameters)
    for step in range(STEPS):
        for parameter in parameters:
            give(parameter, SOME[parameter.name][step])
        optimizer.step(rates[step], workers)
    assert optimizer.num_steps == STEPS
    for parameter in parameters:
        own_rates = [rate * parameter.rate_factor for rate in rates]
        expected = oracle(before[parameter.name], SOME[parameter.name], own_rates)
        np.testing.assert_allclose(parameter.value, expected, rtol=rtol, atol=rtol, err_msg=parameter.name)


def test_scale_is_a_scaled_gradient(kind: str, workers: Workers) -> None:
    make, oracle = KINDS[kind]
    parameters = start()
    before = {p.name: p.value.copy() for p in parameters}
    optimizer = make(parameters)
    norms = []
    for step in range(STEPS):
        for parameter in parameters:
            give(parameter, SOME[parameter.name][step])
        norms.append(gradient_norm(parameters, workers))
        optimizer.step(0.1, workers, scale=min(1.0, 2.0 / norms[-1]))
    clipped = [reference.clip_global_norm([SOME[name][step] for name in SHAPES], 2.0) for step in range(STEPS)]
    for place, parameter in enumerate(parameters):
        expected = oracle(before[parameter.name], [gradients[place] for gradients in clipped], 0.1)
        np.testing.assert_allclose(parameter.value, expected, rtol=1e-11, atol=1e-11, err_msg=parameter.name)


def test_a_parameter_without_a_gradient_stays(kind: str, workers: Workers) -> None:
    parameters = start()
    optimizer = KINDS[kind][0](parameters)
    give(parameters[0], SOME["matrix"][0])
    before = [p.value.copy() for p in parameters]
    optimizer.step(0.1, workers)
    assert (parameters[0].value != before[0]).all()
    for parameter, value in zip(parameters[1:], before[1:], strict=True):
        np.testing.assert_array_equal(parameter.value, value)


def test_rows_without_a_gradient_stay(kind: str, workers: Workers) -> None:
    parameter = Parameter("table", np.ones((6, 2)))
    optimizer = KINDS[kind][0]([parameter])
    for _ in range(3):
        parameter.gradient = Rows(np.array([4, 1], np.int32), np.full((2, 2), 0.5))
        optimizer.step(0.1, workers)
    assert (parameter.value[[0, 2, 3, 5]] == 1).all()
    assert (parameter.value[[1, 4]] < 1).all()
    for arrays in optimizer.state.values():
        assert not arrays["table"][[0, 2, 3, 5]].any()


def test_the_same_bytes_for_any_number_of_threads(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimizers, "ELEMENTS", 6)
    results = set()
    for threads in [1, 2, 7]:
        parameters = start(np.float32)
        optimizer = KINDS[kind][0](parameters)
        with Workers(threads) as workers:
            for step in range(STEPS):
                for parameter in parameters:
                    give(parameter, SOME[parameter.name][step])
                norm = gradient_norm(parameters, workers)
                optimizer.step(0.1, workers, scale=1 / norm)
        results.add((norm, *(p.value.tobytes() for p in parameters)))
    assert len(results) == 1


@pytest.mark.parametrize("momentum", [-0.1, 1.0, float("nan")])
def test_momentum_rates(momentum: float) -> None:
    with pytest.raises(ValueError, match=r"momentum is .*, expected 0 <= momentum < 1"):
        SGD(start(), momentum=momentum)


def test_state_is_only_what_the_formula_needs() -> None:
    assert SGD(start()).state == {}
    state = Adam(start()).state
    assert set(state) == {"mean", "square"}
    assert state["mean"].keys() == SHAPES.keys()
    assert SGD(start(), momentum=0.5).state["velocity"]["matrix"].shape == (5, 3)
    assert SGD(start()).state == {}  # another optimizer's momentum has left nothing behind


@pytest.mark.parametrize("make", [SGD, AveragedSGD, Adagrad, Adam, AdamW])
@pytest.mark.parametrize("weight_decay", [-0.1, float("nan")])
def test_weight_decay_rates(make: type[Optimizer], weight_decay: float) -> None:
    with pytest.raises(ValueError, match=r"weight_decay is .*, expected a number of at least 0"):
        make(start(), weight_decay=weight_decay)


# Averages


def take_step(optimizer: Optimizer, step: int, workers: Workers) -> None:
    for parameter in optimizer.parameters:
        give(parameter, SOME[parameter.name][step])
    optimizer.step(0.1 + 0.05 * step, workers)


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-12), (np.float32, 2e-4)])
def test_the_average_is_that_of_the_values_since_the_trigger(workers: Workers, dtype: type, rtol: float) -> None:
    optimizer = AveragedSGD(start(dtype), averaging_patience=2, weight_decay=0.4)
    for step in range(2):
        take_step(optimizer, step, workers)
    for loss in (3.0, 2.0, 2.5, 3.5):
        assert optimizer.num_averaged == 0
        optimizer.validated(loss)
    before = [p.value.astype(np.float64) for p in optimizer.parameters]
    for step in range(2, STEPS):
        take_step(optimizer, step, workers)
    assert optimizer.num_averaged == STEPS - 2
    last, rates = [p.value.copy() for p in optimizer.parameters], [0.1 + 0.05 * step for step in range(2, STEPS)]
    with optimizer.evaluated():
        for parameter, value in zip(optimizer.parameters, before, strict=True):
            expected = reference.averaged_sgd(value, SOME[parameter.name][2:], rates, weight_decay=0.4)
            np.testing.assert_allclose(parameter.value, expected, rtol=rtol, atol=rtol, err_msg=parameter.name)
    for parameter, value in zip(optimizer.parameters, last, strict=True):
        assert parameter.value.tobytes() == value.tobytes()


@pytest.mark.parametrize(
    ("losses", "when"),
    [
        ([3, 2, 1, 0.5, 0.4], None),
        ([3, 2, 2.5, 2.2, 2.3], 4),  # 2.3 is worse than 2, which is more than two epochs ago
        ([1, 2, 3, 4], 3),
        ([1, 1, 1, 1, 1], None),
        ([2, 3, 1, 1, 1.5, 1.5], 5),
    ],
)
def test_the_average_begins_when_validation_is_worse_than_long_ago(losses: list[float], when: int | None) -> None:
    optimizer, began = AveragedSGD(start(), averaging_patience=2), None
    for epoch, loss in enumerate(losses):
        optimizer.num_steps += 10
        optimizer.validated(loss)
        if began is None and optimizer.numbers["first_step"] is not None:
            began = epoch
    assert began == when
    assert optimizer.numbers["first_step"] == (None if when is None else 10 * (when + 1))


def test_the_parameters_come_back_after_a_failure(workers: Workers) -> None:
    optimizer = averaging(start())
    for step in range(3):
        take_step(optimizer, step, workers)
    last = [p.value.copy() for p in optimizer.parameters]
    with pytest.raises(KeyError), optimizer.evaluated():
        assert any((p.value != value).any() for p, value in zip(optimizer.parameters, last, strict=True))
        raise KeyError
    assert all((p.value == value).all() for p, value in zip(optimizer.parameters, last, strict=True))


def test_the_patience_of_an_average() -> None:
    with pytest.raises(ValueError, match="averaging_patience is 0, expected at least 1"):
        AveragedSGD(start(), averaging_patience=0)


# The norm


@pytest.mark.parametrize("elements", [1, 7, 1 << 17])
def test_global_norm(workers: Workers, monkeypatch: pytest.MonkeyPatch, elements: int) -> None:
    monkeypatch.setattr(optimizers, "ELEMENTS", elements)
    parameters = start()
    for parameter in parameters:
        give(parameter, SOME[parameter.name][1])
    expected = reference.global_norm([SOME[name][1] for name in SHAPES])
    assert gradient_norm(parameters, workers) == pytest.approx(expected, rel=1e-13)


def test_the_norm_of_nothing_is_zero(workers: Workers) -> None:
    assert gradient_norm(start(), workers) == 0.0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_norm_shows_what_is_not_finite(workers: Workers, value: float) -> None:
    parameters = start()
    for parameter in parameters:
        give(parameter, SOME[parameter.name][1])
    parameters[1].dense_gradient()[0][3] = value
    assert not math.isfinite(gradient_norm(parameters, workers))


# Schedules


@pytest.mark.parametrize("make", [Constant, Halving, lambda rate, warmup: Cosine(rate, warmup, total=100)])
def test_warmup_rises_evenly_to_the_height(make: Callable[[float, int], optimizers.Schedule]) -> None:
    schedule = make(0.5, 10)
    assert [schedule.rate(step) for step in range(10)] == pytest.approx([0.05 * (step + 1) for step in range(10)])
    assert schedule.rate(10) == pytest.approx(0.5)
    assert make(0.5, 0).rate(0) == pytest.approx(0.5)


def test_constant() -> None:
    schedule = Constant(0.5)
    schedule.validated(False)
    assert {schedule.rate(step) for step in range(100)} == {0.5}


@pytest.mark.parametrize("warmup", [0, 20])
def test_cosine(warmup: int) -> None:
    schedule = Cosine(0.3, warmup, total=120)
    for step in range(warmup, 120):
        assert schedule.rate(step) == pytest.approx(0.15 * (1 + math.cos(math.pi * (step - warmup) / (120 - warmup))))
    assert 0 < schedule.rate(119) < 0.001
    assert schedule.rate(120) == schedule.rate(500) == pytest.approx(0, abs=1e-15)  # a run may be longer than was said
    schedule.validated(False)
    assert schedule.rate(warmup) == pytest.approx(0.3)


def test_cosine_of_one_step() -> None:
    assert Cosine(0.3, total=1).rate(0) == pytest.approx(0.3)


def test_halving_begins_when_validation_stalls_and_goes_on() -> None:
    schedule, rates = Halving(0.8), []
    for improved in [True, True, False, True, False]:
        rates.append(schedule.rate(7))
        schedule.validated(improved)
    rates.append(schedule.rate(7))
    assert rates == pytest.approx([0.8, 0.8, 0.8, 0.4, 0.2, 0.1])


def test_a_schedule_goes_on_from_its_state() -> None:
    schedule, other = Halving(0.8), Halving(0.8)
    for improved in [True, False, True]:
        schedule.validated(improved)
    other.state.update(schedule.state)
    for _ in range(3):
        assert other.rate(7) == schedule.rate(7)
        schedule.validated(True)
        other.validated(True)
    assert Constant(0.5).state == Cosine(0.5, total=9).state == {}


@pytest.mark.parametrize("make", [Constant, Halving, lambda rate, warmup: Cosine(rate, warmup, total=10**6)])
def test_the_warmup_takes_a_tenth_of_a_limited_time(make: Callable[[float, int], optimizers.Schedule]) -> None:
    schedule = make(0.5, 1000)
    rates = [schedule.rate(step, time=step / 100) for step in range(10)]
    assert rates[1:] == pytest.approx([0.05 * step for step in range(1, 10)])
    assert schedule.rate(10, time=0.1) == pytest.approx(0.5, rel=0.03)


def test_a_cosine_falls_by_what_ends_first() -> None:
    schedule = Cosine(0.3, total=100)
    for time in (0.0, 0.2, 0.5, 0.9, 1.0, 1.1):
        expected = 0.15 * (1 + math.cos(math.pi * min(1, max(time, 0.5))))
        assert schedule.rate(50, time) == pytest.approx(expected, abs=1e-15)


def test_halving_halves_six_times_in_the_second_half_of_a_limited_time() -> None:
    schedule = Halving(64.0)
    rates = [schedule.rate(7, (number + 0.5) / 12) for number in range(12)]
    assert rates == [64.0] * 7 + [32.0, 16.0, 8.0, 4.0, 2.0]
    assert schedule.rate(7, 1.0) == 1.0
    for _ in range(3):
        schedule.validated(False)
    assert [schedule.rate(7, time) for time in (0.0, 0.7, 1.0)] == [8.0, 8.0, 1.0]
