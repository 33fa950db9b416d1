"""Endpoint tests: what a caller of the service would see, before the next stage is let near it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from settings.deployment import EndpointTestSettings
from settings.workspace import WorkspaceTarget
from tasks.errors import EndpointTestError
from tasks.operation import azure_operation, explained
from tasks.progress import report
from tasks.values import Endpoint, TestResult
from tasks.workspace import open_workspace

if TYPE_CHECKING:
    import requests

_SHOWN_CHARACTERS = 300


def run_endpoint_tests(
    target: WorkspaceTarget, settings: EndpointTestSettings, endpoint: Endpoint
) -> tuple[TestResult, ...]:
    """Send the sample, let the user's own check look at the answer, and see that the door is locked.

    Raises:
        EndpointTestError: a file of the settings is not there, or the keys cannot be read. A test that does not pass
            is no exception but a value.
    """
    directory = Path(settings.source_directory)
    sample = _sample(directory / settings.sample)
    check = directory / settings.entry_script
    if not check.is_file():
        raise EndpointTestError(
            f"The check {check} is not there.", "Correct deployment.endpoint_tests in the settings."
        )
    headers = {"Content-Type": "application/json", **_authorization(target, endpoint)}
    tests: list[tuple[str, Callable[[], tuple[bool, str]]]] = [
        ("scores the sample", lambda: _scores(endpoint, headers, sample, check, settings.timeout_seconds)),
    ]
    if endpoint.auth_enabled:
        tests.append(("refuses a call without a key", lambda: _refuses(endpoint, sample, settings.timeout_seconds)))
    if endpoint.swagger_uri is not None:
        tests.append(("describes itself in Swagger", lambda: _describes(endpoint, headers, settings.timeout_seconds)))
    results = []
    for name, test in tests:
        report(name)
        results.append(_timed(name, test))
    report(f"{sum(result.passed for result in results)} of {len(results)} passed")
    return tuple(results)


def _sample(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        json.loads(content)
    except (OSError, ValueError) as error:
        raise EndpointTestError(
            f"The sample request {path} cannot be used: {error}.", "Correct deployment.endpoint_tests.sample."
        ) from error
    return content


def _authorization(target: WorkspaceTarget, endpoint: Endpoint) -> dict[str, str]:
    if not endpoint.auth_enabled:
        return {}
    what = f"read the key of service '{endpoint.service}'"
    with explained(EndpointTestError, what, "Check that the login may list keys."):
        return {"Authorization": f"Bearer {read_key(target, endpoint.service)}"}


def read_key(target: WorkspaceTarget, service_name: str) -> str:
    """What a caller puts after ``Bearer``: the primary key, or a fresh token where the service wants tokens."""
    from azureml.core.webservice import Webservice

    service: Any = Webservice(open_workspace(target), service_name)
    if getattr(service, "token_auth_enabled", False):
        return str(service.get_access_token().access_token)
    return str(service.get_keys()[0])


def _timed(name: str, test: Callable[[], tuple[bool, str]]) -> TestResult:
    import requests

    started = time.perf_counter()
    try:
        passed, detail = test()
    except requests.RequestException as error:
        passed, detail = False, f"no answer: {error}"
    return TestResult(
        name=name, passed=passed, detail=detail, milliseconds=round((time.perf_counter() - started) * 1000, 1)
    )


def _scores(
    endpoint: Endpoint, headers: dict[str, str], sample: bytes, check: Path, seconds: float
) -> tuple[bool, str]:
    import requests

    answer = requests.post(endpoint.scoring_uri, data=sample, headers=headers, timeout=seconds)
    if answer.status_code != 200:
        return False, _said(answer)
    with tempfile.TemporaryDirectory() as directory:
        request, response = Path(directory, "request.json"), Path(directory, "response.json")
        request.write_bytes(sample)
        response.write_bytes(answer.content)
        # A process of its own: the check is the user's code, and may do what it likes with its interpreter.
        checked = subprocess.run(
            [sys.executable, str(check.name), str(request), str(response)],
            cwd=check.parent,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    if checked.returncode == 0:
        return True, f"answered {answer.text[:_SHOWN_CHARACTERS].strip()}"
    problems = (checked.stdout.strip() or checked.stderr.strip()).splitlines()
    return False, f"{check.name}: {'; '.join(problems[-3:])} (the answer was {answer.text[:_SHOWN_CHARACTERS].strip()})"


def _refuses(endpoint: Endpoint, sample: bytes, seconds: float) -> tuple[bool, str]:
    import requests

    headers = {"Content-Type": "application/json"}
    answer = requests.post(endpoint.scoring_uri, data=sample, headers=headers, timeout=seconds)
    return answer.status_code in (401, 403), f"HTTP {answer.status_code}"


def _describes(endpoint: Endpoint, headers: dict[str, str], seconds: float) -> tuple[bool, str]:
    import requests

    answer = requests.get(str(endpoint.swagger_uri), headers=headers, timeout=seconds)
    if answer.status_code != 200:
        return False, _said(answer)
    paths = sorted(answer.json().get("paths", {}))
    return "/score" in paths, f"paths {', '.join(paths) or 'none'}"


def _said(answer: requests.Response) -> str:
    return f"HTTP {answer.status_code}: {answer.text[:_SHOWN_CHARACTERS].strip()}"


run_endpoint_tests_task = azure_operation("endpoint tests")(run_endpoint_tests)
