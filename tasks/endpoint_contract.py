"""The contract of a service: what it says of itself in Swagger, and that wrong input is the caller's fault. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

_REQUEST = "ServiceInput"
"""What azureml-inference-server-http calls a request in its Swagger document."""


def broken_by(sample: Any, swagger: Any) -> Iterator[str]:
    """What of a request does not fit the service's Swagger document (version 2), one sentence each.

    A script without inference-schema decorators describes no shape; then any request fits.
    """
    from jsonschema import Draft4Validator

    definitions = swagger.get("definitions", {}) if isinstance(swagger, dict) else {}
    if "/score" not in (swagger.get("paths", {}) if isinstance(swagger, dict) else {}):
        yield "it has no path /score"
    if _REQUEST not in definitions:
        return
    described = definitions[_REQUEST].get("properties", {})
    if isinstance(sample, dict) and described:
        yield from (f"the sample has '{name}', which it does not name" for name in sample if name not in described)
        yield from (f"it names '{name}', which the sample has not" for name in described if name not in sample)
    validator = Draft4Validator({"$ref": f"#/definitions/{_REQUEST}", "definitions": definitions})
    for error in validator.iter_errors(sample):
        yield f"{error.json_path}: {error.message[:200]}"


def wrong_inputs(sample: Any) -> Iterator[tuple[str, bytes]]:
    """Requests that no service should take, by what is wrong with them."""
    yield "no JSON", b"{"
    yield "an empty object", b"{}"
    if not isinstance(sample, dict):
        return
    for name, value in sample.items():
        yield f"text for '{name}'", _changed(sample, name, "not what was asked for")
        if _is_table(value):
            yield f"a row of '{name}' too long", _changed(sample, name, [[*row, row[-1]] for row in value])
            yield f"text in a row of '{name}'", _changed(sample, name, [[*row[:-1], "text"] for row in value])


def _is_table(value: Any) -> bool:
    """Whether it is rows of numbers, as of a numpy array."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(row, list) and row and all(isinstance(each, (int, float)) for each in row) for row in value)
    )


def _changed(sample: dict[str, Any], name: str, value: Any) -> bytes:
    return json.dumps({**sample, name: value}).encode()


def differs(answer: Any, expected: Any, relative_tolerance: float, at: str = "$") -> Iterator[str]:
    """Where an answer is not what was expected, one sentence each; numbers may differ by the tolerance."""
    import math

    if _is_number(answer) and _is_number(expected):
        if not math.isclose(answer, expected, rel_tol=relative_tolerance, abs_tol=1e-12):
            yield f"{at} is {answer!r} and not {expected!r}"
    elif isinstance(answer, list) and isinstance(expected, list):
        if len(answer) != len(expected):
            yield f"{at} has {len(answer)} elements and not {len(expected)}"
        for number, (each, wanted) in enumerate(zip(answer, expected, strict=False)):
            yield from differs(each, wanted, relative_tolerance, f"{at}[{number}]")
    elif isinstance(answer, dict) and isinstance(expected, dict):
        for name in sorted(answer.keys() ^ expected.keys()):
            yield f"{at}.{name} is {'unexpected' if name in answer else 'missing'}"
        for name in sorted(answer.keys() & expected.keys()):
            yield from differs(answer[name], expected[name], relative_tolerance, f"{at}.{name}")
    elif type(answer) is not type(expected) or answer != expected:
        yield f"{at} is {answer!r} and not {expected!r}"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
