"""Blobs as Azure Storage lists them."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import formatdate
from pathlib import Path
from xml.etree import ElementTree


def list_payload(container: str, blobs: Mapping[str, Path], prefix: str, delimiter: str | None) -> str:
    """``EnumerationResults`` of List Blobs (https://learn.microsoft.com/rest/api/storageservices/list-blobs).

    Args:
        container: its name.
        blobs: file of each blob of the container, by name, in order.
        prefix: what names must begin with.
        delimiter: where names are cut after the prefix; all that are cut to the same are listed once, as a folder.
    """
    root = ElementTree.Element("EnumerationResults", ContainerName=container)
    ElementTree.SubElement(root, "Prefix").text = prefix
    listed = ElementTree.SubElement(root, "Blobs")
    folders: set[str] = set()
    for name, file in blobs.items():
        if not name.startswith(prefix):
            continue
        head, cut, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
        if cut:
            folder = prefix + head + cut
            if folder not in folders:
                folders.add(folder)
                ElementTree.SubElement(ElementTree.SubElement(listed, "BlobPrefix"), "Name").text = folder
            continue
        blob = ElementTree.SubElement(listed, "Blob")
        ElementTree.SubElement(blob, "Name").text = name
        properties = ElementTree.SubElement(blob, "Properties")
        stat = file.stat()
        for key, value in (
            ("Creation-Time", formatdate(stat.st_ctime, usegmt=True)),
            ("Last-Modified", formatdate(stat.st_mtime, usegmt=True)),
            ("Etag", f"{stat.st_mtime_ns:x}"),
            ("Content-Length", str(stat.st_size)),
            ("Content-Type", "application/octet-stream"),
            ("BlobType", "BlockBlob"),
        ):
            ElementTree.SubElement(properties, key).text = value
    ElementTree.SubElement(root, "NextMarker")
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True)
