"""What a shell gets to reach the emulator."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from emulator.client_environment import (
    client_environment,
    cloud_metadata,
    export_lines,
    find_workspace_config,
    names_default_workspace,
    without_proxy,
    workspace_config,
)

pytestmark = pytest.mark.unit

URL = "https://127.0.0.1:4433"


def test_the_one_cloud_is_named_as_the_sdk_hard_codes_it() -> None:
    (cloud,) = cloud_metadata(URL)
    assert cloud["name"] == "AzureCloud"
    assert cloud["resourceManager"] == cloud["authentication"]["loginEndpoint"] == URL


def test_another_port_has_another_directory_for_what_the_sdk_remembers_of_its_cloud() -> None:
    def directory(url: str) -> str:
        return client_environment(Path("/state"), url, "id", "secret", {})["AZURE_CONFIG_DIR"]

    assert directory(URL) != directory("https://127.0.0.1:4434")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, "127.0.0.1,localhost"),
        ({"NO_PROXY": "corp.example"}, "corp.example,127.0.0.1,localhost"),
        ({"NO_PROXY": "lost", "no_proxy": "corp.example"}, "corp.example,127.0.0.1,localhost"),
        ({"no_proxy": "localhost,127.0.0.1"}, "localhost,127.0.0.1"),
    ],
)
def test_a_proxy_is_never_asked_for_this_machine(given: dict[str, str], wanted: str) -> None:
    assert without_proxy(given) == {"NO_PROXY": wanted, "no_proxy": wanted}


def test_export_lines_keep_whatever_a_path_has_in_it() -> None:
    line = export_lines({"BUNDLE": "/home/o'neill/$HOME `x`/bundle.pem"})
    assert shlex.split(line) == ["export", "BUNDLE=/home/o'neill/$HOME `x`/bundle.pem"]


def test_a_config_is_found_as_the_sdk_finds_it(tmp_path: Path) -> None:
    project = tmp_path / "project"
    deep = project / "notebooks"
    deep.mkdir(parents=True)
    assert find_workspace_config(deep) is None
    (deep / "config.json").write_text("{}")
    assert find_workspace_config(deep) == deep / "config.json"
    (project / ".azureml").mkdir()
    (project / ".azureml" / "config.json").write_text("{}")
    assert find_workspace_config(deep) == project / ".azureml" / "config.json"


@pytest.mark.parametrize(
    ("config", "same"),
    [
        (workspace_config(), True),
        (json.dumps({**json.loads(workspace_config()), "note": "more"}), True),
        ('{"workspace_name": "production"}', False),
        ("[]", False),
        ("no JSON", False),
    ],
)
def test_a_config_of_another_workspace_is_told_apart(config: str, same: bool) -> None:
    assert names_default_workspace(config) is same
