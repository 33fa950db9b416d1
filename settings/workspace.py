"""The `workspace` section, and the workspace that it names together with the environment."""

import json
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from settings.problems import HIDDEN, Problem, SettingsError
from settings.section import Matching, Section, Text

WorkspaceName = Annotated[
    str,
    Matching(
        r"[A-Za-z0-9][A-Za-z0-9_-]{2,32}",
        "must be 3 to 33 letters, digits, dashes or underscores, and start with a letter or digit",
    ),
]
SubscriptionId = Annotated[
    str,
    Matching(
        r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}",
        "must be a GUID such as 00000000-0000-0000-0000-000000000000",
    ),
]
ResourceGroup = Annotated[
    str,
    Matching(
        r"[\w().-]{0,89}[\w()-]",
        "must be 1 to 90 letters, digits, dashes, underscores, dots or parentheses, and not end with a dot",
    ),
]

# Where an option comes from that settings.json leaves at null, and what it is on the emulator when nothing says so.
VARIABLES = {
    "name": "WORKSPACE_NAME",
    "subscription_id": "SUBSCRIPTION_ID",
    "resource_group": "RESOURCE_GROUP",
    "location": "LOCATION",
    "friendly_name": "FRIENDLY_NAME",
}
EMULATOR_VARIABLE = "AZUREML_EMULATOR_URL"  # set by `python -m emulator env`, beside SUBSCRIPTION_ID and its like
EMULATOR_DEFAULTS = {
    "name": "mlops",
    "subscription_id": "00000000-0000-0000-0000-000000000000",
    "resource_group": "mlops",
    "location": "local",
}


class WorkspaceSettings(Section):
    """The Azure Machine Learning workspace. What is null comes from the environment variable that is named."""

    cloud: Literal["auto", "azure", "emulator"] = Field(
        "auto",
        description="Where the workspace is; auto is Azure when subscription_id, SUBSCRIPTION_ID or AZURE_CREDENTIALS "
        "is given, and otherwise the emulator on this machine. A shell that reaches an emulator already, by "
        "`python -m emulator env`, stays with that one.",
        examples=["emulator"],
    )
    name: WorkspaceName | None = Field(
        None, description="Name of the workspace; null is WORKSPACE_NAME (emulator: mlops).", examples=["mlops"]
    )
    subscription_id: SubscriptionId | None = Field(
        None,
        description="Subscription; null is SUBSCRIPTION_ID, or the one of AZURE_CREDENTIALS (emulator: all zeros).",
        examples=["${SUBSCRIPTION_ID}"],
    )
    resource_group: ResourceGroup | None = Field(
        None, description="Resource group; null is RESOURCE_GROUP (emulator: mlops).", examples=["mlops"]
    )
    location: Text | None = Field(
        None,
        description="Region; null is LOCATION (emulator: local). Needed when the workspace is created.",
        examples=["westeurope"],
    )
    friendly_name: Text | None = Field(
        None, description="Name to show; null is FRIENDLY_NAME.", examples=["Machine learning of the risk team"]
    )
    create_if_missing: bool = Field(True, description="Create the workspace when it is not there.", examples=[True])


class WorkspaceTarget(BaseModel):
    """The one workspace that a run works in."""

    model_config = ConfigDict(frozen=True)

    cloud: Literal["azure", "emulator"]
    name: str
    subscription_id: str
    resource_group: str
    location: str | None = None
    friendly_name: str | None = None


class _ServicePrincipal(BaseModel):
    subscription_id: SubscriptionId = Field(alias="subscriptionId")


def resolve_workspace(workspace: WorkspaceSettings, environment: Mapping[str, str]) -> WorkspaceTarget:
    """The workspace that settings and environment name together.

    An empty environment variable counts as none: GitHub gives those for secrets that are not set.

    Raises SettingsError with every option that is missing or wrong, its path, and its environment variable.
    """
    options = {name: value for name in VARIABLES if (value := getattr(workspace, name))}
    origins: dict[str, str] = {}
    for name, variable in VARIABLES.items():
        if name not in options and environment.get(variable):
            options[name], origins[name] = environment[variable], variable
    credentials = environment.get("AZURE_CREDENTIALS")
    hints_at_azure = ("subscription_id" in options or bool(credentials)) and not environment.get(EMULATOR_VARIABLE)
    problems = _broken_rules(options, origins)
    if workspace.cloud == "emulator" or (workspace.cloud == "auto" and not hints_at_azure):
        if problems:
            raise SettingsError(problems)
        return WorkspaceTarget(cloud="emulator", **EMULATOR_DEFAULTS | options)

    if "subscription_id" not in options and credentials:
        try:
            options["subscription_id"] = _subscription_of(credentials)
        except ValueError as error:
            problems.append(Problem("AZURE_CREDENTIALS", HIDDEN, str(error)))
            options["subscription_id"] = ""  # said already; not missing as well
    needed = ("name", "subscription_id", "resource_group", *(("location",) if workspace.create_if_missing else ()))
    problems += [
        Problem(
            f"workspace.{name}", None, f"is required on Azure: set it, or the environment variable {VARIABLES[name]}"
        )
        for name in needed
        if name not in options
    ]
    if problems:
        raise SettingsError(problems)
    return WorkspaceTarget(cloud="azure", **options)


def _broken_rules(options: dict[str, str], origins: dict[str, str]) -> list[Problem]:
    """What the environment says has to keep the rules of the file."""
    try:
        WorkspaceSettings.model_validate(options)
    except ValidationError as error:
        return [
            Problem(f"workspace.{name}", json.dumps(options[name]), f"{detail['msg']}; it comes from {origins[name]}")
            for detail in error.errors(include_url=False)
            for name in [str(detail["loc"][0])]
        ]
    return []


def _subscription_of(credentials: str) -> str:
    """`subscriptionId` of the service principal; ValueError, without the text, when there is none to read."""
    try:
        return _ServicePrincipal.model_validate_json(credentials).subscription_id
    except ValidationError:
        raise ValueError(
            "must be the JSON of a service principal, with clientId, clientSecret, tenantId and subscriptionId (a GUID)"
        ) from None  # the original error carries the secret text
