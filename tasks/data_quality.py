"""The data gate's rules, by pandera: which rule of the settings a data set breaks, and in which rows. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from settings.data import ColumnSettings, DataSettings
from tasks.values import DataFailure

if TYPE_CHECKING:
    from pandas import DataFrame, Series

_EXAMPLES = 5


@dataclass(frozen=True)
class _Rule:
    """One rule of a column: which values keep it, and what to say of those that do not."""

    check: str
    text: str
    kept: Callable[[Series[Any]], Series[Any]]
    seen: Callable[[Series[Any]], str]


def broken_rules(frame: DataFrame, settings: DataSettings) -> tuple[DataFailure, ...]:
    """Every rule of the settings that the data breaks, all at once; empty for good data."""
    import pandera.pandas as pandera
    from pandera.errors import SchemaErrors

    frame = frame.reset_index(drop=True)
    rules = {name: tuple(_rules(column)) for name, column in settings.columns.items()}
    schema = pandera.DataFrameSchema(
        {
            name: pandera.Column(
                nullable=True, checks=[pandera.Check(rule.kept, name=rule.check, ignore_na=False) for rule in of_column]
            )
            for name, of_column in rules.items()
        }
    )
    failures = [*_rows(frame, settings), *_columns(frame, settings)]
    try:
        schema.validate(frame, lazy=True)
    except SchemaErrors as error:
        cases = error.failure_cases
        for name, of_column in rules.items():
            for rule in of_column:
                rows = cases.loc[(cases["column"] == name) & (cases["check"] == rule.check), "index"].astype(int)
                if len(rows):
                    wrong = frame.loc[rows, name]
                    failures.append(_failure(rule.check, name, rule.text, rule.seen(wrong), rows))
    return tuple(failures)


def _failure(check: str, column: str | None, rule: str, seen: str, rows: Any) -> DataFailure:
    return DataFailure(
        check=check,
        column=column,
        rule=rule,
        seen=seen,
        count=len(rows),
        rows=tuple(int(row) + 1 for row in sorted(rows)[:_EXAMPLES]),
    )


def _rows(frame: DataFrame, settings: DataSettings) -> Iterator[DataFailure]:
    if len(frame) < settings.min_rows:
        rule = f"at least {settings.min_rows} rows"
        yield DataFailure(check="rows", column=None, rule=rule, seen=f"{len(frame)} rows", count=1)
    repeated = frame.index[frame.duplicated()]
    if len(repeated) > settings.duplicate_rows_allowed * len(frame):
        rule = f"at most {settings.duplicate_rows_allowed:.4g} of the rows repeat an earlier one"
        yield _failure("duplicates", None, rule, f"{len(repeated) / len(frame):.4g} of them", repeated)


def _columns(frame: DataFrame, settings: DataSettings) -> Iterator[DataFailure]:
    there = ", ".join(map(str, frame.columns)) or "no column"
    for name in settings.columns:
        if name not in frame.columns:
            yield DataFailure(check="columns", column=name, rule="is there", seen=f"only {there}", count=1)
    for name in frame.columns:
        if name not in settings.columns and not settings.other_columns_allowed:
            yield DataFailure(check="columns", column=str(name), rule="is not there", seen="a column", count=1)


def _rules(column: ColumnSettings) -> Iterator[_Rule]:
    if column.type is not None:
        is_of_type = _TYPES[column.type]
        yield _Rule("type", column.type, lambda values: values.isna() | is_of_type(values), _kinds)
    if column.min is not None:
        smallest = column.min
        yield _Rule(
            "smallest value",
            f"at least {smallest:g}",
            lambda values: ~(_numbers(values) < smallest),
            lambda wrong: f"down to {_numbers(wrong).min():g}",
        )
    if column.max is not None:
        largest = column.max
        yield _Rule(
            "largest value",
            f"at most {largest:g}",
            lambda values: ~(_numbers(values) > largest),
            lambda wrong: f"up to {_numbers(wrong).max():g}",
        )
    if column.allowed:
        allowed = column.allowed
        yield _Rule(
            "allowed values",
            f"one of {', '.join(map(str, allowed))}",
            lambda values: values.isna() | values.isin(allowed) | _numbers(values).isin(_numeric(allowed)),
            # Counted and not shown: what does not belong there may be anything, a name too.
            lambda wrong: f"{wrong.nunique()} other value(s)",
        )
    yield _Rule(
        "missing values",
        f"at most {column.missing_allowed:.4g} of the values missing",
        lambda values: values.notna() | (values.isna().mean() <= column.missing_allowed),
        lambda wrong: f"{len(wrong)} missing",
    )
    if column.unique:
        yield _Rule(
            "unique",
            "no value is there twice",
            lambda values: values.isna() | ~values.duplicated(keep=False),
            lambda wrong: f"{wrong.nunique()} value(s) more than once",
        )


def _numbers(values: Series[Any]) -> Series[Any]:
    """The values as numbers; what is none is missing. A CSV column with one word in it is all text."""
    import pandas as pd

    return pd.to_numeric(values, errors="coerce").astype(float)


def _numeric(allowed: tuple[Any, ...]) -> list[float]:
    return [float(value) for value in allowed if isinstance(value, int | float)]


def _is_number(values: Series[Any]) -> Series[Any]:
    import numpy as np

    return ~_is_boolean(values) & np.isfinite(_numbers(values))


def _is_integer(values: Series[Any]) -> Series[Any]:
    return _is_number(values) & (_numbers(values) % 1 == 0)


def _is_text(values: Series[Any]) -> Series[Any]:
    return values.map(lambda value: isinstance(value, str)).astype(bool)


def _is_boolean(values: Series[Any]) -> Series[Any]:
    import numpy as np

    return values.map(lambda value: isinstance(value, bool | np.bool_)).astype(bool)


def _is_datetime(values: Series[Any]) -> Series[Any]:
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(values):
        return values.notna()
    # Text only: pandas takes a number for nanoseconds since 1970.
    return (
        _is_text(values)
        & pd.to_datetime(values.where(_is_text(values)), errors="coerce", format="ISO8601", utc=True).notna()
    )


_TYPES: Mapping[str, Callable[[Series[Any]], Series[Any]]] = {
    "integer": _is_integer,
    "number": _is_number,
    "text": _is_text,
    "boolean": _is_boolean,
    "datetime": _is_datetime,
}


def _kinds(wrong: Series[Any]) -> str:
    """Which kinds of value are there instead, without the values."""
    names = {"str": "text", "float": "number", "float64": "number", "int": "integer", "int64": "integer"}
    kinds = wrong.map(lambda value: type(value).__name__)
    return ", ".join(sorted({names.get(kind, kind) for kind in kinds}))
