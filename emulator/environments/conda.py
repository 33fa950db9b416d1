"""Conda specifications as pip's: the emulator builds environments with uv, from PyPI."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

# Where conda-forge's or Anaconda's name is not PyPI's.
_PYPI_NAMES = {
    "pytorch": "torch",
    "pytorch-cpu": "torch",
    "tensorflow-gpu": "tensorflow",
    "py-xgboost": "xgboost",
    "matplotlib-base": "matplotlib",
    "dask-core": "dask",
    "pytables": "tables",
    "py-opencv": "opencv-python-headless",
    "opencv": "opencv-python-headless",
    "msgpack-python": "msgpack",
    "ruamel_yaml": "ruamel.yaml",
}
_SPECIFICATION = re.compile(
    r"""(?:[^\s:]+::)?                       # the channel has no meaning outside conda
        (?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)
        \s*(?P<version>[^\s=<>!~].*|[=<>!~].*)?""",
    re.VERBOSE,
)


class CondaSpecificationError(ValueError):
    """A conda specification that has no equivalent for pip; ``str()`` says which and what to write."""


def _fuzzy(version: str) -> str:
    """conda's ``=1.2`` means 1.2 and every 1.2.x; ``=1.2.3=py311_0`` names a build, and so that version exactly."""
    number, _, build = version.partition("=")
    if number in ("", "*"):
        return ""
    if build:
        return f"=={number}"
    return f"=={number.removesuffix('*').removesuffix('.')}.*"


def _version(specification: str, version: str) -> str:
    text = re.sub(r"\s+", "", version)
    if "|" in text:
        raise CondaSpecificationError(
            f"The conda dependency '{specification}' has alternatives ('|'): name one version or a range."
        )
    if not text:
        return ""
    parts = []
    for part in text.split(","):
        if part.startswith("==") or part[:1] in "<>!~":
            parts.append(part)
        else:
            parts.append(_fuzzy(part.removeprefix("=")))
    return ",".join(part for part in parts if part)


def parse(specification: str) -> tuple[str, str]:
    """Name and version of a conda dependency, the version in pip's terms: ``scikit-learn=1.2`` is ``==1.2.*``.

    Raises:
        CondaSpecificationError: pip has no equivalent.
    """
    match = _SPECIFICATION.fullmatch(specification.strip())
    if match is None:
        raise CondaSpecificationError(f"The conda dependency '{specification}' cannot be read.")
    return match["name"].lower(), _version(specification, match["version"] or "")


def pip_requirement(specification: str) -> str:
    """The line of a requirements file for a conda dependency other than Python."""
    name, version = parse(specification)
    return f"{_PYPI_NAMES.get(name, name)}{version}"


def split(dependencies: Iterable[Any]) -> tuple[str | None, tuple[str, ...]]:
    """What a conda file's ``dependencies`` ask for.

    Returns:
        the version of Python in pip's terms, ``None`` when there is none; and the lines of a requirements file, those
        of the pip section as they are: options, addresses of wheels and all.

    Raises:
        CondaSpecificationError: a dependency that pip has no equivalent for.
    """
    python: str | None = None
    lines: list[str] = []
    for dependency in dependencies:
        if isinstance(dependency, dict):
            lines += [str(line).strip() for line in dependency.get("pip") or []]
        elif parse(str(dependency))[0] == "python":
            python = parse(str(dependency))[1] or None
        else:
            lines.append(pip_requirement(str(dependency)))
    return python, tuple(lines)
