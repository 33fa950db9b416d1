"""What a user gets from settings.json, ${NAME}, --set, and from mistakes in them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr, ValidationError

import settings
from settings import Problem, Settings, SettingsError, load

pytestmark = pytest.mark.unit

LEGACY = Path(__file__).parent / "settings_files" / "legacy.json"
NEW_OPTIONS = {
    *("cpu_cores", "memory_gb", "endpoint_tests", "metrics", "test_set", "significance"),
    *("gloo", "nccl", "interpreter_path", "environment_name", "environment_version", "run_id", "recreate_on_change"),
    *("profiling", "objectives", "load", "strategy", "canary", "approval", "approval_minutes"),
}


def written(directory: Path, text: str) -> Path:
    path = directory / "settings.json"
    path.write_text(text, encoding="utf-8")
    return path


def problems_of(*overrides: str, path: Path = LEGACY, **environment: str) -> dict[str, Problem]:
    with pytest.raises(SettingsError) as caught:
        load(path, overrides, environment)
    return {problem.path: problem for problem in caught.value.problems}


def options_of(model: type[BaseModel]) -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        yield field.alias or name, field.annotation


def is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def sections_of(annotation: Any) -> list[type[BaseModel]]:
    inner = [each for argument in getattr(annotation, "__args__", ()) for each in sections_of(argument)]
    return [annotation, *inner] if is_section(annotation) else inner


def all_sections(model: type[BaseModel] = Settings) -> set[type[BaseModel]]:
    found = {model}
    for _, annotation in options_of(model):
        for section in sections_of(annotation):
            found |= all_sections(section)
    return found


def missing_options(model: type[BaseModel], tree: dict[str, Any]) -> Iterator[str]:
    for name, annotation in options_of(model):
        if name not in tree:
            yield name
        elif is_section(annotation):
            yield from (f"{name}.{missing}" for missing in missing_options(annotation, tree[name]))


def nulled(model: type[BaseModel]) -> dict[str, Any]:
    """A section with null for every option."""
    return {name: nulled(kind) if is_section(kind) else None for name, kind in options_of(model)}


def test_the_public_names_are_few() -> None:
    assert settings.__all__ == ["Problem", "Settings", "SettingsError", "load"]
    assert all(hasattr(settings, name) for name in settings.__all__)
    with pytest.raises(AttributeError, match="no attribute 'lood'"):
        settings.lood  # noqa: B018


def test_the_shipped_settings_train_a_ridge_regression_and_deploy_it_three_times() -> None:
    shipped = load(environment={})
    assert shipped.experiment.script_parameters == {"--alpha": 0.5, "--data": "diabetes.csv"}
    assert shipped.deployment.model.evaluation_parameters.metrics["mse"].direction == "smaller_is_better"
    stages = shipped.deployment.dev_deployment, shipped.deployment.test_deployment, shipped.deployment.prod_deployment
    assert [stage.name for stage in stages] == ["diabetes-dev", "diabetes-test", "diabetes-prod"]
    assert shipped.deployment.prod_deployment.num_replicas == 2


def test_an_existing_file_with_only_the_old_sections_loads_as_it_is() -> None:
    old = load(LEGACY, environment={})
    assert old.compute_target.training.amlcompute.idle_seconds_before_scaledown == 300
    assert old.experiment.distributed_training.parameter_server.worker_count == 1
    assert old.deployment.prod_deployment.autoscale_max_replicas == 3
    assert old.workspace.cloud == "auto"
    assert old.waiting.retries.attempts == 4


def test_the_existing_file_of_these_tests_has_every_old_option() -> None:
    tree = json.loads(LEGACY.read_text(encoding="utf-8"))
    missing = {
        name.rpartition(".")[2]
        for section in ("experiment", "compute_target", "deployment")
        for name in missing_options(Settings.model_fields[section].annotation, tree[section])
    }
    assert missing == NEW_OPTIONS


def test_null_is_the_default_of_every_old_option(tmp_path: Path) -> None:
    tree = nulled(Settings)
    tree["deployment"]["model"]["evaluation_parameters"] = {"larger_is_better": None, "smaller_is_better": ["mse"]}
    loaded = load(written(tmp_path, json.dumps(tree)), environment={})
    assert loaded.experiment.entry_script == "train.py"
    assert loaded.compute_target.training.amlcompute.max_nodes == 4
    assert loaded.deployment.dev_deployment.auth_enabled is None


def test_settings_cannot_be_changed_after_loading() -> None:
    loaded = load(environment={})
    with pytest.raises(ValidationError, match="frozen"):
        loaded.experiment.name = "other"


def test_every_mistake_is_reported_at_once(tmp_path: Path) -> None:
    mistakes = {
        "experiment": {"name": "two words", "entry_scrpt": "train.py", "user_managed": "true"},
        "compute_target": {
            "compute_target_to_use_for_training": "amlcomputes",
            "training": {"amlcompute": {"min_nodes": 5, "idle_seconds_before_scaledown": "soon"}},
        },
        "deployment": {
            "model": {"evaluation_parameters": {}},
            "test_deployment": {"name": "${STAGE}", "num_replicas": 0},
            "prod_deployment": {"auth_enabled": True, "token_auth_enabled": True},
        },
        "waiting": {"training_minutes": 1.5},
    }
    problems = problems_of(path=written(tmp_path, json.dumps(mistakes)))
    assert {path: (problem.value, problem.rule) for path, problem in problems.items()} == {
        "experiment.name": (
            '"two words"',
            "must be 1 to 255 letters, digits, dashes or underscores, and start with a letter or digit",
        ),
        "experiment.entry_scrpt": (None, "is not an option here"),
        "experiment.user_managed": ('"true"', "must be true or false"),
        "compute_target.compute_target_to_use_for_training": (
            '"amlcomputes"',
            "must be one of: amlcompute, dsvm, remotecompute",
        ),
        "compute_target.training.amlcompute.min_nodes": ("5", "must be at most max_nodes (4)"),
        "compute_target.training.amlcompute.idle_seconds_before_scaledown": ('"soon"', "must be a whole number"),
        "deployment.model.evaluation_parameters": (
            "an object",
            "must name at least one metric in larger_is_better, smaller_is_better or metrics",
        ),
        "deployment.test_deployment.name": (
            "${STAGE}",
            "the environment variable STAGE is not set; set it, or write $${STAGE} for the text itself",
        ),
        "deployment.test_deployment.num_replicas": ("0", "must be at least 1"),
        "deployment.prod_deployment.token_auth_enabled": ("true", "must not be true together with auth_enabled"),
        "waiting.training_minutes": ("1.5", "must be a whole number"),
    }


def test_a_wrong_option_does_not_raise_a_false_alarm_about_those_that_are_compared_with_it() -> None:
    cluster = "compute_target.training.amlcompute"
    assert list(problems_of(f"{cluster}.min_nodes=9", f'{cluster}.max_nodes="many"')) == [f"{cluster}.max_nodes"]
    prod = "deployment.prod_deployment.autoscale_enabled"
    assert list(problems_of(f"{prod}=yes")) == [prod]


def test_the_nearest_valid_name_is_suggested() -> None:
    problems = problems_of("experiment.hyperparameter_samplng.method=random", "workpace.name=mlops", "zzz=1")
    assert problems["experiment.hyperparameter_samplng"].suggestion == "hyperparameter_sampling"
    assert problems["workpace"].suggestion == "workspace"
    assert problems["zzz"].suggestion is None


def test_the_nearest_valid_value_is_suggested() -> None:
    (problem,) = problems_of("experiment.hyperparameter_sampling.method=rondom").values()
    assert str(problem) == (
        "experiment.hyperparameter_sampling.method: must be one of: random, grid, bayesian "
        "(found: \"rondom\"); did you mean 'random'?"
    )


@pytest.mark.parametrize("section", ["experiment", "compute_target", "deployment"])
def test_the_three_old_sections_are_required(section: str) -> None:
    assert problems_of(f"{section}=null")[section].rule == "is required"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ('{"experiment": {\n  "name": }}', "is not JSON: Expecting value at line 2, column 11"),
        ('{"waiting": {"training_minutes": NaN}}', "is not JSON: NaN is not a JSON value"),
        ("[]", "must be a JSON object"),
        ("", "is not JSON: Expecting value at line 1, column 1"),
        ('{"experiment":' * 101 + "1" + "}" * 101, "is nested more than 100 levels deep"),
        ("[" * 100_000, "is nested more than 100 levels deep"),
    ],
)
def test_a_file_that_is_not_a_json_object_is_one_sentence(tmp_path: Path, text: str, rule: str) -> None:
    path = written(tmp_path, text)
    assert problems_of(path=path)[str(path)].rule == rule


def test_a_file_that_is_not_there_or_not_text_is_one_sentence(tmp_path: Path) -> None:
    assert "there is no such file" in problems_of(path=tmp_path / "none.json")[str(tmp_path / "none.json")].rule
    assert "cannot be read" in problems_of(path=tmp_path)[str(tmp_path)].rule
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe\x00")
    assert "is not UTF-8 text" in problems_of(path=binary)[str(binary)].rule


def test_a_key_that_is_there_twice_is_a_mistake(tmp_path: Path) -> None:
    text = LEGACY.read_text(encoding="utf-8").replace('"vm_priority":', '"min_nodes": 2, "vm_priority":')
    problem = problems_of(path=written(tmp_path, text))["compute_target.training.amlcompute.min_nodes"]
    assert problem.rule == "is there more than once"


def test_an_environment_variable_takes_the_place_of_its_name() -> None:
    loaded = load(
        LEGACY,
        ["experiment.name=churn-${BRANCH}", "deployment.model.tags.template=$${BRANCH}"],
        {"BRANCH": "main"},
    )
    assert loaded.experiment.name == "churn-main"
    assert loaded.deployment.model.tags["template"] == "${BRANCH}"


def test_a_missing_environment_variable_is_named_with_the_place_that_wants_it() -> None:
    problems = problems_of('experiment.dependencies.pip_packages=["numpy", "${EXTRA}"]')
    assert "the environment variable EXTRA is not set" in problems["experiment.dependencies.pip_packages[1]"].rule


def test_an_override_replaces_an_option_even_one_that_is_not_in_the_file() -> None:
    loaded = load(
        LEGACY,
        [
            "experiment.script_parameters.--learning-rate=0.2",
            "experiment.name=123-text",
            "waiting.retries.attempts=7",
            'deployment.model.evaluation_parameters.smaller_is_better=["mae", "mse"]',
            "experiment.run_tags.query=a=b",
        ],
        {},
    )
    assert loaded.experiment.script_parameters["--learning-rate"] == 0.2
    assert loaded.experiment.name == "123-text"
    assert loaded.waiting.retries.attempts == 7
    assert loaded.deployment.model.evaluation_parameters.smaller_is_better == ("mae", "mse")
    assert loaded.experiment.run_tags["query"] == "a=b"


def test_a_wrong_override_is_a_mistake_like_any_other() -> None:
    problems = problems_of("experiment.nmae=x", "experiment.name.first=x", "password:hunter2", "=x")
    assert problems["experiment.nmae"].suggestion == "name"
    assert "experiment.name is not an object" in problems["experiment.name.first"].rule
    assert problems["--set"].rule == "must be written as dotted.key=value"
    assert not any("hunter2" in str(problem) for problem in problems.values())


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=4))
def test_whatever_stands_in_place_of_an_option_is_accepted_or_explained(value: Any) -> None:
    for option in ("experiment.script_parameters.x", "waiting.retries.attempts", "deployment.model.datasets"):
        try:
            load(LEGACY, [f"{option}={json.dumps(value)}"], {})
        except SettingsError as error:
            assert all(problem.path.startswith(option) for problem in error.problems)
            assert "Input should" not in str(error)
            assert all(str(problem).isprintable() for problem in error.problems)


def secret_options() -> list[str]:
    return sorted(
        {
            name
            for section in all_sections()
            for name, annotation in options_of(section)
            if annotation == SecretStr | None
        }
    )


def test_the_options_that_hold_secrets() -> None:
    assert secret_options() == [
        "admin_user_password",
        "admin_user_ssh_key",
        "password",
        "primary_key",
        "private_key_passphrase",
        "secondary_key",
    ]


@pytest.mark.parametrize("name", secret_options())
def test_a_secret_is_never_shown_not_even_under_a_mistyped_name_or_in_the_wrong_place(name: str) -> None:
    problems = problems_of(
        f"deployment.image.{name}s=hunter2",
        f"deployment.prod_deployment.{name[:-2]}{name[-1]}{name[-2]}=hunter2",
        "deployment.prod_deployment.primary_key=423423",
        "deployment.image.docker.custom_image_registry_details=hunter2",
    )
    assert problems["deployment.prod_deployment.primary_key"].value == "**********"
    listing = "\n".join(map(str, problems.values()))
    assert "hunter2" not in listing
    assert "423423" not in listing


def test_a_secret_from_the_environment_reaches_the_settings_but_not_their_repr() -> None:
    loaded = load(LEGACY, ["deployment.prod_deployment.primary_key=${KEY}"], {"KEY": "hunter2"})
    key = loaded.deployment.prod_deployment.primary_key
    assert key is not None
    assert key.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(loaded)


def test_a_value_from_the_environment_is_never_shown() -> None:
    (problem,) = problems_of("experiment.name=${TOKEN}", TOKEN="not a name").values()
    assert problem.value == '"${TOKEN}"'
