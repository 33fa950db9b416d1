"""docs/settings.md: every option with type, default, bounds, description and example, made from the JSON schema."""

import json
from collections.abc import Iterator
from typing import Any

_INTRODUCTION = """\
# Settings

Every option of `settings/settings.json`. This page is made from the models by `python -m settings schema`.

- `null` stands for the default. Where that is `null` too, nothing is set: the description says what Azure does then.
- `${NAME}` in any text takes the environment variable `NAME`; `$${` stands for the text `${`.
- `python -m flows.main --set dotted.key=value` replaces an option for one run; the value is JSON or else text.
- `python -m settings check` reports every mistake at once.
"""
_HEADER = "| Option | Type | Default | Bounds | Description | Example |\n| --- | --- | --- | --- | --- | --- |"
_DISTRIBUTIONS = f"""\
## Distributions

Each argument in `experiment.hyperparameter_sampling.parameters` has a `distribution` and all of its `parameters`.

{_HEADER}"""
_TYPES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "null": "null"}

Schema = dict[str, Any]


def reference(schema: Schema) -> str:
    """The page, in Markdown, for the schema of settings.schema.json."""
    definitions: dict[str, Schema] = schema["$defs"]
    parts = [_INTRODUCTION]
    for name, option in schema["properties"].items():
        section = _section_of(option, definitions)
        if section is not None:
            parts.append(_table(f"## {name}", section, definitions))
    parts.append(_DISTRIBUTIONS)
    for definition in definitions.values():
        if "distribution" in definition["properties"]:
            parameters = _section_of(definition["properties"]["parameters"], definitions)
            parts += _rows(parameters or {}, definitions, f"{definition['properties']['distribution']['const']}.")
    return "\n".join(parts) + "\n"


def _table(title: str, section: Schema, definitions: dict[str, Schema]) -> str:
    rows = "\n".join(_rows(section, definitions))
    return f"{title}\n\n{section['description']}\n\n{_HEADER}\n{rows}\n"


def _rows(section: Schema, definitions: dict[str, Schema], prefix: str = "") -> Iterator[str]:
    for name, option in section.get("properties", {}).items():
        inner = _section_of(option, definitions)
        if inner is None or not inner.get("properties"):
            each = _section_of(_values(option), definitions)
            required = name in section.get("required", ())
            cells = (f"`{prefix}{name}`", *_cells(option, required, definitions))
            yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
            if each is not None:
                yield from _rows(each, definitions, f"{prefix}{name}.<name>.")
        else:
            yield from _rows(inner, definitions, f"{prefix}{name}.")


def _cells(option: Schema, required: bool, definitions: dict[str, Schema]) -> Iterator[str]:
    kinds = [kind for kind in option.get("anyOf", [option]) if kind != {"type": "null"}]
    yield " or ".join(_type(kind, definitions) for kind in kinds)
    default = option.get("default")
    yield "required" if required else f"`{json.dumps(default)}`"
    yield ", ".join(bound for kind in kinds for bound in _bounds(kind))
    yield option["description"]
    yield ", ".join(f"`{json.dumps(example)}`" for example in option["examples"])


def _type(kind: Schema, definitions: dict[str, Schema]) -> str:
    if "$ref" in kind or kind.get("type") == "object":
        return "object"
    if "const" in kind:
        return f"`{kind['const']}`"
    if "enum" in kind:
        return ", ".join(f"`{choice}`" for choice in kind["enum"])
    if "anyOf" in kind:
        return " or ".join(_type(each, definitions) for each in kind["anyOf"])
    if kind["type"] == "array":
        inner = kind["prefixItems"][0] if "prefixItems" in kind else kind["items"]
        return f"list of {_type(inner, definitions)}"
    return "secret text" if kind.get("format") == "password" else _TYPES[kind["type"]]


def _bounds(kind: Schema) -> Iterator[str]:
    for key, words in (
        ("minimum", "at least"),
        ("exclusiveMinimum", "more than"),
        ("maximum", "at most"),
        ("exclusiveMaximum", "less than"),
        ("minItems", "elements: at least"),
    ):
        if key in kind:
            yield f"{words} {kind[key]:g}"
    if "patternErrorMessage" in kind:
        yield kind["patternErrorMessage"].removeprefix("must be ")


def _values(option: Schema) -> Schema:
    """What an object with names of the user's own holds under each name."""
    for kind in option.get("anyOf", [option]):
        named = [kind.get("additionalProperties"), *kind.get("patternProperties", {}).values()]
        for value in named:
            if isinstance(value, dict):
                return value
    return {}


def _section_of(option: Schema, definitions: dict[str, Schema]) -> Schema | None:
    """The section that an option is, if it is one."""
    for kind in option.get("anyOf", [option]):
        if "$ref" in kind:
            return definitions[kind["$ref"].rpartition("/")[2]]
    return None
