"""JSON Patch (RFC 6902) as far as the SDK sends it: models and web services are changed with it."""

from __future__ import annotations

import copy
from typing import Any

from emulator.errors import bad_request


def _members(path: str) -> list[str]:
    if not path.startswith("/"):
        raise bad_request(f"'{path}' is not a JSON pointer: it does not start with '/'.")
    return [member.replace("~1", "/").replace("~0", "~") for member in path[1:].split("/")]


def _apply(document: dict[str, Any], operation: dict[str, Any]) -> None:
    kind, path = operation.get("op"), str(operation.get("path"))
    if kind not in ("add", "replace", "remove"):
        raise bad_request(f"The emulator does not implement JSON Patch operation '{kind}', only add, replace, remove.")
    *parents, last = _members(path)
    target: Any = document
    for member in parents:
        target = target.get(member) if isinstance(target, dict) else None
    if not isinstance(target, dict) or (kind != "add" and last not in target):
        raise bad_request(f"JSON Patch operation '{kind}' on '{path}' is not possible: there is no such member.")
    if kind == "remove":
        del target[last]
    else:
        target[last] = copy.deepcopy(operation.get("value"))


def apply_patch(document: dict[str, Any], operations: Any) -> dict[str, Any]:
    """``document`` with the operations applied; the document itself is left as it is.

    Raises:
        ServiceError: 400 for an operation that is not one, or whose member is not there.
    """
    if not isinstance(operations, list) or not all(isinstance(operation, dict) for operation in operations):
        raise bad_request("The body is not a JSON Patch: it has to be a list of operations.")
    changed = copy.deepcopy(document)
    for operation in operations:
        _apply(changed, operation)
    return changed
