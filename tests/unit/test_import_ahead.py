"""What is imported ahead never keeps a process from ending."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.unit

SLOW = "import time; time.sleep(1.5); print('imported')"
# What a Ctrl-C leaves when it comes in the middle of an import of the main thread.
INTERRUPTED = "import _imp; _imp.acquire_lock()"


def ended(statement: str, directory: str) -> str:
    script = f"from flows.import_ahead import import_ahead; {statement}; import_ahead(('slow_module',))"
    python = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {directory!r}); {script}"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert python.returncode == 0, python.stderr
    assert python.stderr == ""
    return python.stdout


@pytest.fixture
def directory(tmp_path_factory: pytest.TempPathFactory) -> str:
    made = tmp_path_factory.mktemp("modules")
    (made / "slow_module.py").write_text(SLOW)
    return str(made)


def test_a_process_that_ends_early_waits_for_the_import(directory: str) -> None:
    assert ended("pass", directory) == "imported\n"


def test_a_process_that_was_interrupted_in_an_import_ends_all_the_same(directory: str) -> None:
    assert ended(INTERRUPTED, directory) == ""
