"""Drift: how far the columns of a data set are from those of a reference. Pure, no I/O.

The population stability index (PSI) is the sum of (p - q) * ln(p / q) over bins, where p and q are the shares of the
data and of the reference. A numeric column has bins with equal shares of the reference, any other one has its most
frequent values and a bin for the rest; missing values are a bin of their own. Half a value is added to each bin, so
that an empty one counts and does not divide by zero. The Kolmogorov-Smirnov statistic (KS) is the largest distance
between the two distribution functions; missing values are left out of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from settings.data import DriftSettings
from tasks.errors import DataError
from tasks.values import ColumnDrift, DataFailure

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame, Series

_FEWEST_VALUES = 0.5


def drift(frame: DataFrame, reference: DataFrame, settings: DriftSettings) -> tuple[ColumnDrift, ...]:
    """Each compared column that both have.

    Raises:
        DataError: a column of the settings is not in the reference, or the reference has no rows.
    """
    missing = [name for name in settings.columns if name not in reference.columns]
    if missing:
        raise DataError(
            f"The reference {settings.reference} has no column {', '.join(missing)}; "
            f"it has {', '.join(map(str, reference.columns))}.",
            "Correct data.drift.columns, or name another reference.",
        )
    if not len(reference):
        raise DataError(f"The reference {settings.reference} has no rows.", "Name another reference in data.drift.")
    compared = [name for name in settings.columns or map(str, reference.columns) if name in frame.columns]
    return tuple(_column(name, frame[name], reference[name], settings) for name in compared)


def drift_failures(frame: DataFrame, drifts: tuple[ColumnDrift, ...], settings: DriftSettings) -> Iterator[DataFailure]:
    """The columns that are too far away, and those that are not there to be compared."""
    for name in settings.columns:
        if name not in frame.columns:
            yield DataFailure(check="drift", column=name, rule="is there", seen="no such column", count=1)
    for column in drifts:
        for measure, value, limit in (
            ("PSI", column.psi, settings.max_psi),
            ("KS", column.ks, settings.max_ks),
        ):
            if value is not None and limit is not None and value > limit:
                rule = f"{measure} to {settings.reference} at most {limit:g}"
                yield DataFailure(
                    check="drift", column=column.column, rule=rule, seen=f"{measure} {value:.3g}", count=len(frame)
                )


def _column(name: str, values: Series[Any], reference: Series[Any], settings: DriftSettings) -> ColumnDrift:
    import pandas as pd

    numeric = all(
        pd.api.types.is_numeric_dtype(each) and not pd.api.types.is_bool_dtype(each) for each in (values, reference)
    )
    if numeric:
        given, wanted = values.to_numpy(float), reference.to_numpy(float)
        psi = stability_index(*_numeric_bins(given, wanted, settings.bins))
        ks = kolmogorov_smirnov(given, wanted)
    else:
        psi, ks = stability_index(*_category_bins(values, reference, settings.bins)), None
    too_far = (settings.max_psi is not None and psi > settings.max_psi) or (
        settings.max_ks is not None and ks is not None and ks > settings.max_ks
    )
    return ColumnDrift(column=name, psi=psi, ks=ks, drifted=too_far)


def stability_index(counts: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """The PSI of two histograms over the same bins; 0 for equal shares, and never negative."""

    def shares(histogram: NDArray[np.float64]) -> NDArray[np.float64]:
        filled: NDArray[np.float64] = histogram + _FEWEST_VALUES
        divided: NDArray[np.float64] = np.divide(filled, filled.sum())
        return divided

    p, q = shares(counts), shares(reference)
    return float(np.sum((p - q) * np.log(p / q)))


def kolmogorov_smirnov(values: NDArray[np.float64], reference: NDArray[np.float64]) -> float | None:
    """The KS statistic of two samples, 0 to 1; None when one of them has no value."""
    one, other = np.sort(values[~np.isnan(values)]), np.sort(reference[~np.isnan(reference)])
    if not len(one) or not len(other):
        return None
    everywhere = np.concatenate([one, other])
    below_one = np.searchsorted(one, everywhere, side="right") / len(one)
    below_other = np.searchsorted(other, everywhere, side="right") / len(other)
    return float(np.max(np.abs(below_one - below_other)))


def _numeric_bins(
    values: NDArray[np.float64], reference: NDArray[np.float64], bins: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    known = reference[~np.isnan(reference)]
    edges = np.unique(np.quantile(known, np.arange(1, bins) / bins, method="lower")) if len(known) else np.array([])

    def histogram(sample: NDArray[np.float64]) -> NDArray[np.float64]:
        present = sample[~np.isnan(sample)]
        counts = np.bincount(np.searchsorted(edges, present, side="left"), minlength=len(edges) + 1)
        return np.append(counts, len(sample) - len(present)).astype(float)

    return histogram(values), histogram(reference)


def _category_bins(
    values: Series[Any], reference: Series[Any], bins: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    frequent = reference.dropna().astype(str).value_counts().index[:bins]

    def histogram(sample: Series[Any]) -> NDArray[np.float64]:
        present = sample.dropna().astype(str)
        counts = present.value_counts().reindex(frequent, fill_value=0).to_numpy()
        return np.append(counts, [len(present) - counts.sum(), len(sample) - len(present)]).astype(float)

    return histogram(values), histogram(reference)
