"""The environment variables with which an unmodified azureml-core script reaches the emulator."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emulator.management.defaults import DEFAULT_LOCATION, DEFAULT_RESOURCE_GROUP, DEFAULT_WORKSPACE, SUBSCRIPTION
from emulator.state import write_atomically

# Where `Workspace.from_config()` looks, in each directory from the current one upwards.
_CONFIG_PLACES = (".azureml/config.json", "aml_config/config.json", "config.json")


def cloud_metadata(url: str) -> list[dict[str, Any]]:
    """The one cloud of the emulator, in the form of Azure's own cloud metadata.

    It must be *named* AzureCloud: ServicePrincipalAuthentication and AzureMLTokenAuthentication hard-code that name.
    """
    return [
        {
            "name": "AzureCloud",
            "resourceManager": url,
            "authentication": {
                "loginEndpoint": url,
                "audiences": [f"{url}/arm", f"{url}/core"],
                "tenant": "adfs",
                "identityProvider": "ADFS",
            },
            "portal": url,
            "gallery": url,
            "graph": url,
            "graphAudience": url,
            "batch": url,
            "media": url,
            "sqlManagement": url,
            "vmImageAliasDoc": url,
            "suffixes": {
                "storage": "blob.local",
                "keyVaultDns": "vault.local",
                "acrLoginServer": "azurecr.local",
                "sqlServerHostname": "sql.local",
            },
        }
    ]


def write_client_files(state_directory: Path, url: str) -> None:
    """The files that the variables point at: the cloud's metadata and a ``config.json`` of the default workspace."""
    write_atomically(state_directory / "client" / "cloud.json", json.dumps(cloud_metadata(url), indent=2))
    write_atomically(state_directory / "client" / "config.json", workspace_config())


def workspace_config() -> str:
    """``config.json`` as the studio would offer it for download."""
    names = {
        "subscription_id": SUBSCRIPTION,
        "resource_group": DEFAULT_RESOURCE_GROUP,
        "workspace_name": DEFAULT_WORKSPACE,
    }
    return json.dumps(names, indent=2) + "\n"


def names_default_workspace(config: str) -> bool:
    """Whether the text of a ``config.json`` names the workspace that a fresh emulator has."""
    try:
        names = json.loads(config)
    except ValueError:
        return False
    return isinstance(names, dict) and json.loads(workspace_config()).items() <= names.items()


def without_proxy(machine: Mapping[str, str]) -> dict[str, str]:
    """``NO_PROXY`` in both spellings, so that a proxy for the internet is not asked for this machine."""
    given = machine.get("no_proxy") or machine.get("NO_PROXY") or ""
    hosts = [host for host in given.split(",") if host]
    value = ",".join([*hosts, *(host for host in ("127.0.0.1", "localhost") if host not in hosts)])
    return {"NO_PROXY": value, "no_proxy": value}


def client_environment(
    state_directory: Path,
    url: str,
    client_id: str,
    client_secret: str,
    machine: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """The variables, for the SDK's ambient login, for azure-identity, and for the names of the default workspace."""
    port = url.rpartition(":")[2]
    bundle = str(state_directory / "tls" / "bundle.pem")
    return {
        "AZUREML_EMULATOR_URL": url,
        "AZUREML_EMULATOR_CA": str(state_directory / "tls" / "ca.pem"),
        "ARM_CLOUD_METADATA_URL": (state_directory / "client" / "cloud.json").as_uri(),
        "AZUREML_CURRENT_CLOUD": "AzureCloud",
        # One directory per port: the SDK uses the endpoints that it finds there without asking how old they are.
        "AZURE_CONFIG_DIR": str(state_directory / "client" / f"azure-{port}"),
        "REQUESTS_CA_BUNDLE": bundle,
        "SSL_CERT_FILE": bundle,  # rslex, the dataset runtime, reads this one
        "AZUREML_SERVICE_PRINCIPAL_TENANT_ID": "adfs",
        "AZUREML_SERVICE_PRINCIPAL_ID": client_id,
        "AZUREML_SERVICE_PRINCIPAL_PASSWORD": client_secret,
        "AZURE_TENANT_ID": "adfs",
        "AZURE_CLIENT_ID": client_id,
        "AZURE_CLIENT_SECRET": client_secret,
        "AZURE_AUTHORITY_HOST": url,
        "SUBSCRIPTION_ID": SUBSCRIPTION,
        "RESOURCE_GROUP": DEFAULT_RESOURCE_GROUP,
        "WORKSPACE_NAME": DEFAULT_WORKSPACE,
        "LOCATION": DEFAULT_LOCATION,
        **without_proxy(machine),
    }


def export_lines(environment: Mapping[str, str]) -> str:
    """Lines for ``eval`` in a POSIX shell."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())


def find_workspace_config(directory: Path) -> Path | None:
    """The file that ``Workspace.from_config()`` would read when called in ``directory``."""
    above = [directory, *directory.parents]
    candidates = (place / name for name in _CONFIG_PLACES for place in above)
    return next((path for path in candidates if path.is_file()), None)
