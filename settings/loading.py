"""From settings.json to settings: read it, lay --set over it, fill in ${NAME}, check it, gather every mistake."""

import difflib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails

from settings.compute_target import ComputeTargetSettings
from settings.data import DataSettings
from settings.deployment import DeploymentSettings
from settings.experiment import ExperimentSettings
from settings.notifications import NotificationSettings
from settings.problems import HIDDEN, Location, Problem, SettingsError, json_path
from settings.section import UNKNOWN_OPTION, Mistake, Section, Text, location_in
from settings.waiting import WaitingSettings
from settings.workspace import WorkspaceSettings, resolve_workspace

SETTINGS_FILE = Path(__file__).with_name("settings.json")

_DEEPEST = 100
_REFERENCE = re.compile(r"\$(?P<escaped>\$\{)|\$\{(?P<name>[^}]*)\}")
_NAMES_A_SECRET = re.compile(r"passw|passphrase|pwd|secret|credential|(token|key)s?$", re.IGNORECASE)


class Settings(Section):
    """All that a user may choose, as settings.json says it."""

    schema_file: Text | None = Field(
        None, alias="$schema", description="The JSON schema, for your editor.", examples=["./settings.schema.json"]
    )
    workspace: WorkspaceSettings = Field(
        default_factory=WorkspaceSettings, description="The workspace.", examples=[{"cloud": "auto"}]
    )
    data: DataSettings | None = Field(
        None, description="The data, and its gate; null checks no data.", examples=[{"source": {"path": "data.csv"}}]
    )
    experiment: ExperimentSettings = Field(description="Training.", examples=[{"name": "diabetes-ridge"}])
    compute_target: ComputeTargetSettings = Field(description="Compute.", examples=[{"training": {}}])
    deployment: DeploymentSettings = Field(description="Model and services.", examples=[{"model": {}}])
    waiting: WaitingSettings = Field(
        default_factory=WaitingSettings, description="Waiting for Azure.", examples=[{"training_minutes": 720}]
    )
    notifications: NotificationSettings = Field(
        default_factory=NotificationSettings, description="Who is told.", examples=[{"block": "slack-webhook/mlops"}]
    )

    def mistakes(self) -> Iterator[Mistake]:
        most, limit = self.compute_target.nodes_at_a_time
        if self.experiment.distributed_training.node_count > most:
            at = ("experiment", "distributed_training", "node_count")
            yield Mistake(at, f"must be at most {most} ({limit})", (("compute_target",),))


def load(
    path: Path | None = None, overrides: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Settings:
    """The settings of `path` (default: settings/settings.json of this repository).

    overrides: `dotted.key=value`, the value as JSON or else as text; they stand as if they were written in the file.
    environment: where ${NAME} and the workspace's variables come from (default: os.environ).

    Raises SettingsError with every mistake at once.
    """
    surroundings = os.environ if environment is None else environment
    tree, problems = _read(SETTINGS_FILE if path is None else path)
    problems += _lay_over(tree, overrides)
    filled, missing = _fill_in(tree, surroundings)
    problems += missing
    settings = None
    try:
        settings = Settings.model_validate(filled)
    except ValidationError as error:
        found = [_problem(detail, tree) for detail in error.errors(include_url=False)]
        known = {problem.path for problem in problems}
        problems += [problem for problem in found if problem.path not in known]
    problems += _workspace_problems(filled, surroundings)
    if settings is None or problems:
        raise SettingsError(problems)
    return settings


def names_a_secret(key: str) -> bool:
    """Whether an option of this name holds a secret: a password, a passphrase, a key."""
    return _NAMES_A_SECRET.search(key) is not None


def _read(path: Path) -> tuple[dict[str, Any], list[Problem]]:
    """The JSON object in `path`, and its keys that are there more than once."""
    repeated: list[tuple[dict[str, Any], list[str]]] = []

    def noting_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        keys = [key for key, _ in pairs]
        if len(made) < len(keys):
            repeated.append((made, [key for key in made if keys.count(key) > 1]))
        return made

    try:
        tree = json.loads(
            path.read_text(encoding="utf-8-sig"), object_pairs_hook=noting_repeats, parse_constant=_refuse_constant
        )
        twice = [Problem(json_path(at), None, "is there more than once") for at in _locations(repeated, tree)]
    except FileNotFoundError:
        rule = "there is no such file; name an existing one, or leave the path out for settings/settings.json"
    except OSError as error:
        rule = f"cannot be read: {error.strerror}"
    except UnicodeDecodeError as error:
        rule = f"is not UTF-8 text (byte {error.start})"
    except json.JSONDecodeError as error:
        rule = f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
    except ValueError as error:
        rule = f"is not JSON: {error}"
    except RecursionError:
        rule = f"is nested more than {_DEEPEST} levels deep"
    else:
        if isinstance(tree, dict):
            return tree, twice
        rule = "must be a JSON object"
    raise SettingsError([Problem(str(path), None, rule)])


def _refuse_constant(name: str) -> None:
    """Python's json takes NaN and Infinity; JSON has neither."""
    raise ValueError(f"{name} is not a JSON value")


def _locations(repeated: list[tuple[dict[str, Any], list[str]]], value: Any, at: Location = ()) -> Iterator[Location]:
    if len(at) > _DEEPEST:
        raise RecursionError
    if isinstance(value, dict):
        for holder, keys in repeated:
            if holder is value:
                yield from ((*at, key) for key in keys)
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in steps:
        yield from _locations(repeated, inner, (*at, step))


def _lay_over(tree: dict[str, Any], overrides: Sequence[str]) -> Iterator[Problem]:
    """Write the overrides into `tree`; what cannot be written is a problem."""
    for override in overrides:
        dotted, equals, text = override.partition("=")
        keys = dotted.split(".")
        if not equals or not all(keys):
            # What is not a dotted key may be a secret that lost its key.
            yield Problem("--set", None, "must be written as dotted.key=value")
            continue
        into: Any = tree
        for depth, key in enumerate(keys[:-1], start=1):
            if into.get(key) is None:
                into[key] = {}
            into = into[key]
            if not isinstance(into, dict):
                yield Problem(dotted, None, f"{'.'.join(keys[:depth])} is not an object: --set replaces it as a whole")
                break
        else:
            into[keys[-1]] = _parsed(text)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return text


def _fill_in(tree: dict[str, Any], environment: Mapping[str, str]) -> tuple[Any, list[Problem]]:
    """`tree` with environment variables in place of ${NAME}, and tuples in place of lists."""
    problems: list[Problem] = []

    def filled(value: Any, at: Location) -> Any:
        if isinstance(value, dict):
            return {key: filled(inner, (*at, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return tuple(filled(inner, (*at, position)) for position, inner in enumerate(value))
        if not isinstance(value, str):
            return value

        def variable(reference: re.Match[str]) -> str:
            if reference["escaped"]:
                return reference["escaped"]
            name = reference["name"]
            if name not in environment:
                rule = f"the environment variable {name} is not set; set it, or write $${{{name}}} for the text itself"
                problems.append(Problem(json_path(at), reference[0], rule))
            return environment.get(name, "")

        return _REFERENCE.sub(variable, value)

    return filled(tree, ()), problems


def _problem(detail: ErrorDetails, tree: dict[str, Any]) -> Problem:
    at, (rule, choices) = location_in(tree, detail["loc"]), (detail["ctx"]["rule"], detail["ctx"]["choices"])
    if detail["type"] == UNKNOWN_OPTION:
        # Its value says nothing about the mistake, and may be a secret under a mistyped name.
        return Problem(json_path(at), None, rule, _nearest(at[-1], choices))
    value: Any = tree
    for step in at:
        value = (value if isinstance(value, dict) else dict(enumerate(value))).get(step)
    return Problem(json_path(at), _shown(value, at, rule), rule, _nearest(value, choices))


def _nearest(wrong: object, choices: Sequence[str]) -> str | None:
    near = difflib.get_close_matches(wrong, choices, n=1) if isinstance(wrong, str) else []
    return near[0] if near else None


def _shown(value: Any, at: Location, rule: str) -> str | None:
    """`value` for a message: without secrets, and without whatever objects, lists or misplaced text may hold."""
    if value is None:
        return None
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str) and rule in ("must be an object", "must be a list"):
        return "text"
    if any(isinstance(step, str) and names_a_secret(step) for step in at):
        return HIDDEN
    return json.dumps(value)


def _workspace_problems(filled: Mapping[str, Any], environment: Mapping[str, str]) -> tuple[Problem, ...]:
    """What stands in the way of a workspace; nothing when the section itself is wrong, which is said already."""
    try:
        resolve_workspace(WorkspaceSettings.model_validate(filled.get("workspace") or {}), environment)
    except ValidationError:
        return ()
    except SettingsError as error:
        return error.problems
    return ()
