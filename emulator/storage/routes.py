"""Azure Blob Storage as far as the SDK uses it: signed addresses to write, read and probe blobs, whole or by blocks."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import re
import shutil
import time
import uuid
from email.utils import formatdate
from pathlib import Path, PurePosixPath
from urllib.parse import quote, urlencode
from xml.etree import ElementTree

from aiohttp import web

from emulator.errors import ServiceError, bad_request, not_emulated, not_found
from emulator.routing import Request, Route
from emulator.service import Service
from emulator.storage.payloads import list_payload

ACCOUNT = "store"
_DATASTORE = "azureml-blobstore-"
_SIGNED_SECONDS = 24 * 3600
_LONGEST_NAME = 255  # bytes of one part of a name: what file systems take
_LONGEST_BLOCK_ID = 64  # bytes
_CHUNK = 1 << 20  # bytes
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
# One of them is needed. The SDK's uploader looks with HEAD, at the address to write to, whether the blob is there.
_PERMISSIONS = {"PUT": "w", "GET": "r", "HEAD": "rw"}


class StorageService(Service):
    """The workspace's storage account. Blobs are plain files below ``blobs/<container>/``."""

    def routes(self) -> list[Route]:
        return [
            Route("PUT", "/store/{container}/{blob:path}", self.put, open=True),
            Route("GET", "/store/{container}/{blob:path}", self.get, open=True),
            Route("HEAD", "/store/{container}/{blob:path}", self.get, open=True),
            Route("GET", f"/{_DATASTORE}{{workspace_id}}", self.list_blobs, open=True),
            *(
                Route(method, f"/{_DATASTORE}{{workspace_id}}/{{blob:path}}", handler, open=True)
                for method, handler in (("PUT", self.put), ("GET", self.get), ("HEAD", self.get))
            ),
        ]

    async def start(self) -> None:
        """Remove what uploads that were broken off by the emulator's end have left; blocks wait for their list."""
        for left in self.state.folder("uploads").iterdir():
            if left.is_file():
                left.unlink()

    def datastore_container(self, workspace_id: str) -> str:
        """The container behind the default datastore of a workspace, named as on Azure."""
        return f"{_DATASTORE}{workspace_id}"

    def path(self, container: str, blob: str) -> Path:
        """The file that holds a blob, which need not be there.

        Raises:
            ServiceError: 400 when the name leaves the container.
        """
        relative = PurePosixPath(blob)
        outside = relative.is_absolute() or ".." in relative.parts or container in ("", ".", "..") or "/" in container
        too_long = any(len(part.encode()) > _LONGEST_NAME for part in relative.parts)
        if outside or too_long or not relative.parts or "\0" in blob:
            raise bad_request(f"'{container}/{blob}' is not a name of a blob.")
        return self.state.directory / "blobs" / container / relative

    def upload_url(self, container: str, blob: str) -> str:
        """An address that the SDK's uploader can write to.

        It cuts the host at its dots and rebuilds ``https://{account}.blob.{suffix}``; with a made-up account as the
        address's user information, the real host stays 127.0.0.1. And it percent-encodes the name that it finds in the
        address, so that this must not have been done before.
        """
        base = f"https://{ACCOUNT}.blob.{self.endpoint}"
        return f"{base}/store/{container}/{PurePosixPath(blob)}?{self._token(container, blob, 'w')}"

    @property
    def endpoint(self) -> str:
        """What follows ``https://{account}.blob.`` in an address of the storage account."""
        return f"local@{self.emulator.host}"

    def download_url(self, container: str, blob: str) -> str:
        name = quote(str(PurePosixPath(blob)))  # requests lose doubled slashes on the way
        return f"{self.emulator.url}/store/{quote(container)}/{name}?{self._token(container, blob, 'r')}"

    def _token(self, container: str, blob: str, permission: str) -> str:
        """A token (SAS) for one blob."""
        expiry = str(int(time.time()) + _SIGNED_SECONDS)
        signature = self._signature(container, str(PurePosixPath(blob)), permission, expiry)
        return urlencode({"sp": permission, "se": expiry, "sig": signature})

    def container_token(self, container: str) -> str:
        """A token (SAS) to read and write every blob of a container."""
        expiry = str(int(time.time()) + _SIGNED_SECONDS)
        signature = self._signature(container, "", "rw", expiry)
        return urlencode({"sr": "c", "sp": "rw", "se": expiry, "sig": signature})

    def _signature(self, container: str, blob: str, permission: str, expiry: str) -> str:
        message = "\n".join((container, blob, permission, expiry)).encode()
        return hmac.new(self.state.secret("blob_signing_key").encode(), message, hashlib.sha256).hexdigest()

    def _authorize(self, request: Request) -> Path:
        params, blob = request.params, request.params["blob"]
        container = params.get("container") or self.datastore_container(params["workspace_id"])
        self._verify(request, container, "" if request.query.get("sr") == "c" else blob, blob)
        return self.path(container, blob)

    def _verify(self, request: Request, container: str, signed: str, blob: str) -> None:
        """
        Raises:
            ServiceError: 403 for a token that is not this emulator's, or not for this access.
        """
        permission, expiry = request.query.get("sp", ""), request.query.get("se", "0")
        expected = self._signature(container, signed, permission, expiry)
        genuine = hmac.compare_digest(request.query.get("sig", "").encode(), expected.encode())
        enough = not set(permission).isdisjoint(_PERMISSIONS[request.http.method])
        if not (genuine and enough) or int(expiry) < time.time():
            raise ServiceError(
                403, "AuthenticationFailed", f"The signature does not allow this access to blob '{blob}'."
            )

    async def list_blobs(self, request: Request) -> web.Response:
        """List Blobs, all on one page: how the dataset runtime finds the files of a folder or a pattern."""
        query = request.query
        if (query.get("restype"), query.get("comp")) != ("container", "list"):
            raise not_emulated(f"the container operation comp={query.get('comp')}")
        container = self.datastore_container(request.params["workspace_id"])
        self._verify(request, container, "", "")
        root = self.state.directory / "blobs" / container
        found = await asyncio.to_thread(lambda: sorted(file for file in root.rglob("*") if file.is_file()))
        names = {file.relative_to(root).as_posix(): file for file in found}
        return web.Response(
            text=list_payload(container, names, query.get("prefix", ""), query.get("delimiter")),
            content_type="application/xml",
        )

    async def put(self, request: Request) -> web.StreamResponse:
        path = self._authorize(request)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise _name_conflict(request) from error
        if path.is_dir():
            raise _name_conflict(request)
        operation = request.query.get("comp")
        if operation == "block":
            blocks = self._blocks(path)
            blocks.mkdir(parents=True, exist_ok=True)
            await self._receive(request.http, blocks / _block_name(request.query.get("blockid", "")))
        elif operation == "blocklist":
            await self._commit_blocks(request.http, path)
        elif operation == "appendblock":
            return await self._append(request, path)
        elif operation is None:
            await self._receive(request.http, path)
        else:
            raise not_emulated(f"the blob operation comp={operation}")
        return web.Response(status=201, headers=_headers(path) if path.exists() else {})

    async def _append(self, request: Request, path: Path) -> web.Response:
        """Add to an append blob: how an interactive run streams what its user prints."""
        if not path.is_file():
            raise not_found("Blob", request.params["blob"], f"container '{request.params['container']}'")
        content, offset = await request.http.read(), path.stat().st_size
        with path.open("ab") as file:
            file.write(content)
        position = {"x-ms-blob-append-offset": str(offset), "x-ms-blob-committed-block-count": "1"}
        return web.Response(status=201, headers={**_headers(path), **position})

    def _blocks(self, path: Path) -> Path:
        return self.state.folder("uploads") / hashlib.sha256(str(path).encode()).hexdigest()

    async def _receive(self, http: web.Request, path: Path) -> None:
        temporary = self.state.folder("uploads") / uuid.uuid4().hex
        try:
            with temporary.open("wb") as file:
                async for chunk in http.content.iter_chunked(_CHUNK):
                    file.write(chunk)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    async def _commit_blocks(self, http: web.Request, path: Path) -> None:
        blocks = self._blocks(path)
        try:
            listed = [(element.text or "").strip() for element in ElementTree.fromstring(await http.read())]  # noqa: S314
        except ElementTree.ParseError as error:
            raise bad_request(f"The block list is not XML: {error}.") from error
        parts = [blocks / _block_name(block) for block in listed]
        if missing := [block for block, part in zip(listed, parts, strict=True) if not part.is_file()]:
            raise bad_request(f"The block list names blocks that were not uploaded: {', '.join(missing)}.")
        temporary = self.state.folder("uploads") / uuid.uuid4().hex
        await asyncio.to_thread(_concatenate, parts, temporary)
        temporary.replace(path)
        shutil.rmtree(blocks, ignore_errors=True)

    async def get(self, request: Request) -> web.StreamResponse:
        path = self._authorize(request)
        if not path.is_file():
            raise not_found("Blob", request.params["blob"], "this storage account")
        size = path.stat().st_size
        wanted = request.http.headers.get("x-ms-range") or request.http.headers.get("Range")
        part = byte_range(wanted, size) if wanted else None
        first, last = part or (0, size - 1)
        response = web.StreamResponse(status=206 if part else 200, headers=_headers(path))
        if part:
            response.headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        response.content_length = last - first + 1
        await response.prepare(request.http)
        if request.http.method != "HEAD":
            with path.open("rb") as file:
                file.seek(first)
                while chunk := file.read(min(_CHUNK, last + 1 - file.tell())):
                    await response.write(chunk)
        await response.write_eof()
        return response


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """First and last byte that a ``Range`` header wants of ``size`` bytes; ``None`` (all) for one to be ignored.

    Raises:
        ServiceError: 416 when none of its bytes is there.
    """
    match = _RANGE.fullmatch(header.strip())
    if match is None or match.groups() == ("", ""):
        return None
    start, end = match.groups()
    first = int(start) if start else max(0, size - int(end))
    last = min(int(end), size - 1) if start and end else size - 1
    if first > last:
        raise ServiceError(416, "InvalidRange", f"The blob has {size} bytes, and none of {header}.")
    return first, last


def _name_conflict(request: Request) -> ServiceError:
    return ServiceError(
        409,
        "BlobNameConflict",
        f"Blob '{request.params['blob']}' cannot be written: blobs are files here, so that a name cannot be a blob and "
        "the folder of another.",
    )


def _concatenate(parts: list[Path], target: Path) -> None:
    with target.open("wb") as file:
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, file, _CHUNK)


def _block_name(block: str) -> str:
    """Block ids are base64 and chosen by the client: hex keeps them inside their folder."""
    try:
        name = base64.b64decode(block, validate=True)
    except (binascii.Error, ValueError) as error:
        raise bad_request(f"'{block}' is not the id of a block: that is base64.") from error
    if not 0 < len(name) <= _LONGEST_BLOCK_ID:
        raise bad_request(f"'{block}' is not the id of a block: that has 1 to {_LONGEST_BLOCK_ID} bytes.")
    return name.hex()


def _headers(path: Path) -> dict[str, str]:
    stat = path.stat()
    return {
        "ETag": f'"{stat.st_mtime_ns:x}"',
        "Last-Modified": formatdate(stat.st_mtime, usegmt=True),
        "Content-Type": "application/octet-stream",
        "Accept-Ranges": "bytes",
        "x-ms-blob-type": "BlockBlob",
        "x-ms-request-id": uuid.uuid4().hex,
        "x-ms-version": "2021-08-06",
        "x-ms-server-encrypted": "false",
    }
