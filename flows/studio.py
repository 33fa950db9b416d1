"""Addresses of pages in the Azure ML studio. The emulator has none; of runs, the SDK makes them."""

from __future__ import annotations

from urllib.parse import quote

from settings.workspace import WorkspaceTarget

_STUDIO = "https://ml.azure.com"  # as azureml.core._portal


def studio_query(target: WorkspaceTarget) -> str | None:
    """What names a workspace in every address, as the SDK writes it; None for the emulator."""
    if target.cloud == "emulator":
        return None
    names = map(quote, (target.subscription_id, target.resource_group, target.name))
    return "wsid=/subscriptions/{}/resourcegroups/{}/workspaces/{}".format(*names)


def workspace_page(query: str | None) -> str | None:
    """The first page of a workspace."""
    return query and f"{_STUDIO}/?{query}"


def model_page(query: str | None, name: str, version: int) -> str | None:
    """The page of a registered model."""
    return query and f"{_STUDIO}/model/{quote(name)}:{version}/details?{query}"


def service_page(query: str | None, name: str) -> str | None:
    """The page of a web service or an ``AksEndpoint``: the studio calls both real-time endpoints."""
    return query and f"{_STUDIO}/endpoints/realtime/{quote(name)}/detail?{query}"
