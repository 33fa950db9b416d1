"""The OData that the SDK sends: filters of runs and experiments, their order and their pages."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from emulator.errors import bad_request
from emulator.state import Record

Predicate = Callable[[Record], bool]

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<open>\() | (?P<close>\)) | (?P<join>(?:and|or)\b)
        | (?P<field>[^()\s][^()]*?)\s+(?P<operator>eq|ne|ge|gt|le|lt)\s+
          (?P<value>"[^"]*"|'[^']*'|(?:(?!\s+(?:and|or)\s)[^()])+)
    )""",
    re.VERBOSE,
)
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "ge": operator.ge,
    "gt": operator.gt,
    "le": operator.le,
    "lt": operator.lt,
}
_ABSENT = object()


def _get(record: Record, name: str) -> Any:
    return next((value for key, value in record.items() if key.lower() == name.lower()), None)


def _look_up(record: Record, path: str) -> Any:
    """The value at ``Status``, ``Tags/stage``, ``RunTypeV2/Orchestrator`` or ``RunTypeV2/Traits/automl``."""
    head, _, rest = path.partition("/")
    value = _get(record, head)
    if not rest:
        return value
    if isinstance(value, list):
        return rest if rest in value else _ABSENT
    if not isinstance(value, dict):
        return _ABSENT
    if head.lower() == "runtypev2":
        return _look_up(value, rest)
    return value.get(rest, _ABSENT)


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _comparison(path: str, name: str, literal: str) -> Predicate:
    wanted: str | None = literal.strip()
    if wanted == "null":
        wanted = None
    elif wanted is not None and wanted[:1] in "\"'":
        wanted = wanted[1:-1]
    compare = _OPERATORS[name]

    def holds(record: Record) -> bool:
        found = _look_up(record, path.strip())
        if found is _ABSENT:
            return False  # so that the SDK's "Tags/x ne null or Tags/x eq null" asks whether there is a tag x
        if path.lower().endswith("utc") and wanted is not None:
            moments = _moment(str(found)), _moment(wanted)
            return None not in moments and compare(*moments)
        if name in ("eq", "ne"):
            return compare(None if found is None else str(found), wanted)
        return found is not None and wanted is not None and compare(str(found), wanted)

    return holds


def _either(one: Predicate, other: Predicate) -> Predicate:
    return lambda record: one(record) or other(record)


def _both(one: Predicate, other: Predicate) -> Predicate:
    return lambda record: one(record) and other(record)


class _Parser:
    """Recursive descent: ``or`` binds weaker than ``and``."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[re.Match[str]] = []
        position = 0
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if match is None:
                raise self._error()
            self._tokens.append(match)
            position = match.end()

    def _error(self) -> Exception:
        return bad_request(f"The filter {self._text!r} cannot be read.")

    def _next_is(self, kind: str, text: str | None = None) -> bool:
        if not self._tokens or self._tokens[0][kind] is None:
            return False
        return text is None or self._tokens[0][kind] == text

    def parse(self) -> Predicate:
        predicate = self._alternatives()
        if self._tokens:
            raise self._error()
        return predicate

    def _alternatives(self) -> Predicate:
        predicate = self._conjunction()
        while self._next_is("join", "or"):
            self._tokens.pop(0)
            predicate = _either(predicate, self._conjunction())
        return predicate

    def _conjunction(self) -> Predicate:
        predicate = self._operand()
        while self._next_is("join", "and"):
            self._tokens.pop(0)
            predicate = _both(predicate, self._operand())
        return predicate

    def _operand(self) -> Predicate:
        if self._next_is("open"):
            self._tokens.pop(0)
            predicate = self._alternatives()
            if not self._next_is("close"):
                raise self._error()
            self._tokens.pop(0)
            return predicate
        if self._next_is("field"):
            token = self._tokens.pop(0)
            return _comparison(token["field"], token["operator"], token["value"])
        raise self._error()


def parse_filter(text: str | None) -> Predicate:
    """What a record, with the keys that it has on the wire, must fulfil.

    Raises:
        ServiceError: 400 when the filter cannot be read.
    """
    return _Parser(text).parse() if text and text.strip() else lambda _: True


def _order_key(record: Record, field: str) -> str:
    value = _get(record, field)
    # A run that waits has not started: it sorts by when it was made.
    return str(value if value is not None else record.get("createdUtc") or "")


def in_order(records: Sequence[Record], orderby: str | Sequence[str] | None) -> list[Record]:
    """Sorted by ``"StartTimeUtc desc"`` or the like; without one, newest first."""
    text = orderby if isinstance(orderby, str) else next(iter(orderby or ()), "")
    field, _, direction = (text or "CreatedUtc desc").strip().partition(" ")
    return sorted(records, key=lambda record: _order_key(record, field), reverse=direction.strip().lower() == "desc")


@dataclass(frozen=True)
class Query:
    """One question for a list: ``QueryParamsDto`` in a body, or ``$filter`` and its like in an address."""

    filter: str | None = None
    orderby: str | Sequence[str] | None = None
    top: int | None = None
    continuation: str | None = None

    def page(self, records: Sequence[Record]) -> Record:
        """One page of what fulfils the filter, and the token that asks for the next."""
        holds = parse_filter(self.filter)
        found = in_order([record for record in records if holds(record)], self.orderby)
        start = int(self.continuation or 0)
        end = start + self.top if self.top else len(found)
        return {"value": found[start:end], "continuationToken": str(end) if end < len(found) else None}
