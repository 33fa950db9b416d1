"""Artifacts as the SDK reads them."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

from emulator.state import Record


def artifact_payload(origin: str, container: str, path: str, file: Path) -> Record:
    """``ArtifactDto``; one that is registered and not uploaded yet has no time and no etag."""
    created, etag = None, None
    if file.is_file():
        stat = file.stat()
        created = datetime.fromtimestamp(stat.st_mtime, timezone.utc).isoformat()
        etag = f"{stat.st_mtime_ns:x}"
    return {
        "artifactId": f"{origin}/{container}/{path}",
        "origin": origin,
        "container": container,
        "path": path,
        "etag": etag,
        "createdTime": created,
        "dataPath": None,
    }


def content_information_payload(origin: str, container: str, path: str, uri: str) -> Record:
    """``ArtifactContentInformationDto``."""
    return {"contentUri": uri, "origin": origin, "container": container, "path": path}
