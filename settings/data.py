"""The `data` section: where the training data comes from, and what must hold for it before anything is trained."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from settings.section import Mistake, Scalar, Section, Text

Fraction = Annotated[float, Field(ge=0, le=1)]


class DataSource(Section):
    """Where data is read from: a file, or a registered dataset (azureml.core.Dataset.get_by_name)."""

    path: Text | None = Field(
        None,
        description="A file of the machine that the flow runs on, relative to the repository: Parquet when its name "
        "ends in .parquet, else CSV with a line of names.",
        examples=["code/training/diabetes.csv"],
    )
    dataset: Text | None = Field(
        None,
        description="A registered dataset, by name: a tabular one, or one of files, which are CSV or Parquet, too, and "
        "are read one after the other.",
        examples=["diabetes"],
    )
    version: int | None = Field(None, ge=1, description="Version of the dataset; null is the latest.", examples=[3])

    def mistakes(self) -> Iterator[Mistake]:
        if (self.path is None) == (self.dataset is None):
            yield Mistake((), "must have exactly one of path and dataset")
        if self.version is not None and self.path is not None:
            yield Mistake(("version",), "must be null with a path")

    def __str__(self) -> str:
        if self.path is not None:
            return self.path
        return f"dataset {self.dataset}:{self.version or 'latest'}"


class ColumnSettings(Section):
    """What must hold for one column. A value that is missing breaks no rule but missing_allowed."""

    type: Literal["integer", "number", "text", "boolean", "datetime"] | None = Field(
        None, description="Kind of its values; null is any.", examples=["number"]
    )
    min: float | None = Field(None, description="Smallest value.", examples=[0])
    max: float | None = Field(None, description="Largest value.", examples=[120])
    allowed: tuple[Scalar, ...] = Field((), description="The only values; none listed is any.", examples=[[1, 2]])
    missing_allowed: Fraction = Field(0.0, description="Fraction of values that may be missing.", examples=[0.05])
    unique: bool = Field(False, description="No value is there twice.", examples=[True])

    def mistakes(self) -> Iterator[Mistake]:
        if self.min is not None and self.max is not None and self.min > self.max:
            yield Mistake(("min",), f"must be at most max ({self.max:g})", (("max",),))
        for bound in ("min", "max"):
            if getattr(self, bound) is not None and self.type not in (None, "integer", "number"):
                yield Mistake((bound,), f"must be null for the type {self.type}", (("type",),))


class DriftSettings(Section):
    """How far the data may be from a reference, column by column."""

    reference: DataSource = Field(
        description="The data to compare with.", examples=[{"dataset": "diabetes", "version": 2}]
    )
    columns: tuple[Text, ...] = Field(
        (), description="Columns to compare; none listed is all of the reference.", examples=[["age", "bmi"]]
    )
    max_psi: float | None = Field(
        None,
        ge=0,
        description="Largest population stability index; above 0.1 is commonly taken for a moderate shift, above 0.2 "
        "for a large one. Null does not judge by it.",
        examples=[0.2],
    )
    max_ks: Fraction | None = Field(
        None,
        description="Largest Kolmogorov-Smirnov statistic of a numeric column: the largest distance between the two "
        "distribution functions. Null does not judge by it.",
        examples=[0.1],
    )
    bins: int = Field(
        10, ge=2, le=100, description="Bins of a numeric column, with equal shares of the reference.", examples=[10]
    )

    def mistakes(self) -> Iterator[Mistake]:
        if self.max_psi is None and self.max_ks is None:
            yield Mistake((), "must have at least one of max_psi and max_ks", (("max_psi",), ("max_ks",)))


class DataSettings(Section):
    """The data gate. A data set that breaks a rule ends the run as DataRejected, before any compute is made."""

    source: DataSource = Field(
        description="The data that the training script reads. Name the same in experiment.script_parameters, as a file "
        "of experiment.source_directory, or in experiment.data_references: another file or version there is refused, "
        "and where neither names it the report warns.",
        examples=[{"path": "code/training/diabetes.csv"}],
    )
    min_rows: int = Field(1, ge=1, description="Fewest rows.", examples=[100])
    duplicate_rows_allowed: Fraction = Field(
        1.0, description="Fraction of rows that may repeat an earlier one.", examples=[0.0]
    )
    other_columns_allowed: bool = Field(
        True, description="Columns that are not listed under columns are no failure.", examples=[False]
    )
    columns: dict[Text, ColumnSettings] = Field(
        {},
        description="Columns that must be there, and their rules.",
        examples=[{"age": {"type": "integer", "min": 0}}],
    )
    drift: DriftSettings | None = Field(
        None,
        description="Comparison with a reference; null makes none.",
        examples=[{"reference": {"path": "data/reference.csv"}}],
    )
