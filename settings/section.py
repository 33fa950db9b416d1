"""What every section of the settings has in common: how it is checked, and the kinds of value that options share."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    SecretStr,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, ErrorDetails, InitErrorDetails, PydanticCustomError

from settings.problems import Location

# The two kinds of error that leave a section; whatever pydantic found is put into plain words first.
BROKEN_RULE = "broken_rule"
UNKNOWN_OPTION = "unknown_option"

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
    """An option that breaks a rule between options: where (from the section that says so), and the rule in words."""

    at: Location
    rule: str


SectionT = TypeVar("SectionT", bound="Section")


class Section(BaseModel):
    """A frozen group of options that reports all its mistakes at once.

    `null` means the default. An option that is wrong does not hide the others: the rules between options (`mistakes`)
    are checked as well, with the wrong one at its default.
    """

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, validate_by_alias=True, serialize_by_alias=True
    )

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
        section = None
        try:
            section = validate(known)
        except ValidationError as error:
            details = error.errors(include_url=False)
            found += map(_in_plain_words, details)
            wrong = {detail["loc"][0] for detail in details if detail["loc"]}
            section = _or_none(validate, {name: value for name, value in known.items() if name not in wrong})
        if section is not None:
            found += [_broken_rule(mistake.at, mistake.rule) for mistake in section.mistakes()]
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


def _or_none(validate: ModelWrapValidatorHandler[SectionT], options: dict[str, Any]) -> SectionT | None:
    """The section from the options that are right, for the rules between them; None when a required one is wrong."""
    try:
        return validate(options)
    except ValidationError:  # already reported: these are the same options
        return None


def _or_null(option: JsonSchemaValue) -> JsonSchemaValue:
    if {"type": "null"} in option.get("anyOf", []):
        return option
    notes = {key: option[key] for key in ("title", "description", "default", "examples") if key in option}
    kind = {key: value for key, value in option.items() if key not in notes}
    return {"anyOf": [kind, {"type": "null"}], **notes}


def _broken_rule(at: Location, rule: str, choices: tuple[str, ...] = ()) -> InitErrorDetails:
    words = PydanticCustomError(BROKEN_RULE, "{rule}", {"rule": rule, "choices": choices})
    return InitErrorDetails(type=words, loc=at, input=None)


def _unknown_option(name: str, choices: tuple[str, ...]) -> InitErrorDetails:
    words = PydanticCustomError(UNKNOWN_OPTION, "{rule}", {"rule": "is not an option here", "choices": choices})
    return InitErrorDetails(type=words, loc=(name,), input=None)


def _in_plain_words(error: ErrorDetails) -> InitErrorDetails:
    kind, at, context = error["type"], error["loc"], error.get("ctx", {})
    if kind in (BROKEN_RULE, UNKNOWN_OPTION):  # said by a section within this one
        return InitErrorDetails(type=PydanticCustomError(kind, "{rule}", context), loc=at, input=None)
    if kind == "literal_error":
        choices = _quoted(context["expected"])
        return _broken_rule(at, f"must be one of: {', '.join(choices)}", choices)
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        # Without the tag pydantic names the object; the mistake is in the option that decides.
        (decider,) = _quoted(context["discriminator"])
        choices = _quoted(context.get("expected_tags", ""))
        return _broken_rule((*at, decider), f"must be one of: {', '.join(choices)}" if choices else "is required", choices)
    if error["input"] is None and kind.endswith("_type"):
        return _broken_rule(at, _WORDS["missing"])
    return _broken_rule(at, _WORDS[kind].format(**context) if kind in _WORDS else error["msg"])


def _quoted(listing: str) -> tuple[str, ...]:
    return tuple(re.findall(r"'([^']*)'", listing))


def _text(pattern: str, rule: str, **schema: Any) -> Any:
    """Text of a pattern, whose rule is said in words to the user and to their editor."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise PydanticCustomError(BROKEN_RULE, "{rule}", {"rule": rule, "choices": ()})
        return text

    # The editor sees the file before ${NAME} is replaced.
    in_file = {"type": "string", "pattern": rf"^(?:{pattern})$|\$\{{", "patternErrorMessage": rule, **schema}
    return (AfterValidator(check), WithJsonSchema(in_file))


def _whole_number(value: object) -> object:
    return int(value) if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,18}", value) else value


def _scalar(value: object) -> object:
    if not isinstance(value, str | int | float | bool) or (isinstance(value, float) and not math.isfinite(value)):
        raise PydanticCustomError(
            BROKEN_RULE, "{rule}", {"rule": "must be text, a number, true or false", "choices": ()}
        )
    return value
