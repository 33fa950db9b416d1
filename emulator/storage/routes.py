"""Azure Blob Storage as far as the SDK uses it: signed addresses to write, read and probe blobs, whole or by blocks."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import shutil
import time
import uuid
from email.utils import formatdate
from pathlib import Path, PurePosixPath
from urllib.parse import quote, urlencode
from xml.etree import ElementTree

from aiohttp import web

from emulator.errors import ServiceError, bad_request, not_found
from emulator.routing import Request, Route
from emulator.service import Service

ACCOUNT = "store"
_DATASTORE = "azureml-blobstore-"
_SIGNED_SECONDS = 24 * 3600


class StorageService(Service):
    """The workspace's storage account. Blobs are plain files below ``blobs/<container>/``."""

    def routes(self) -> list[Route]:
        return [
            Route("PUT", "/store/{container}/{blob:path}", self.put, open=True),
            Route("GET", "/store/{container}/{blob:path}", self.get, open=True),
            Route("HEAD", "/store/{container}/{blob:path}", self.get, open=True),
            *(
                Route(method, f"/{_DATASTORE}{{workspace_id}}/{{blob:path}}", handler, open=True)
                for method, handler in (("PUT", self.put), ("GET", self.get), ("HEAD", self.get))
            ),
        ]

    def datastore_container(self, workspace_id: str) -> str:
        """The container behind the default datastore of a workspace, named as on Azure."""
        return f"{_DATASTORE}{workspace_id}"

    def path(self, container: str, blob: str) -> Path:
        """The file that holds a blob, which need not be there.

        Raises:
            ServiceError: 400 when the name leaves the container.
        """
        relative = PurePosixPath(blob)
        if relative.is_absolute() or ".." in relative.parts or "/" in container or container in ("", ".", ".."):
            raise bad_request(f"'{container}/{blob}' is not a name of a blob.")
        return self.state.directory / "blobs" / container / relative

    def upload_url(self, container: str, blob: str) -> str:
        """An address that the SDK's uploader can write to.

        It cuts the host at its dots and rebuilds ``https://{account}.blob.{suffix}``; with a made-up account as the
        address's user information, the real host stays 127.0.0.1.
        """
        return self._signed(container, blob, "w", f"https://{ACCOUNT}.blob.{self.endpoint}")

    @property
    def endpoint(self) -> str:
        """What follows ``https://{account}.blob.`` in an address of the storage account."""
        return f"local@{self.emulator.host}"

    def download_url(self, container: str, blob: str) -> str:
        return self._signed(container, blob, "r", self.emulator.url)

    def _signed(self, container: str, blob: str, permission: str, base: str) -> str:
        expiry = str(int(time.time()) + _SIGNED_SECONDS)
        signature = self._signature(container, blob, permission, expiry)
        query = urlencode({"sp": permission, "se": expiry, "sig": signature})
        return f"{base}/store/{quote(container)}/{quote(blob)}?{query}"

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
        permission, expiry = request.query.get("sp", ""), request.query.get("se", "0")
        signed = "" if request.query.get("sr") == "c" else blob
        expected = self._signature(container, signed, permission, expiry)
        needed = {"PUT": "w"}.get(request.http.method, "rw")
        genuine = hmac.compare_digest(request.query.get("sig", ""), expected) and permission in needed
        if not genuine or int(expiry) < time.time():
            raise ServiceError(
                403, "AuthenticationFailed", f"The signature does not allow this access to blob '{blob}'."
            )
        return self.path(container, blob)

    async def put(self, request: Request) -> web.StreamResponse:
        path = self._authorize(request)
        path.parent.mkdir(parents=True, exist_ok=True)
        operation = request.query.get("comp")
        if operation == "block":
            blocks = self._blocks(path)
            blocks.mkdir(parents=True, exist_ok=True)
            await self._receive(request.http, blocks / _block_name(request.query.get("blockid", "")))
        elif operation == "blocklist":
            await self._commit_blocks(request.http, path)
        elif operation is None:
            await self._receive(request.http, path)
        else:
            raise bad_request(f"Blob operation comp={operation} is not emulated.")
        return web.Response(status=201, headers=_headers(path) if path.exists() else {})

    def _blocks(self, path: Path) -> Path:
        return self.state.folder("uploads") / hashlib.sha256(str(path).encode()).hexdigest()

    async def _receive(self, http: web.Request, path: Path) -> None:
        temporary = self.state.folder("uploads") / uuid.uuid4().hex
        try:
            with temporary.open("wb") as file:
                async for chunk in http.content.iter_chunked(1 << 20):
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
        with temporary.open("wb") as file:
            for part in parts:
                with part.open("rb") as source:
                    shutil.copyfileobj(source, file)
        temporary.replace(path)
        shutil.rmtree(blocks, ignore_errors=True)

    async def get(self, request: Request) -> web.StreamResponse:
        path = self._authorize(request)
        if not path.is_file():
            raise not_found("Blob", request.params["blob"], "its container")
        headers = _headers(path)
        if request.http.method == "HEAD":
            return web.Response(headers={**headers, "Content-Length": str(path.stat().st_size)})
        wanted = request.http.headers.get("x-ms-range") or request.http.headers.get("Range")
        if wanted is None:
            return web.FileResponse(path, headers=headers)
        size = path.stat().st_size
        first, _, last = wanted.partition("=")[2].partition("-")
        start, end = int(first), min(int(last) if last else size - 1, size - 1)
        if start > end:
            raise ServiceError(416, "InvalidRange", f"Blob '{request.params['blob']}' has {size} bytes, not {wanted}.")
        with path.open("rb") as file:
            file.seek(start)
            content = file.read(end - start + 1)
        return web.Response(
            status=206, body=content, headers={**headers, "Content-Range": f"bytes {start}-{end}/{size}"}
        )


def _block_name(block: str) -> str:
    """Block ids are base64 and chosen by the client: hex keeps them inside their folder."""
    try:
        return base64.b64decode(block, validate=True).hex()
    except (binascii.Error, ValueError) as error:
        raise bad_request(f"'{block}' is not the id of a block.") from error


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
