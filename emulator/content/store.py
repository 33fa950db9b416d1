"""What the content service keeps: snapshots of source directories, each file of them once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from pydantic import BaseModel, ConfigDict

from emulator.errors import bad_request, not_found
from emulator.management.store import Workspace
from emulator.state import Record, State, utc_now

NO_SNAPSHOT = "00000000-0000-0000-0000-000000000000"
"""What a workspace without a snapshot names as its latest, and what the SDK then names as the parent of its first."""

_ROOT = PurePosixPath()
_EMPTY_TREE: Record = {"name": "", "type": "Directory", "hash": "", "timestamp": "", "children": {}}


class Snapshot(BaseModel):
    """One snapshot.

    Attributes:
        root: the Merkle tree as the SDK sent it: ``name``, ``type``, ``hash``, ``timestamp`` and ``children`` by name.
        blobs: by path of each file, the blob that holds it. A file that did not change since the parent is the
            parent's blob.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    root: Record = _EMPTY_TREE
    blobs: dict[str, str] = {}
    created: str = ""
    properties: dict[str, str | None] = {}


def tree_paths(node: Record, parent: PurePosixPath = _ROOT) -> Iterator[tuple[PurePosixPath, bool]]:
    """(path, is a file) of everything below the root of a Merkle tree, directories before what is in them."""
    for name, child in (node.get("children") or {}).items():
        path = parent / name
        is_file = child["type"] == "File"
        yield path, is_file
        if not is_file:
            yield from tree_paths(child, path)


class ContentStore:
    def __init__(self, state: State) -> None:
        self._snapshots = state.collection("snapshots")
        self._latest = state.collection("latest_snapshots")

    def snapshot(self, workspace: Workspace, snapshot_id: str) -> Snapshot:
        """The snapshot with that id.

        Raises:
            ServiceError: 404.
        """
        if snapshot_id == NO_SNAPSHOT:
            return Snapshot(id=NO_SNAPSHOT)
        record = self._snapshots.get(workspace.id, snapshot_id)
        if record is None:
            raise not_found("Snapshot", snapshot_id)
        return Snapshot.model_validate(record)

    def latest(self, workspace: Workspace) -> Snapshot:
        record = self._latest.get(workspace.id, "latest")
        return self.snapshot(workspace, record["id"] if record else NO_SNAPSHOT)

    def add(
        self,
        workspace: Workspace,
        snapshot_id: str,
        parent_id: str,
        root: Record,
        changed: dict[str, str],
        properties: dict[str, str | None],
    ) -> Snapshot:
        """Keep a snapshot.

        Args:
            workspace: of the snapshot.
            snapshot_id: chosen by the SDK.
            parent_id: the snapshot that the SDK compared the directory with.
            root: the Merkle tree of the whole directory.
            changed: by path, the blob of each file that the parent does not have like that.
            properties: the directory's git revision and the like.

        Raises:
            ServiceError: 404 for a parent that is not there, 400 for a file that neither was sent nor is the parent's:
                the SDK then forgets what it remembered and sends all.
        """
        known = {**self.snapshot(workspace, parent_id).blobs, **changed}
        files = [path.as_posix() for path, is_file in tree_paths(root) if is_file]
        if missing := [path for path in files if path not in known]:
            raise bad_request(f"Snapshot '{snapshot_id}' names files that were not sent: {', '.join(missing[:5])}.")
        snapshot = Snapshot(
            id=snapshot_id,
            root=root,
            blobs={path: known[path] for path in files},
            created=utc_now(),
            properties=properties,
        )
        self._snapshots.put(workspace.id, snapshot_id, snapshot.model_dump())
        self._latest.put(workspace.id, "latest", {"id": snapshot_id})
        return snapshot
