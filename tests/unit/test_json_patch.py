"""JSON Patch, with which models and services are changed."""

from __future__ import annotations

from typing import Any

import pytest

from emulator.errors import ServiceError
from emulator.models.json_patch import apply_patch

pytestmark = pytest.mark.unit

DOCUMENT = {"kvTags": {"a": "1"}, "autoScaler": {"minReplicas": 1}, "properties": {}}


def test_members_are_replaced_added_and_removed_and_the_original_stays_as_it_is() -> None:
    changed = apply_patch(
        DOCUMENT,
        [
            {"op": "replace", "path": "/autoScaler/minReplicas", "value": 2},
            {"op": "add", "path": "/properties/git~1branch", "value": "main"},
            {"op": "remove", "path": "/kvTags/a"},
        ],
    )
    assert changed == {"kvTags": {}, "autoScaler": {"minReplicas": 2}, "properties": {"git/branch": "main"}}
    assert DOCUMENT["kvTags"] == {"a": "1"}


@pytest.mark.parametrize(
    "operations",
    [
        {"op": "add"},
        ["add"],
        [{"op": "replace", "path": "/missing", "value": 1}],
        [{"op": "remove", "path": "/kvTags/b"}],
        [{"op": "add", "path": "/missing/deep", "value": 1}],
        [{"op": "add", "path": "kvTags", "value": 1}],
        [{"op": "move", "path": "/kvTags", "from": "/properties"}],
    ],
)
def test_a_patch_that_cannot_be_applied_is_refused(operations: Any) -> None:
    with pytest.raises(ServiceError) as refused:
        apply_patch(DOCUMENT, operations)
    assert refused.value.status == 400
