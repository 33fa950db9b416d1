"""Azure Resource Manager, for what the SDK does not ask it: https://learn.microsoft.com/rest/api/resources."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from settings.workspace import WorkspaceTarget
from tasks.workspace import authentication, connect

_SECONDS = 30


class ResourceManager:
    """Reads from Azure Resource Manager with the login of a workspace.

    Raises:
        ConnectionToAzureError: the emulator does not start, or AZURE_CREDENTIALS cannot be read.
    """

    def __init__(self, target: WorkspaceTarget) -> None:
        connect(target)
        self._authentication = authentication(target)
        self.subscription = f"/subscriptions/{target.subscription_id}"
        self.group = f"{self.subscription}/resourceGroups/{target.resource_group}"

    def token(self) -> str:
        """A fresh access token.

        Raises:
            azure.core.exceptions.ClientAuthenticationError: there is no login, or it is refused.
        """
        token: str = self._authentication.get_authentication_header()["Authorization"].removeprefix("Bearer ")
        return token

    def get(self, path: str, api_version: str) -> dict[str, Any] | None:
        """The resource at ``path``; None when there is none.

        Raises:
            requests.HTTPError: any other refusal; requests.ConnectionError: no answer.
        """
        # The SDK knows the cloud's address, and has no public name for it.
        return self._read(self._authentication._get_arm_end_point().rstrip("/") + path, {"api-version": api_version})

    def list(self, path: str, api_version: str) -> Iterator[dict[str, Any]]:
        """The elements of the collection at ``path``, from all of its pages; none when it is not there."""
        page = self.get(path, api_version)
        while page:
            yield from page["value"]
            page = self._read(page["nextLink"], {}) if page.get("nextLink") else None

    def _read(self, address: str, parameters: dict[str, str]) -> dict[str, Any] | None:
        import requests

        headers = {"Authorization": f"Bearer {self.token()}"}
        answer = requests.get(address, params=parameters, headers=headers, timeout=_SECONDS)
        if answer.status_code == 404:
            return None
        answer.raise_for_status()
        content: dict[str, Any] = answer.json()
        return content
