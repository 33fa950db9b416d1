"""What every section of the settings has in common: how it is checked, and the kinds of value that options share."""

import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, ErrorDetails, InitErrorDetails, PydanticCustomError, core_schema
from typing_extensions import LiteralString

from settings.problems import Location

# The two kinds of error that leave a section; whatever pydantic found is put into plain words first.
BROKEN_RULE = "broken_rule"
UNKNOWN_OPTION = "unknown_option"

_KEY = "[key]"  # how pydantic says that a key of an object is wrong, and not its value

_WORDS = {
    "missing": "is required",
    "string_type": "must be text",
    "string_unicode": "must be valid text",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "string_too_short": "must have at least {min_length} character(s)",
    "string_too_long": "must have at most {max_length} character(s)",
    "too_short": "must have at least {min_length} element(s)",
    "too_long": "must have at most {max_length} element(s)",
}


class Mistake(NamedTuple):
    """A broken rule between options: where it shows (from the section that says so), and the rule in words.

    reads: the other options that the rule compares with; while one of them is wrong itself, it says nothing.
    """

    at: Location
    rule: str
    reads: tuple[Location, ...] = ()


SectionT = TypeVar("SectionT", bound="Section")


class Section(BaseModel):
    """A frozen group of options that reports all its mistakes at once.

    `null` means the default. An option that is wrong does not hide the others: the rules between options (`mistakes`)
    are checked as well, with the wrong one at its default.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    def mistakes(self) -> Iterator[Mistake]:
        """The rules between options that are broken; each section says its own."""
        return iter(())

    @model_validator(mode="wrap")
    @classmethod
    def _gather(cls: type[SectionT], given: object, validate: ModelWrapValidatorHandler[SectionT]) -> SectionT:
        if not isinstance(given, Mapping):
            return validate(given)
        options = {field.alias or name: field for name, field in cls.model_fields.items()}
        known = {
            name: value
            for name, value in given.items()
            if name in options and (value is not None or options[name].is_required())
        }
        found = [_unknown_option(name, tuple(options)) for name in given if name not in options]
        wrong: set[Location] = set()
        try:
            section: SectionT | None = validate(known)
        except ValidationError as error:
            details = error.errors(include_url=False)
            found += map(_in_plain_words, details)
            wrong = {location_in(known, detail["loc"]) for detail in details}
            section = _or_none(validate, _without(known, wrong))
        if section is not None:
            found += [
                _broken_rule(mistake.at, mistake.rule) for mistake in section.mistakes() if _can_tell(mistake, wrong)
            ]
        if section is None or found:
            raise ValidationError.from_exception_data(cls.__name__, found)
        return section

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The schema says what `_gather` does: an option that is not required takes null."""
        schema = handler(core_schema)
        described = handler.resolve_ref_schema(schema)
        required = described.get("required", [])
        for name, option in described.get("properties", {}).items():
            if name not in required:
                described["properties"][name] = _or_null(option)
        return schema


def location_in(tree: Any, location: Location) -> Location:
    """`location`, as pydantic says it, without the tags of unions and the mark of keys, which are in no file.

    Its last step is kept: an option that is required and missing is not in the file either.
    """
    at: Location = ()
    for position, step in enumerate(location):
        if step == _KEY:
            break
        if isinstance(tree, tuple | list) and isinstance(step, int):
            tree = tree[step] if step < len(tree) else None
        elif isinstance(tree, Mapping) and (step in tree or position + 1 == len(location)):
            tree = tree.get(step)
        else:
            continue
        at = (*at, step)
    return at


def _without(tree: Any, wrong: Collection[Location]) -> Any:
    """`tree` without what is at the locations `wrong`."""
    inside: dict[str | int, list[Location]] = {}
    for at in wrong:
        inside.setdefault(at[0], []).append(at[1:])
    if isinstance(tree, Mapping):
        return {
            key: _without(value, inside.get(key, ())) for key, value in tree.items() if () not in inside.get(key, ())
        }
    if isinstance(tree, tuple):
        kept = ((value, inside.get(position, ())) for position, value in enumerate(tree))
        return tuple(_without(value, below) for value, below in kept if () not in below)
    return tree


def _can_tell(mistake: Mistake, wrong: Collection[Location]) -> bool:
    """Whether a rule can be judged: nothing that it reads is wrong by itself."""
    pairs = ((read, at) for read in (mistake.at, *mistake.reads) for at in wrong)
    return all(read[: len(at)] != at and at[: len(read)] != read for read, at in pairs)


def _or_none(validate: ModelWrapValidatorHandler[SectionT], options: dict[str, Any]) -> SectionT | None:
    """The section from the options that are right, for the rules between them; None when a required one is wrong."""
    try:
        return validate(options)
    except ValidationError:  # already reported: these are the same options
        return None


def _or_null(option: JsonSchemaValue) -> JsonSchemaValue:
    null: JsonSchemaValue = {"type": "null"}
    notes = {key: option[key] for key in ("title", "description", "default", "examples") if key in option}
    kind = {key: value for key, value in option.items() if key not in notes}
    kinds = [each for each in kind.get("anyOf", [kind]) if each != null]
    return {"anyOf": [*kinds, null], **notes}


def _broken_rule(at: Location, rule: str, choices: tuple[str, ...] = ()) -> InitErrorDetails:
    return InitErrorDetails(type=_error(BROKEN_RULE, rule, choices), loc=at, input=None)


def _unknown_option(name: str, choices: tuple[str, ...]) -> InitErrorDetails:
    return InitErrorDetails(type=_error(UNKNOWN_OPTION, "is not an option here", choices), loc=(name,), input=None)


def _error(kind: LiteralString, rule: str, choices: tuple[str, ...] = ()) -> PydanticCustomError:
    return PydanticCustomError(kind, "{rule}", {"rule": rule, "choices": choices})


def _in_plain_words(error: ErrorDetails) -> InitErrorDetails:
    kind, at, context = error["type"], error["loc"], error.get("ctx", {})
    if kind == UNKNOWN_OPTION:  # said by a section within this one
        return InitErrorDetails(type=_error(UNKNOWN_OPTION, **context), loc=at, input=None)
    if kind == BROKEN_RULE:
        return _broken_rule(at, **context)
    if kind == "literal_error":
        choices = _quoted(context["expected"])
        return _broken_rule(at, f"must be one of: {', '.join(choices)}", choices)
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        # pydantic names the object; the mistake is in the option that decides which kind of object it is.
        (decider,) = _quoted(context["discriminator"])
        choices = _quoted(context.get("expected_tags", ""))
        return _broken_rule(
            (*at, decider), f"must be one of: {', '.join(choices)}" if choices else "is required", choices
        )
    if kind.endswith("_type") and error["input"] is None:
        return _broken_rule(at, _WORDS["missing"])
    return _broken_rule(at, _WORDS[kind].format(**context) if kind in _WORDS else error["msg"])


def _quoted(listing: str) -> tuple[str, ...]:
    return tuple(re.findall(r"'([^']*)'", listing))


@dataclass(frozen=True)
class Matching:
    """Text of a pattern, whose rule is said in words to the user and to the user's editor."""

    pattern: str
    rule: str

    def __get_pydantic_core_schema__(self, source: type[str], handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        # The editor sees the file before ${NAME} is replaced.
        return handler(schema) | {"pattern": rf"^(?:{self.pattern})$|\$\{{", "patternErrorMessage": self.rule}

    def _check(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text):
            raise _error(BROKEN_RULE, self.rule)
        return text


def _whole_number(value: object) -> object:
    return int(value) if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,18}", value) else value


def _scalar(value: object) -> object:
    if not isinstance(value, str | int | float | bool) or (isinstance(value, float) and not math.isfinite(value)):
        raise _error(BROKEN_RULE, "must be text, a number, true or false")
    return value


Text = Annotated[str, Field(min_length=1)]
Scalar = Annotated[str | int | float | bool, BeforeValidator(_scalar)]
# Existing settings files write some numbers as text.
Count = Annotated[
    int,
    BeforeValidator(_whole_number),
    Field(ge=1),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^[0-9]+$|\\$\\{"}]}),
]
RelativePath = Annotated[str, Matching(r"(?![/\\~]|[A-Za-z]:).+", "must be a relative path")]
AzureName = Annotated[
    str,
    Matching(
        r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}",
        "must be 1 to 255 letters, digits, dashes, dots or underscores, and start with a letter or digit",
    ),
]
