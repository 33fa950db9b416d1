"""The JSON schema of settings.json, with which an editor completes and checks it, made from the models."""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import CoreSchema

from settings.loading import Settings


class _WithoutTitles(GenerateJsonSchema):
    """An option's title would only say its name again."""

    def field_title_should_be_set(self, _schema: Any) -> bool:
        return False

    def generate(self, schema: CoreSchema, mode: Any = "validation") -> dict[str, Any]:
        return {"$schema": self.schema_dialect, **super().generate(schema, mode)}


def json_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) that `settings/settings.schema.json` holds."""
    return Settings.model_json_schema(schema_generator=_WithoutTitles)
