"""python -m settings, as a user calls it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

REPOSITORY = Path(__file__).resolve().parents[2]
LEGACY = Path(__file__).parent / "settings_files" / "legacy.json"
AZURE_VARIABLES = ("AZURE_CREDENTIALS", "SUBSCRIPTION_ID", "WORKSPACE_NAME", "RESOURCE_GROUP", "LOCATION")


def python_m_settings(*arguments: str, directory: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in AZURE_VARIABLES}
    command = [sys.executable, "-m", "settings", *arguments]
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture
def copy_of_the_repository(tmp_path: Path) -> Path:
    shutil.copytree(REPOSITORY / "settings", tmp_path / "settings", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "docs").mkdir()
    shutil.copy(REPOSITORY / "docs" / "settings.md", tmp_path / "docs")
    return tmp_path


def test_check_says_ok_in_one_line() -> None:
    checked = python_m_settings("check")
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "settings/settings.json: ok\n", "")


def test_check_lists_every_mistake_and_exits_with_2() -> None:
    checked = python_m_settings("check", str(LEGACY), "--set", "experiment.nmae=x", "--set", "waiting.retries=3")
    assert checked.returncode == 2
    assert checked.stdout.splitlines() == [
        "experiment.nmae: is not an option here; did you mean 'name'?",
        "waiting.retries: must be an object (found: 3)",
    ]
    assert checked.stderr == f"{LEGACY}: 2 mistakes\n"


def test_check_of_a_file_that_is_not_there_is_a_sentence_and_exits_with_2(tmp_path: Path) -> None:
    checked = python_m_settings("check", str(tmp_path / "none.json"))
    assert checked.returncode == 2
    assert checked.stdout.startswith(f"{tmp_path / 'none.json'}: there is no such file")
    assert "Traceback" not in checked.stderr


def test_check_imports_neither_the_sdk_nor_prefect() -> None:
    program = (
        "import sys, settings.__main__\n"
        "assert settings.__main__.main(['check', sys.argv[1]]) == 0\n"
        "print(sorted({'azureml', 'prefect', 'rich', 'azure', 'aiohttp'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program, str(LEGACY)]
    checked = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert checked.stdout.splitlines()[-1] == "[]", checked.stderr


def test_importing_settings_does_not_import_pydantic() -> None:
    program = "import sys, settings; print('pydantic' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert run.stdout == "False\n", run.stderr


def test_schema_check_fails_on_a_stale_file_until_it_is_made_anew(copy_of_the_repository: Path) -> None:
    assert python_m_settings("schema", "--check", directory=copy_of_the_repository).returncode == 0
    page = copy_of_the_repository / "docs" / "settings.md"
    fresh = page.read_text(encoding="utf-8")
    page.write_text("old\n", encoding="utf-8")
    stale = python_m_settings("schema", "--check", directory=copy_of_the_repository)
    assert (stale.returncode, stale.stderr) == (1, "docs/settings.md: is stale; run python -m settings schema\n")
    assert page.read_text(encoding="utf-8") == "old\n"
    assert python_m_settings("schema", directory=copy_of_the_repository).stdout == "docs/settings.md: written\n"
    assert page.read_text(encoding="utf-8") == fresh
