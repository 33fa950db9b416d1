"""Which workspace a run works in, from the settings and the environment."""

import json

import pytest

from settings import SettingsError, load
from settings.workspace import WorkspaceSettings, WorkspaceTarget, resolve_workspace

pytestmark = pytest.mark.unit

SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
AZURE = {
    "SUBSCRIPTION_ID": SUBSCRIPTION,
    "RESOURCE_GROUP": "ml-group",
    "WORKSPACE_NAME": "ml-workspace",
    "LOCATION": "westeurope",
}
CREDENTIALS = json.dumps(
    {"clientId": "id", "clientSecret": "hunter2", "tenantId": "tenant", "subscriptionId": SUBSCRIPTION}
)


def problems_of(workspace: WorkspaceSettings, environment: dict[str, str]) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        resolve_workspace(workspace, environment)
    assert "hunter2" not in str(caught.value)
    return {problem.path: problem.rule for problem in caught.value.problems}


def test_without_any_hint_of_azure_it_is_the_emulators() -> None:
    assert resolve_workspace(WorkspaceSettings(), {}) == WorkspaceTarget(
        cloud="emulator",
        name="mlops",
        subscription_id="00000000-0000-0000-0000-000000000000",
        resource_group="mlops",
        location="local",
    )


@pytest.mark.parametrize(
    ("workspace", "environment"),
    [
        (WorkspaceSettings(), AZURE),
        (WorkspaceSettings(subscription_id=SUBSCRIPTION), AZURE | {"SUBSCRIPTION_ID": ""}),
        (WorkspaceSettings(), AZURE | {"SUBSCRIPTION_ID": "", "AZURE_CREDENTIALS": CREDENTIALS}),
    ],
)
def test_a_subscription_or_credentials_mean_azure(workspace: WorkspaceSettings, environment: dict[str, str]) -> None:
    assert resolve_workspace(workspace, environment) == WorkspaceTarget(
        cloud="azure",
        name="ml-workspace",
        subscription_id=SUBSCRIPTION,
        resource_group="ml-group",
        location="westeurope",
    )


def test_what_the_settings_say_goes_before_the_environment() -> None:
    target = resolve_workspace(WorkspaceSettings(name="mine", friendly_name="Mine"), AZURE)
    assert (target.name, target.friendly_name) == ("mine", "Mine")


def test_the_emulator_can_be_chosen_where_azure_is_at_hand() -> None:
    target = resolve_workspace(WorkspaceSettings(cloud="emulator"), AZURE | {"AZURE_CREDENTIALS": "broken"})
    assert (target.cloud, target.name) == ("emulator", "ml-workspace")


def test_on_azure_everything_that_is_missing_is_named_with_its_variable() -> None:
    problems = problems_of(WorkspaceSettings(cloud="azure"), {"WORKSPACE_NAME": ""})
    assert problems == {
        f"workspace.{option}": f"is required on Azure: set it, or the environment variable {variable}"
        for option, variable in (
            ("name", "WORKSPACE_NAME"),
            ("subscription_id", "SUBSCRIPTION_ID"),
            ("resource_group", "RESOURCE_GROUP"),
            ("location", "LOCATION"),
        )
    }


def test_a_location_is_only_needed_to_create_the_workspace() -> None:
    target = resolve_workspace(WorkspaceSettings(create_if_missing=False), AZURE | {"LOCATION": ""})
    assert target.location is None


@pytest.mark.parametrize(
    "credentials", ["hunter2", '{"clientSecret": "hunter2"}', '["hunter2"]', '{"subscriptionId": "hunter2"}']
)
def test_broken_credentials_are_a_problem_that_does_not_show_them(credentials: str) -> None:
    environment = AZURE | {"SUBSCRIPTION_ID": "", "AZURE_CREDENTIALS": credentials}
    problems = problems_of(WorkspaceSettings(), environment)
    assert list(problems) == ["AZURE_CREDENTIALS"]


def test_the_environment_keeps_the_rules_of_the_file() -> None:
    problems = problems_of(WorkspaceSettings(), AZURE | {"SUBSCRIPTION_ID": "my-subscription"})
    assert problems["workspace.subscription_id"].endswith("; it comes from SUBSCRIPTION_ID")


def test_loading_reports_the_workspace_together_with_the_other_mistakes() -> None:
    with pytest.raises(SettingsError) as caught:
        load(None, ["workspace.cloud=azure", "experiment.nmae=x"], {k: v for k, v in AZURE.items() if k != "LOCATION"})
    assert [problem.path for problem in caught.value.problems] == ["experiment.nmae", "workspace.location"]


def test_a_shell_that_reaches_an_emulator_stays_with_it() -> None:
    environment = AZURE | {"AZUREML_EMULATOR_URL": "https://127.0.0.1:1"}
    assert resolve_workspace(WorkspaceSettings(), environment).cloud == "emulator"
    assert resolve_workspace(WorkspaceSettings(cloud="azure"), environment).cloud == "azure"
