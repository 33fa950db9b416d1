"""Reads the definitions of data sets: which files they are, and the one kind of table that profiling takes."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

import yaml

from emulator.errors import ServiceError, not_emulated

_ADDRESS = re.compile(
    r"azureml://subscriptions/[^/]+/resourcegroups/[^/]+/workspaces/(?P<workspace>[^/]+)"
    r"/datastores/(?P<datastore>[^/]+)/paths/(?P<path>.+)",
    re.IGNORECASE,
)
_ONE_ROW_PER_LINE = {"delimiter": "\n", "header": "no_header", "encoding": "utf8", "support_multi_line": False}


def _data_sets_with(what: str) -> ServiceError:
    return not_emulated(
        f"data sets with {what}, only text files of the default datastore with one row per line: "
        "Dataset.Tabular.from_delimited_files((datastore, path), separator='\\n', header=NO_HEADERS)"
    )


def _path(source: Any, workspace: str, datastore: str) -> str:
    names = ("pattern", "file", "folder")
    address = next((source[name] for name in names if source.get(name)), None) if isinstance(source, dict) else None
    match = _ADDRESS.fullmatch(str(address))
    if match is None or match["workspace"].lower() != workspace.lower() or match["datastore"] != datastore:
        raise not_emulated(f"data sets with the path {address}, only with paths of the datastore '{datastore}'")
    return unquote(match["path"])


def file_paths(definition: str, workspace: str, datastore: str) -> list[str]:
    """The paths, folders and patterns of a FileDataset in the datastore.

    Args:
        definition: an MLTable document.
        workspace: its name; a path into another one is refused.
        datastore: the name of the default datastore.

    Raises:
        ServiceError: 501 for one that is filtered, sampled or read as a table.
    """
    document = yaml.safe_load(definition)
    if document.get("transformations"):
        names = ", ".join(name for transformation in document["transformations"] for name in transformation)
        raise not_emulated(
            f"files of a data set with the transformation {names}: read it in the script (as_named_input)"
        )
    return [_path(source, workspace, datastore) for source in document.get("paths") or []]


def _keeps_text(transformation: dict[str, Any]) -> bool:
    """Whether it is what ``infer_column_types=True`` adds for a column of text."""
    conversions = transformation.get("convert_column_types") or [{}]
    return all(conversion.get("column_type") == "string" for conversion in conversions)


def text_file_paths(definition: str, workspace: str, datastore: str) -> list[str]:
    """The paths of a data set's files in the datastore.

    Args:
        definition: an MLTable document.
        workspace: its name; a path into another one is refused.
        datastore: the name of the default datastore.

    Raises:
        ServiceError: 501 for whatever is read or transformed in another way than line by line.
    """
    document = yaml.safe_load(definition)
    transformations = document.get("transformations") or [{}]
    if "read_delimited" not in transformations[0]:
        raise _data_sets_with("another reader than read_delimited")
    for transformation in transformations[1:]:
        if not _keeps_text(transformation):
            raise _data_sets_with(f"the transformation {', '.join(transformation)}")
    options = transformations[0]["read_delimited"]
    for option, expected in _ONE_ROW_PER_LINE.items():
        if options.get(option, expected) != expected:
            raise _data_sets_with(f"{option} {options[option]!r}")
    paths = [_path(source, workspace, datastore) for source in document.get("paths") or []]
    if any("*" in path for path in paths):
        raise _data_sets_with("a pattern in a path")
    return paths
