"""Predictions on test data: read, told apart by their test data, and scored by the usual metrics. Pure, no I/O."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from settings.deployment import MetricFunction, MetricSettings
from tasks.errors import TestSetError
from tasks.values import PredictionBin

if TYPE_CHECKING:
    from numpy.typing import NDArray

_COLUMNS = ("id", "target", "prediction")
_MOST_BINS = 10
_MEND = "Let the training script write one row per example with the columns id, target and prediction."


@dataclass(frozen=True)
class Predictions:
    """What a model says about each row of the test data; numbers where all are numbers, else text."""

    ids: tuple[str, ...]
    target: NDArray[Any]
    prediction: NDArray[Any]
    groups: Mapping[str, tuple[str, ...]]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the test data, as far as it decides a metric: ids and targets, whatever their order."""
        rows = sorted(f"{name}\0{target!s}" for name, target in zip(self.ids, self.target, strict=True))
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()

    def in_order_of(self, ids: Sequence[str]) -> Predictions:
        """The same rows, each of which is there once, in another order."""
        place = {name: position for position, name in enumerate(self.ids)}
        return self._at([place[name] for name in ids])

    def _at(self, rows: Sequence[int]) -> Predictions:
        return Predictions(
            ids=tuple(self.ids[row] for row in rows),
            target=self.target[rows],
            prediction=self.prediction[rows],
            groups={name: tuple(values[row] for row in rows) for name, values in self.groups.items()},
        )

    def slices(self) -> Iterator[tuple[str, Predictions]]:
        """Each group with its name, such as ``sex=1``."""
        for name, values in self.groups.items():
            for value in sorted(set(values)):
                yield f"{name}={value}", self._at([row for row, each in enumerate(values) if each == value])


def parse(text: str, origin: str) -> Predictions:
    """The predictions in a CSV file: id, target, prediction, and a column for each way to group the rows.

    Args:
        origin: whose file it is, for the errors.

    Raises:
        TestSetError: a column is missing, an id is there twice, or there is no row.
    """
    reader = csv.DictReader(io.StringIO(text))
    rows, names = list(reader), tuple(reader.fieldnames or ())
    missing = [name for name in _COLUMNS if name not in names]
    if missing:
        raise TestSetError(f"The predictions of {origin} have no {', '.join(missing)}.", _MEND)
    if not rows:
        raise TestSetError(f"The predictions of {origin} have no row.", _MEND)
    if any(None in (*row, *row.values()) for row in rows):
        raise TestSetError(f"The predictions of {origin} have rows of different lengths.", _MEND)
    ids = tuple(row["id"] for row in rows)
    if len(set(ids)) < len(ids):
        raise TestSetError(f"The predictions of {origin} have an id more than once.", _MEND)
    return Predictions(
        ids=ids,
        target=_numbers([row["target"] for row in rows]),
        prediction=_numbers([row["prediction"] for row in rows]),
        groups={name: tuple(row[name] for row in rows) for name in names if name not in _COLUMNS},
    )


def answered(asked: Predictions, answers: Sequence[object], origin: str) -> Predictions:
    """The same test data with the answers of another model.

    Raises:
        TestSetError: there is not one answer for each row.
    """
    if len(answers) != len(asked.ids):
        raise TestSetError(
            f"{origin} gave {len(answers)} predictions for {len(asked.ids)} rows of the candidate's test data.",
            "Let the training script write requests with the rows of its predictions, in their order.",
        )
    return replace(asked, prediction=_numbers([str(answer) for answer in answers]))


def score(predictions: Predictions, function: MetricFunction) -> float:
    """The metric of these predictions.

    Raises:
        TestSetError: the metric wants numbers.
    """
    if function != "accuracy" and not _numeric(predictions):
        raise TestSetError(
            f"{function} wants numbers, but targets or predictions are text.", "Name accuracy, or predict numbers."
        )
    return FUNCTIONS[function](predictions.target, predictions.prediction)


def scores(predictions: Predictions, rules: Mapping[str, MetricSettings]) -> dict[str, float]:
    """Every metric of the rules, and its slices, under the names that a script logs them by.

    Raises:
        TestSetError: a metric does not follow from predictions, as far as the settings say.
    """
    computed = {}
    for name, rule in rules.items():
        function = function_of(name, rule)
        if function is None:
            raise TestSetError(
                f"Production must be scored on the candidate's test data, but how {name} is computed is not known.",
                f"Set deployment.model.evaluation_parameters.metrics.{name}.function, or leave test_set out.",
            )
        computed[name] = score(predictions, function)
        if rule.slices is not None:
            computed |= {f"{name}[{group}]": score(part, function) for group, part in predictions.slices()}
    return computed


def function_of(name: str, rule: MetricSettings) -> MetricFunction | None:
    """How a metric is computed: as its rule says, else as its name does."""
    return rule.function or next((function for function in FUNCTIONS if function == name), None)


def by_target(candidate: Predictions, production: Predictions | None) -> tuple[PredictionBin, ...]:
    """Mean predictions over at most ten bins of neighbouring targets; empty for text.

    Args:
        production: in the order of the candidate's.
    """
    if not all(map(_numeric, filter(None, (candidate, production)))):
        return ()
    order = sorted(range(len(candidate.ids)), key=candidate.target.__getitem__)
    return tuple(
        PredictionBin(
            rows=len(rows),
            target=float(candidate.target[rows].mean()),
            candidate=float(candidate.prediction[rows].mean()),
            production=None if production is None else float(production.prediction[rows].mean()),
        )
        for rows in np.array_split(order, min(_MOST_BINS, len(order)))
    )


def _numeric(predictions: Predictions) -> bool:
    return predictions.target.dtype == predictions.prediction.dtype == float


def _numbers(texts: Sequence[str]) -> NDArray[Any]:
    try:
        return np.array([float(text) for text in texts])
    except ValueError:
        return np.array(texts, dtype=object)


def _mse(target: NDArray[Any], prediction: NDArray[Any]) -> float:
    return float(np.mean((target - prediction) ** 2))


def _rmse(target: NDArray[Any], prediction: NDArray[Any]) -> float:
    return float(np.sqrt(_mse(target, prediction)))


def _mae(target: NDArray[Any], prediction: NDArray[Any]) -> float:
    return float(np.mean(np.abs(target - prediction)))


def _r2(target: NDArray[Any], prediction: NDArray[Any]) -> float:
    """As scikit-learn's: where all targets are equal, 1 for perfect predictions, else 0."""
    residual, total = np.sum((target - prediction) ** 2), np.sum((target - np.mean(target)) ** 2)
    return float(1 - residual / total) if total else float(not residual)


def _accuracy(target: NDArray[Any], prediction: NDArray[Any]) -> float:
    return float(np.mean(target == prediction))


FUNCTIONS: Mapping[MetricFunction, Callable[[NDArray[Any], NDArray[Any]], float]] = {
    "mse": _mse,
    "rmse": _rmse,
    "mae": _mae,
    "r2": _r2,
    "accuracy": _accuracy,
}
