"""Every command that the documentation shows is one that exists, with the options that it shows."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.unit

PAGES = tuple(f"docs/{path.name}" for path in sorted((REPOSITORY / "docs").glob("*.md")))
DOCUMENTS = ("README.md", "emulator/README.md", "benchmarks/README.md", *PAGES)
MODULE = re.compile(r"python -m ((?:flows|settings|emulator|benchmarks)[\w.]*)((?: [^`)\n#]*)?)")


def text_of(document: str) -> str:
    return (REPOSITORY / document).read_text()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_make_targets_exist(document: str) -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    targets = set(re.findall(r"(?:^ {4}|`|\$ )make ([a-z-]+)", text_of(document), re.MULTILINE))

    assert targets <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


def shown_commands() -> list[tuple[str, str, str]]:
    found = [(document, *match.groups()) for document in DOCUMENTS for match in MODULE.finditer(text_of(document))]
    return sorted({(document, module, arguments.strip()) for document, module, arguments in found})


@pytest.mark.parametrize(("document", "module", "arguments"), shown_commands())
def test_the_modules_and_their_options_exist(document: str, module: str, arguments: str) -> None:
    words = [word for word in shlex.split(arguments.replace('"', "").replace("'", "")) if word not in ("|", "...")]
    subcommand = words[:1] if words and re.fullmatch(r"[a-z]+", words[0]) else []

    shown = subprocess.run(
        [sys.executable, "-m", module, *subcommand, "--help"], cwd=REPOSITORY, capture_output=True, text=True
    )

    assert shown.returncode == 0, shown.stderr
    for option in (word for word in words if word.startswith("--")):
        assert option in shown.stdout


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_links_lead_somewhere(document: str) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text_of(document)):
        assert (REPOSITORY / document).parent.joinpath(Path(target)).exists(), target


def is_run_by_ci_or_runs_tests(command: str) -> bool:
    """Whether .ci/run calls a make command, or its recipe is the tests of a marker, which are there."""
    if not command.startswith("make "):
        return False
    makefile, ci = (REPOSITORY / "Makefile").read_text(), (REPOSITORY / ".ci" / "run").read_text()
    recipe = re.search(rf"^{command.removeprefix('make ')}:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    marker = re.search(r"-m pytest -m (\w+)", recipe[1]) if recipe else None
    modules = (REPOSITORY / "tests").glob("*/test_*.py")
    runs_tests = marker is not None and any(f"pytest.mark.{marker[1]}" in path.read_text() for path in modules)
    return command in ci.splitlines() or runs_tests


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_ours_on_a_page_is_typed_by_a_test_or_run_by_ci(page: str) -> None:
    tests = "\n".join(path.read_text() for path in (REPOSITORY / "tests" / "flow").glob("test_*.py"))
    blocks = re.findall(r"```sh\n(.*?)```", text_of(page), re.DOTALL)
    ours = [line for block in blocks for line in block.splitlines() if line.startswith((".venv/bin/python", "make "))]

    assert [line for line in ours if line not in tests and not is_run_by_ci_or_runs_tests(line)] == []
