"""Endpoint tests: what a caller of the service would see, before the next stage is let near it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from settings.deployment import EndpointTestSettings
from settings.workspace import WorkspaceTarget
from tasks.endpoint_contract import broken_by, differs, wrong_inputs
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
    """Send the samples, look at the answers, see that the door is locked and that wrong input is refused.

    Raises:
        EndpointTestError: a file of the settings is not there, or the keys cannot be read. A test that does not pass
            is no exception but a value.
    """
    directory, seconds = Path(settings.source_directory), settings.timeout_seconds
    sample = json_file(directory / settings.sample)
    check = directory / settings.entry_script
    if not check.is_file():
        raise EndpointTestError(
            f"The check {check} is not there.", "Correct deployment.endpoint_tests in the settings."
        )
    headers = request_headers(target, endpoint)
    tests: list[tuple[str, Callable[[], tuple[bool, str]]]] = [
        ("scores the sample", partial(_scores, endpoint, headers, sample, check, seconds)),
    ]
    for name, further in settings.samples.items():
        request = json_file(directory / further.request)
        if further.expected is None:
            tests.append((f"scores '{name}'", partial(_scores, endpoint, headers, request, check, seconds)))
        else:
            expected = json.loads(json_file(directory / further.expected))
            tolerance = further.relative_tolerance
            as_expected = partial(_answers, endpoint, headers, request, expected, tolerance, seconds)
            tests.append((f"answers '{name}' as expected", as_expected))
    if endpoint.auth_enabled:
        tests.append(("refuses a call without a key", partial(_refuses, endpoint, sample, seconds)))
    if endpoint.swagger_uri is not None:
        tests.append(("describes the sample in Swagger", partial(_describes, endpoint, headers, sample, seconds)))
    if settings.wrong_input:
        tests.append(("refuses wrong input", partial(_refuses_wrong_input, endpoint, headers, sample, seconds)))
    results = []
    for name, test in tests:
        report(name)
        results.append(_timed(name, test))
    report(f"{sum(result.passed for result in results)} of {len(results)} passed")
    return tuple(results)


def json_file(path: Path) -> bytes:
    """The content of a JSON file under code/testing.

    Raises:
        EndpointTestError: it is not there, or no JSON.
    """
    try:
        content = path.read_bytes()
        json.loads(content)
    except (OSError, ValueError) as error:
        raise EndpointTestError(
            f"The sample {path} cannot be used: {error}.", "Correct deployment.endpoint_tests in the settings."
        ) from error
    return content


def request_headers(target: WorkspaceTarget, endpoint: Endpoint) -> dict[str, str]:
    """The headers of a scoring request, with the service's key or token where it wants one."""
    return {"Content-Type": "application/json", **_authorization(target, endpoint)}


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


def _answers(
    endpoint: Endpoint, headers: dict[str, str], request: bytes, expected: Any, tolerance: float, seconds: float
) -> tuple[bool, str]:
    import requests

    answer = requests.post(endpoint.scoring_uri, data=request, headers=headers, timeout=seconds)
    if answer.status_code != 200:
        return False, _said(answer)
    try:
        differences = list(differs(answer.json(), expected, tolerance))
    except ValueError:
        differences = [f"it is no JSON: {answer.text[:_SHOWN_CHARACTERS].strip()}"]
    return not differences, "; ".join(differences[:3]) or f"answered {answer.text[:_SHOWN_CHARACTERS].strip()}"


def _describes(endpoint: Endpoint, headers: dict[str, str], sample: bytes, seconds: float) -> tuple[bool, str]:
    import requests

    answer = requests.get(str(endpoint.swagger_uri), headers=headers, timeout=seconds)
    if answer.status_code != 200:
        return False, _said(answer)
    swagger = answer.json()
    problems = list(broken_by(json.loads(sample), swagger))
    return not problems, "; ".join(problems[:3]) or f"paths {', '.join(sorted(swagger['paths']))}"


def _refuses_wrong_input(
    endpoint: Endpoint, headers: dict[str, str], sample: bytes, seconds: float
) -> tuple[bool, str]:
    import requests

    said = {}
    for wrong, body in wrong_inputs(json.loads(sample)):
        answer = requests.post(endpoint.scoring_uri, data=body, headers=headers, timeout=seconds)
        said[wrong] = answer.status_code
    taken = [f"{wrong}: HTTP {status}" for wrong, status in said.items() if not 400 <= status < 500]
    return not taken, "; ".join(taken) or f"{len(said)} of {len(said)} refused with 4xx"


def _said(answer: requests.Response) -> str:
    return f"HTTP {answer.status_code}: {answer.text[:_SHOWN_CHARACTERS].strip()}"


def not_passed(tests: Sequence[TestResult]) -> list[str]:
    """The tests that did not pass, each with what was seen. Pure."""
    return [f"'{each.name}': {each.detail}" for each in tests if not each.passed]


run_endpoint_tests_task = azure_operation("endpoint tests")(run_endpoint_tests)
