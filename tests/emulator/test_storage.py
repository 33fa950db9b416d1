"""Signed addresses of blobs, as the SDK gets them from the services and uses them."""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

import pytest

from tests.conftest import RunningEmulator
from tests.emulator.conftest import Client

if TYPE_CHECKING:
    from azureml.core import Workspace

pytestmark = pytest.mark.emulator

CONTENT = bytes(range(256)) * 10


class Blob:
    """An artifact's blob, with the addresses to write and to read it that the artifacts service signs."""

    def __init__(self, client: Client, workspace: Workspace, path: str, container: str = "") -> None:
        self._client = client
        self._artifacts = f"/artifact/v2.0{workspace.get_details()['id']}/artifacts"
        self._path = path
        answer = client.call(
            "POST",
            f"{self._artifacts}/batch/metadata/LocalUpload/{container or uuid.uuid4()}",
            json={"paths": [{"path": path}]},
        )
        answer.raise_for_status()
        (self._information,) = answer.json()["artifactContentInformation"].values()
        self.upload_url = without_account(self._information["contentUri"])

    @property
    def download_url(self) -> str:
        place = f"{self._information['origin']}/{self._information['container']}/{self._path}"
        return str(self._client.call("GET", f"{self._artifacts}/contentinfo/{place}").json()["contentUri"])


def without_account(url: str) -> str:
    """The uploader's address without the made-up account that the SDK wants in it."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def changed(url: str, **query: str) -> str:
    parts = urlsplit(url)
    values = {name: values[0] for name, values in parse_qs(parts.query).items()}
    return urlunsplit(parts._replace(query=urlencode({**values, **query})))


@pytest.fixture
def blob(client: Client, workspace: Workspace) -> Iterator[Blob]:
    yield Blob(client, workspace, "folder/numbers.bin")


@pytest.fixture
def stored(blob: Blob, client: Client) -> Blob:
    assert client.call("PUT", blob.upload_url, data=CONTENT).status_code == 201
    return blob


def test_what_was_written_is_read_without_a_token(stored: Blob, client: Client) -> None:
    read = client.call("GET", stored.download_url, headers={"Authorization": None})
    assert read.status_code == 200
    assert read.content == CONTENT
    assert read.headers["x-ms-blob-type"] == "BlockBlob"


def test_a_head_says_how_long_a_blob_is_and_whether_it_is_there(blob: Blob, client: Client) -> None:
    assert client.call("HEAD", blob.upload_url).status_code == 404
    client.call("PUT", blob.upload_url, data=CONTENT).raise_for_status()
    looked = client.call("HEAD", blob.upload_url)
    assert (looked.status_code, looked.headers["Content-Length"], looked.content) == (200, "2560", b"")


@pytest.mark.parametrize(
    ("header", "wanted", "answered"),
    [
        ({"x-ms-range": "bytes=0-9"}, slice(0, 10), "bytes 0-9/2560"),
        ({"Range": "bytes=2550-"}, slice(2550, None), "bytes 2550-2559/2560"),
        ({"Range": "bytes=-4"}, slice(-4, None), "bytes 2556-2559/2560"),
        ({"Range": "bytes=2000-9999"}, slice(2000, None), "bytes 2000-2559/2560"),
    ],
)
def test_a_range_of_a_blob_is_read(
    stored: Blob, client: Client, header: dict[str, str], wanted: slice, answered: str
) -> None:
    read = client.call("GET", stored.download_url, headers=header)
    assert (read.status_code, read.headers["Content-Range"]) == (206, answered)
    assert read.content == CONTENT[wanted]


def test_a_range_behind_the_end_is_refused(stored: Blob, client: Client) -> None:
    refused = client.call("GET", stored.download_url, headers={"x-ms-range": "bytes=2560-2600"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (416, "InvalidRange")


def test_a_blob_beside_its_compressed_namesake_is_read_as_it_was_written(
    client: Client, workspace: Workspace, emulator: RunningEmulator
) -> None:
    plain = Blob(client, workspace, "report.json")
    client.call("PUT", plain.upload_url, data=b"{}").raise_for_status()
    (file,) = (emulator.state_directory / "blobs").rglob("report.json")
    file.with_name("report.json.gz").write_bytes(b"another blob")
    assert client.call("GET", plain.download_url, headers={"Accept-Encoding": "gzip"}).content == b"{}"


def test_blocks_become_a_blob_in_the_order_of_their_list(blob: Blob, client: Client) -> None:
    ids = [base64.b64encode(f"block-{number}".encode()).decode() for number in range(3)]
    for block, content in zip(ids, (b"one ", b"two ", b"three"), strict=True):
        address = changed(blob.upload_url, comp="block", blockid=block)
        assert client.call("PUT", address, data=content).status_code == 201
    assert client.call("HEAD", blob.upload_url).status_code == 404
    listed = "".join(f"<Latest>{block}</Latest>" for block in reversed(ids))
    address = changed(blob.upload_url, comp="blocklist")
    assert client.call("PUT", address, data=f"<BlockList>{listed}</BlockList>").status_code == 201
    assert client.call("GET", blob.download_url).content == b"threetwo one "


@pytest.mark.parametrize(
    ("query", "body", "message"),
    [
        ({"comp": "blocklist"}, "<BlockList><Latest>bm93aGVyZQ==</Latest></BlockList>", "were not uploaded"),
        ({"comp": "blocklist"}, "<BlockList>", "is not XML"),
        ({"comp": "block", "blockid": "../../escape"}, "x", "is not the id of a block"),
        ({"comp": "block", "blockid": ""}, "x", "is not the id of a block"),
    ],
)
def test_blocks_that_cannot_be_are_refused(
    blob: Blob, client: Client, query: dict[str, str], body: str, message: str
) -> None:
    refused = client.call("PUT", changed(blob.upload_url, **query), data=body)
    assert (refused.status_code, message in refused.json()["message"]) == (400, True)


def test_a_large_blob_is_read_as_it_was_written(blob: Blob, client: Client, tmp_path: Path) -> None:
    size, chunk = 32 << 20, hashlib.sha512(b"chunk").digest() * 16384
    expected = hashlib.sha256(chunk * (size // len(chunk))).hexdigest()
    with (tmp_path / "large").open("wb") as file:
        for _ in range(size // len(chunk)):
            file.write(chunk)
    with (tmp_path / "large").open("rb") as file:
        assert client.call("PUT", blob.upload_url, data=file).status_code == 201
    digest = hashlib.sha256()
    with client.call("GET", blob.download_url, stream=True) as read:
        for part in read.iter_content(1 << 20):
            digest.update(part)
    assert digest.hexdigest() == expected


@pytest.mark.parametrize("query", [{"sig": "0" * 64}, {"sig": "é"}, {"se": "9999999999"}, {"sp": "w"}, {"sr": "c"}])
def test_an_address_that_was_changed_opens_nothing(stored: Blob, client: Client, query: dict[str, str]) -> None:
    refused = client.call("GET", changed(stored.download_url, **query))
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "AuthenticationFailed")


def test_an_address_to_read_does_not_write_nor_the_other_way_round(stored: Blob, client: Client) -> None:
    assert client.call("PUT", stored.download_url, data=b"overwritten").status_code == 403
    assert client.call("GET", stored.upload_url).status_code == 403
    assert client.call("GET", stored.download_url).content == CONTENT


def test_an_address_of_one_blob_does_not_open_another(stored: Blob, client: Client) -> None:
    for other in ("numbers.txt", "..%2F..%2F..%2F..%2Fstate.db"):
        assert client.call("GET", stored.download_url.replace("numbers.bin", other)).status_code in (400, 403)


def test_a_name_cannot_be_a_blob_and_a_folder(client: Client, workspace: Workspace) -> None:
    for first, second in (("a", "a/b"), ("c/d", "c")):
        container = str(uuid.uuid4())
        client.call("PUT", Blob(client, workspace, first, container).upload_url, data=b"1").raise_for_status()
        refused = client.call("PUT", Blob(client, workspace, second, container).upload_url, data=b"2")
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "BlobNameConflict")
