"""Where the next hyperparameters come from: the ten distributions of Azure ML, and the three ways to sample them.

Azure: https://learn.microsoft.com/azure/machine-learning/how-to-tune-hyperparameters#define-the-search-space; SDK:
``azureml.train.hyperdrive.parameter_expressions`` and ``sampling``. What is drawn is drawn by Optuna; a formula of
Azure's makes the value of it. Nothing is kept between two draws: a draw follows from the seed, its number and the
trials so far, so that a tuning goes on after a restart as if there had been none.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal

from emulator.errors import bad_request, not_emulated

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

Method = Literal["random", "grid", "bayesian"]
Goal = Literal["maximize", "minimize"]
Hyperparameters = dict[str, Any]

_METHODS: dict[str, Method] = {"random": "random", "grid": "grid", "bayesianoptimization": "bayesian"}
_ALLOWED = {"grid": ("choice",), "bayesian": ("choice", "uniform", "quniform")}
_SMALLEST = 2.0**-53  # the normal quantiles of 0 and 1 are infinite


def _choice(latent: float, options: Sequence[Any]) -> Any:
    return options[int(latent)]


def _same(latent: float, *_: float) -> float:
    return latent


def _exponential(latent: float, *_: float) -> float:
    return math.exp(latent)


def _gaussian(latent: float, mu: float, sigma: float, *_: float) -> float:
    return mu + sigma * NormalDist().inv_cdf(min(max(latent, _SMALLEST), 1 - _SMALLEST))


def _exponential_gaussian(latent: float, mu: float, sigma: float, *_: float) -> float:
    return math.exp(_gaussian(latent, mu, sigma))


def _stepped(formula: Callable[..., float]) -> Callable[..., float]:
    """``round(x / q) * q``; with a whole q, as the SDK wants it, a whole number."""

    def stepped(latent: float, first: float, second: float, q: float) -> float:
        return round(formula(latent, first, second) / q) * (int(q) if float(q).is_integer() else q)

    return stepped


@dataclass(frozen=True)
class _Distribution:
    """One of the ten: what its parameters are called, and the formula that makes a value of what is drawn."""

    parameters: tuple[str, ...]
    formula: Callable[..., Any]


_RANGE, _NORMAL = ("min_value", "max_value"), ("mu", "sigma")
_DISTRIBUTIONS = {
    "choice": _Distribution(("options",), _choice),
    "randint": _Distribution(("upper",), _same),
    "uniform": _Distribution(_RANGE, _same),
    "quniform": _Distribution((*_RANGE, "q"), _stepped(_same)),
    "loguniform": _Distribution(_RANGE, _exponential),
    "qloguniform": _Distribution((*_RANGE, "q"), _stepped(_exponential)),
    "normal": _Distribution(_NORMAL, _gaussian),
    "qnormal": _Distribution((*_NORMAL, "q"), _stepped(_gaussian)),
    "lognormal": _Distribution(_NORMAL, _exponential_gaussian),
    "qlognormal": _Distribution((*_NORMAL, "q"), _stepped(_exponential_gaussian)),
}


@dataclass(frozen=True)
class Expression:
    """One hyperparameter's distribution, such as ``["uniform", [0.05, 1.0]]`` of the SDK."""

    distribution: str
    parameters: tuple[Any, ...]

    @property
    def options(self) -> Sequence[Any]:
        """What a choice chooses from."""
        return list(self.parameters[0])

    def latent(self) -> BaseDistribution:
        """What Optuna draws: an index, a whole number, an exponent, or a probability for the normal ones."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.distribution == "choice":
            return CategoricalDistribution(range(len(self.options)))
        if self.distribution == "randint":
            return IntDistribution(0, self.parameters[0] - 1)
        if "normal" in self.distribution:
            return FloatDistribution(0.0, 1.0)
        return FloatDistribution(float(self.parameters[0]), float(self.parameters[1]))

    def value(self, latent: float) -> Any:
        """The hyperparameter's value, by the formula of the distribution."""
        return _DISTRIBUTIONS[self.distribution].formula(latent, *self.parameters)


@dataclass(frozen=True)
class Space:
    """The search space, how it is sampled, and the seed."""

    method: Method
    expressions: Mapping[str, Expression]
    seed: int

    @property
    def size(self) -> int | None:
        """How many trials there can be; ``None`` is endless."""
        if self.method != "grid":
            return None
        return math.prod(len(expression.options) for expression in self.expressions.values())

    def values(self, latents: Mapping[str, float]) -> Hyperparameters:
        return {name: expression.value(latents[name]) for name, expression in self.expressions.items()}


@dataclass(frozen=True)
class Trial:
    """One child as the sampler sees it.

    Attributes:
        latents: what was drawn for it.
        ended: whether it has ended.
        metric: the best finite value of the primary metric that it has logged; ``None``: none.
    """

    latents: Mapping[str, float]
    ended: bool
    metric: float | None


def parse_space(generator: Mapping[str, Any], run_id: str) -> Space:
    """The ``generator_config`` of a submission. Without a seed among its properties, the seed is made of the run's id.

    Raises:
        ServiceError: 400 for what Azure refuses, with the rule; 501 for properties other than ``seed``.
    """
    name = str(generator.get("name") or "")
    if name.lower() not in _METHODS:
        raise bad_request(f"'{name}' is not a sampling method: RANDOM, GRID or BayesianOptimization.")
    method = _METHODS[name.lower()]
    given = generator.get("parameter_space")
    if not isinstance(given, Mapping) or not given:
        raise bad_request("The parameter space is empty: it needs at least one hyperparameter.")
    properties = dict(generator.get("properties") or {})
    seed = properties.pop("seed", None)
    if properties:
        raise not_emulated(f"{', '.join(properties)} of {method} sampling (it knows the property seed)")
    expressions = {parameter: _parse_expression(parameter, body, method) for parameter, body in given.items()}
    return Space(method, expressions, int(seed) if seed is not None else _number(run_id))


def _parse_expression(parameter: str, body: Any, method: Method) -> Expression:
    if not (isinstance(body, Sequence) and len(body) == 2 and isinstance(body[1], Sequence)):
        raise bad_request(f"Hyperparameter '{parameter}' is {body!r}: a distribution and the list of its parameters.")
    name, parameters = body[0], tuple(body[1])
    if name not in _DISTRIBUTIONS:
        raise bad_request(
            f"'{name}' of hyperparameter '{parameter}' is not a distribution: {', '.join(_DISTRIBUTIONS)}."
        )
    allowed = _ALLOWED.get(method, tuple(_DISTRIBUTIONS))
    if name not in allowed:
        raise bad_request(
            f"Hyperparameter '{parameter}' has the distribution {name}: "
            f"{method} sampling supports {', '.join(allowed)}."
        )
    if rule := _broken_rule(name, parameters):
        raise bad_request(f"Hyperparameter '{parameter}', {name}: {rule}.")
    return Expression(name, parameters)


def _broken_rule(name: str, parameters: Sequence[Any]) -> str | None:
    expected = _DISTRIBUTIONS[name].parameters
    if len(parameters) != len(expected):
        return f"it has {len(parameters)} parameters instead of {', '.join(expected)}"
    if name == "choice":
        is_list = isinstance(parameters[0], Sequence) and not isinstance(parameters[0], str)
        return None if is_list and parameters[0] else "it needs a list of at least one option"
    if not all(isinstance(value, (int, float)) and math.isfinite(value) for value in parameters):
        return f"{', '.join(expected)} must be finite numbers"
    if name == "randint":
        return (
            None if float(parameters[0]).is_integer() and parameters[0] >= 1 else "upper must be a whole number from 1"
        )
    if expected[0] == "min_value":
        # The SDK refuses equal bounds of the two linear ones only.
        if parameters[0] > parameters[1] or (parameters[0] == parameters[1] and "log" not in name):
            return "min_value must be less than max_value"
    elif parameters[1] < 0:
        return "sigma must not be negative"
    if expected[-1] == "q" and parameters[2] <= 0:
        return "q must be more than 0"
    return None


def draw(space: Space, goal: Goal, trials: Sequence[Trial]) -> dict[str, float] | None:
    """What the next child gets, before the formulas; ``None`` when a grid has no point left.

    Args:
        space: what to draw from.
        goal: which way the primary metric is better.
        trials: those so far, in the order of their numbers; the draw's own number is how many they are.
    """
    number = len(trials)
    if space.method == "grid":
        indices = (range(len(expression.options)) for expression in space.expressions.values())
        point = next(itertools.islice(itertools.product(*indices), number, None), None)
        return None if point is None else dict(zip(space.expressions, point, strict=True))
    import optuna

    distributions = {name: expression.latent() for name, expression in space.expressions.items()}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction=goal, sampler=_sampler(space.method, _number(f"{space.seed}/{number}")))
    if space.method == "bayesian":
        study.add_trials([_optunas(trial, distributions) for trial in trials])
    return dict(study.ask(distributions).params)


def _sampler(method: Method, seed: int) -> BaseSampler:
    from optuna.samplers import RandomSampler, TPESampler

    # The constant liar keeps children that run at the same time apart.
    return RandomSampler(seed=seed) if method == "random" else TPESampler(seed=seed, constant_liar=True)


def _optunas(trial: Trial, distributions: dict[str, BaseDistribution]) -> FrozenTrial:
    from optuna.trial import TrialState, create_trial

    # An ended child that has logged nothing finite has failed, whatever its exit code.
    ended = TrialState.FAIL if trial.metric is None else TrialState.COMPLETE
    return create_trial(
        state=ended if trial.ended else TrialState.RUNNING,
        params=dict(trial.latents),
        distributions=distributions,
        value=trial.metric if trial.ended else None,
    )


def _number(text: str) -> int:
    """A seed from a text: 32 bits, as NumPy takes them."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
