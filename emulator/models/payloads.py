"""Assets and models as the model management service writes them."""

from __future__ import annotations

from typing import Any

from emulator.models.store import Asset, Model


def asset_payload(asset: Asset) -> dict[str, Any]:
    return asset.record()


def model_payload(model: Model) -> dict[str, Any]:
    """The full model. ``tags`` beside ``kvTags``: the SDK reads the one inside a service and the other elsewhere."""
    return {
        **model.record(),
        "id": model.id,
        "tags": model.kv_tags,
        "createdBy": {"userObjectId": None, "userPuId": None, "userIdp": None, "userName": model.created_by},
        "parentModelId": None,
        "derivedModelIds": [],
    }
