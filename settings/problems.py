"""The mistakes of a settings file, as values and as the one error that carries them all."""

from collections.abc import Iterable
from dataclasses import dataclass

HIDDEN = "**********"  # what is shown in place of a secret, as pydantic's SecretStr shows it

Location = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    """One mistake in the settings.

    path: where, e.g. `experiment.hyperparameter_sampling.method`.
    value: what stands there, written as JSON; `**********` for a secret, None where a value says nothing.
    rule: what is wanted, as the end of a sentence, e.g. `must be at least 1`.
    suggestion: the nearest valid name or value, where one is near.
    """

    path: str
    value: str | None
    rule: str
    suggestion: str | None = None

    def __str__(self) -> str:
        found = "" if self.value is None else f" (found: {self.value})"
        nearest = "" if self.suggestion is None else f"; did you mean {self.suggestion!r}?"
        return f"{self.path}: {self.rule}{found}{nearest}"


class SettingsError(Exception):
    """The settings cannot be used. `problems` has every mistake; str() lists them, one to a line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


def json_path(location: Location) -> str:
    """`('experiment', 'run_tags', 'a b')` as `experiment.run_tags.a b`; list positions as `[0]`."""
    path = ""
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        else:
            path += ("." if path else "") + (step if step.isprintable() else ascii(step))
    return path
