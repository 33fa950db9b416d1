"""Properties of the ten distributions, and of the three ways to sample them."""

from __future__ import annotations

import itertools
import math
import statistics
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.errors import ServiceError
from emulator.hyperdrive.sampling import Goal, Trial, draw, parse_space

pytestmark = pytest.mark.unit

NAMES = {"random": "RANDOM", "grid": "GRID", "bayesian": "BayesianOptimization"}
SEEDS = st.integers(0, 2**32 - 1)
BOUNDS = st.tuples(st.integers(-50, 50), st.integers(1, 50)).map(lambda pair: (pair[0], pair[0] + pair[1]))
EXPONENTS = st.tuples(st.floats(-5, 2), st.floats(0.1, 3)).map(lambda pair: (pair[0], pair[0] + pair[1]))
STEPS = st.integers(1, 7)


def space_of(parameters: dict[str, Any], method: str = "random", seed: int = 0) -> Any:
    return parse_space({"name": NAMES[method], "parameter_space": parameters, "properties": {"seed": seed}}, "run")


def drawn(expression: list[Any], seed: int, number: int = 0) -> Any:
    """The value that the child of a number gets."""
    space = space_of({"x": expression}, seed=seed)
    latents = draw(space, "minimize", [Trial({"x": 0}, True, None)] * number)
    assert latents is not None
    return space.values(latents)["x"]


def is_a_multiple(value: float, step: int) -> bool:
    return isinstance(value, int) and value % step == 0


@given(SEEDS, st.lists(st.one_of(st.integers(), st.text(), st.booleans()), min_size=1, max_size=8))
@settings(max_examples=50, deadline=None)
def test_choice_takes_one_of_its_options_as_it_is(seed: int, options: list[Any]) -> None:
    assert any(drawn(["choice", [options]], seed) is option for option in options)


@given(SEEDS, st.integers(1, 1000))
@settings(max_examples=50, deadline=None)
def test_randint_is_a_whole_number_from_zero_to_below_its_bound(seed: int, upper: int) -> None:
    value = drawn(["randint", [upper]], seed)
    assert isinstance(value, int)
    assert 0 <= value < upper


@given(SEEDS, BOUNDS)
@settings(max_examples=50, deadline=None)
def test_uniform_is_within_its_bounds(seed: int, bounds: tuple[int, int]) -> None:
    assert bounds[0] <= drawn(["uniform", list(bounds)], seed) <= bounds[1]


@given(SEEDS, EXPONENTS)
@settings(max_examples=50, deadline=None)
def test_loguniform_is_between_the_exponentials_of_its_bounds(seed: int, bounds: tuple[float, float]) -> None:
    low, high = map(math.exp, bounds)
    assert low * (1 - 1e-12) <= drawn(["loguniform", list(bounds)], seed) <= high * (1 + 1e-12)


@given(SEEDS, BOUNDS, STEPS)
@settings(max_examples=50, deadline=None)
def test_quniform_is_uniform_rounded_to_multiples_of_q(seed: int, bounds: tuple[int, int], q: int) -> None:
    value = drawn(["quniform", [*bounds, q]], seed)
    assert is_a_multiple(value, q)
    assert value == round(drawn(["uniform", list(bounds)], seed) / q) * q


@given(SEEDS, EXPONENTS, STEPS)
@settings(max_examples=50, deadline=None)
def test_qloguniform_is_loguniform_rounded_to_multiples_of_q(seed: int, bounds: tuple[float, float], q: int) -> None:
    value = drawn(["qloguniform", [*bounds, q]], seed)
    assert is_a_multiple(value, q)
    assert value == round(drawn(["loguniform", list(bounds)], seed) / q) * q


@given(SEEDS, st.floats(-10, 10), st.floats(0, 5), STEPS)
@settings(max_examples=50, deadline=None)
def test_the_normal_ones_are_functions_of_one_another(seed: int, mu: float, sigma: float, q: int) -> None:
    normal = drawn(["normal", [mu, sigma]], seed)
    assert math.isfinite(normal)
    assert drawn(["lognormal", [mu, sigma]], seed) == math.exp(normal) > 0
    assert drawn(["qnormal", [mu, sigma, q]], seed) == round(normal / q) * q
    assert drawn(["qlognormal", [mu, sigma, q]], seed) == round(math.exp(normal) / q) * q


@pytest.mark.parametrize(
    ("expression", "mean", "deviation"),
    [
        (["uniform", [2, 6]], 4.0, 4 / math.sqrt(12)),
        (["quniform", [0, 10, 2]], 5.0, 10 / math.sqrt(12)),
        (["normal", [3, 0.5]], 3.0, 0.5),
        (["qnormal", [30, 5, 1]], 30.0, 5.0),
        (["randint", [11]], 5.0, math.sqrt(10)),
    ],
)
def test_many_draws_have_the_mean_and_the_deviation_of_their_distribution(
    expression: list[Any], mean: float, deviation: float
) -> None:
    values = [float(drawn(expression, seed)) for seed in range(400)]
    assert statistics.fmean(values) == pytest.approx(mean, abs=deviation / 5)
    assert statistics.stdev(values) == pytest.approx(deviation, rel=0.2)


@pytest.mark.parametrize("expression", [["loguniform", [-3, 3]], ["lognormal", [0, 1]]])
def test_the_logarithm_is_what_is_distributed(expression: list[Any]) -> None:
    logarithms = [math.log(drawn(expression, seed)) for seed in range(400)]
    assert statistics.fmean(logarithms) == pytest.approx(0, abs=0.3)


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_the_same_seed_gives_the_same_children_and_each_child_its_own_value(seed: int) -> None:
    first, again = ([drawn(["uniform", [0, 1]], seed, number) for number in range(5)] for _ in range(2))
    assert first == again
    assert len(set(first)) == 5


def test_without_a_seed_the_id_of_the_run_is_the_seed() -> None:
    def seeded(run_id: str) -> int:
        return parse_space({"name": "RANDOM", "parameter_space": {"x": ["uniform", [0, 1]]}}, run_id).seed

    assert seeded("one") == seeded("one") != seeded("other")


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3))
@settings(max_examples=30, deadline=None)
def test_a_grid_has_every_point_once_and_then_ends(sizes: list[int]) -> None:
    space = space_of({f"p{place}": ["choice", [list(range(size))]] for place, size in enumerate(sizes)}, "grid")
    trials: list[Trial] = []
    while (latents := draw(space, "minimize", trials)) is not None:
        trials.append(Trial(latents, True, None))
    points = {tuple(space.values(trial.latents).values()) for trial in trials}
    assert points == set(itertools.product(*map(range, sizes)))
    assert len(trials) == math.prod(sizes)


@pytest.mark.parametrize("goal", ["minimize", "maximize"])
def test_bayesian_sampling_goes_where_the_metric_is_better(goal: Goal) -> None:
    sign = 1 if goal == "minimize" else -1
    space = space_of({"x": ["uniform", [0, 1]], "k": ["choice", [["good", "bad"]]]}, "bayesian", seed=1)
    trials: list[Trial] = []
    for _ in range(50):
        latents = draw(space, goal, trials)
        assert latents is not None
        values = space.values(latents)
        metric = sign * ((values["x"] - 0.2) ** 2 + (values["k"] == "bad"))
        trials.append(Trial(latents, True, metric))
    last = [space.values(trial.latents) for trial in trials[-20:]]
    assert statistics.median(abs(values["x"] - 0.2) for values in last) < 0.15
    assert sum(values["k"] == "good" for values in last) > 15


def test_bayesian_sampling_lives_with_children_that_fail_or_still_run() -> None:
    space = space_of({"x": ["quniform", [0, 10, 2]]}, "bayesian")
    trials = [Trial({"x": 1.0}, True, None), Trial({"x": 5.0}, False, None), Trial({"x": 9.0}, True, 3.0)] * 5
    latents = draw(space, "minimize", trials)
    assert latents is not None
    assert space.values(latents)["x"] in {0, 2, 4, 6, 8, 10}


@pytest.mark.parametrize(
    ("method", "expression", "rule"),
    [
        ("random", ["unifrom", [0, 1]], "is not a distribution: choice, randint, uniform"),
        ("random", ["uniform", [0]], "has 1 parameters instead of min_value, max_value"),
        ("random", ["uniform", [1, 1]], "min_value must be less than max_value"),
        ("random", ["loguniform", [2, 1]], "min_value must be less than max_value"),
        ("random", ["uniform", [0, math.inf]], "must be finite numbers"),
        ("random", ["uniform", ["a", 1]], "must be finite numbers"),
        ("random", ["normal", [0, -1]], "sigma must not be negative"),
        ("random", ["quniform", [0, 1, 0]], "q must be more than 0"),
        ("random", ["randint", [0]], "upper must be a whole number from 1"),
        ("random", ["choice", [[]]], "needs a list of at least one option"),
        ("random", "uniform", "a distribution and the list of its parameters"),
        ("grid", ["uniform", [0, 1]], "grid sampling supports choice"),
        ("bayesian", ["normal", [0, 1]], "bayesian sampling supports choice, uniform, quniform"),
    ],
)
def test_what_azure_refuses_is_refused_with_the_rule(method: str, expression: Any, rule: str) -> None:
    with pytest.raises(ServiceError, match=rule) as caught:
        space_of({"--x": expression}, method)
    assert caught.value.status == 400


def test_an_unknown_method_or_property_is_named() -> None:
    space = {"x": ["uniform", [0, 1]]}
    with pytest.raises(ServiceError, match="'SIMULATED' is not a sampling method"):
        parse_space({"name": "SIMULATED", "parameter_space": space}, "run")
    with pytest.raises(ServiceError, match="rule of random sampling") as caught:
        parse_space({"name": "RANDOM", "parameter_space": space, "properties": {"rule": "sobol"}}, "run")
    assert caught.value.status == 501
