"""The schema and the reference page say what the models do."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from settings.reference import reference
from settings.schema import json_schema

pytestmark = pytest.mark.unit

REPOSITORY = Path(__file__).resolve().parents[2]
LEGACY = Path(__file__).parent / "settings_files" / "legacy.json"
SHIPPED = REPOSITORY / "settings" / "settings.json"


def tree_of(path: Path) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return tree


def validator() -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    return jsonschema.Draft202012Validator(json_schema())


def options() -> Iterator[tuple[str, dict[str, Any]]]:
    schema = json_schema()
    for definition in (schema, *schema["$defs"].values()):
        yield from ((f"{definition['title']}.{name}", option) for name, option in definition["properties"].items())


def test_the_generated_files_are_fresh() -> None:
    schema = json_schema()
    assert tree_of(REPOSITORY / "settings" / "settings.schema.json") == schema
    assert (REPOSITORY / "docs" / "settings.md").read_text(encoding="utf-8") == reference(schema)


def test_the_shipped_settings_name_the_schema_next_to_them() -> None:
    assert (SHIPPED.parent / tree_of(SHIPPED)["$schema"]).is_file()


@pytest.mark.parametrize("path", [SHIPPED, LEGACY], ids=["shipped", "legacy"])
def test_the_schema_accepts_what_the_models_accept(path: Path) -> None:
    validator().validate(tree_of(path))


def test_the_schema_accepts_an_environment_variable_where_a_name_is_wanted() -> None:
    tree = tree_of(SHIPPED)
    tree["deployment"]["prod_deployment"]["name"] = "${SERVICE}"
    validator().validate(tree)


@pytest.mark.parametrize(
    ("section", "option", "value"),
    [
        ("experiment", "nmae", "x"),
        ("experiment", "name", "two words"),
        ("experiment", "entry_script", "/train.py"),
        ("experiment", "user_managed", "true"),
        ("waiting", "training_minutes", 0),
        ("workspace", "cloud", "aws"),
    ],
)
def test_the_schema_rejects_what_the_models_reject(section: str, option: str, value: object) -> None:
    tree = tree_of(SHIPPED)
    tree[section][option] = value
    with pytest.raises(jsonschema.ValidationError):
        validator().validate(tree)


def test_every_option_has_a_description_and_an_example_that_is_valid() -> None:
    for name, option in options():
        assert option["description"].endswith("."), name
        assert option["examples"], name
        if "$ref" not in json.dumps(option):
            for example in option["examples"]:
                jsonschema.Draft202012Validator(option).validate(example)


def test_the_page_shows_every_option_with_its_bounds() -> None:
    page = reference(json_schema())
    row = "| `retries.attempts` | whole number | `4` | at least 1, at most 20 |"
    assert row in page
    assert "| `prod_deployment.primary_key` | secret text |" in page
    assert "| `qlognormal.q` | whole number |" in page
    options_shown = {name for row in page.splitlines() for name in row.split("`")[1:2] for name in name.split(".")}
    assert options_shown >= {name.rpartition(".")[2] for name, _ in options()} - {
        *("$schema", "workspace", "data", "experiment", "compute_target", "waiting", "notifications"),  # titles
        *("distribution", "parameters"),  # the names of the last table
    }
