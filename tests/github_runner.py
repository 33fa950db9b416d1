"""A stand-in for GitHub's runner: runs the ``run:`` steps of a job of a workflow, with the environment GitHub gives.

It knows as much of the language as the workflows here use, and fails on what it does not know. Steps with ``uses:`` are
other people's actions, which only GitHub can run: they are passed over. ``make`` is asked what it would do instead of
doing it (``--dry-run``), because the virtual environment is there, and because tests cannot run all tests.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'[^']*')|(?P<number>\d+)|(?P<name>[A-Za-z_][\w.-]*)|(?P<operator>==|!=|&&|\|\||!|\(|\)))"
)
_OPERATORS = {"&&": " and ", "||": " or ", "!": " not "}
_STATUS_CHECKS = ("success", "failure", "cancelled", "always")
# Seconds after the cancellation, and what the step then gets.
_CANCELLATION = ((0.0, signal.SIGINT), (7.5, signal.SIGTERM), (10.0, signal.SIGKILL))
_STEP_SECONDS = 120


@dataclass(frozen=True)
class Trigger:
    """What has started a workflow."""

    name: str
    payload: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    ref: str = "refs/heads/main"


@dataclass(frozen=True)
class FinishedJob:
    """What is left of a job: its conclusion, what each step that ran has printed, and its summary."""

    conclusion: str
    output: dict[str, str]
    summary: str


class Runner:
    """Runs jobs in a checkout.

    Args:
        directory: the checkout, which is where the steps start.
        environment: of the machine.
        scratch: for the files through which steps and runner talk.
        api_url: of GitHub's REST API.
    """

    def __init__(self, directory: Path, environment: Mapping[str, str], scratch: Path, api_url: str = "") -> None:
        self._directory, self._environment, self._scratch = directory, environment, scratch
        self._api_url = api_url

    def run(
        self, workflow: str, job: str, trigger: Trigger, cancel_when: Callable[[], bool] | None = None
    ) -> FinishedJob:
        """Run a job; ``cancel_when`` is asked while its steps run, and the job is cancelled once it says so."""
        content = yaml.safe_load((self._directory / ".github" / "workflows" / workflow).read_text())
        definition = content["jobs"][job]
        contexts = _contexts(definition, trigger)
        assert _job_wanted(definition, contexts), f"{trigger.name} does not start the job {job}"
        conclusion, output = "success", dict[str, str]()
        variables = self._variables(trigger)
        for step in definition["steps"]:
            if "run" not in step or not _wanted(step, contexts, conclusion):
                continue
            own = {name: expand(text, contexts) for name, text in step.get("env", {}).items()}
            environment = {**self._environment, **variables, **contexts["env"], **own}
            assert content["defaults"]["run"]["shell"] == "bash"
            assert "${{" not in step["run"], "an expression inside a script is an injection"
            waiting_for = cancel_when if conclusion == "success" else None
            ended, output[step["name"]] = self._run(step["run"], environment, waiting_for)
            if ended != "success" and conclusion == "success":
                conclusion = ended
            contexts["env"] |= _assignments(self._scratch / "GITHUB_ENV")
        return FinishedJob(conclusion, output, (self._scratch / "GITHUB_STEP_SUMMARY").read_text())

    def _run(self, script: str, environment: dict[str, str], cancel_when: Callable[[], bool] | None) -> tuple[str, str]:
        """One step as ``shell: bash`` means it; a cancelled one gets the signals that GitHub sends, in its order.

        https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-cancellation
        """
        file = self._scratch / "script.sh"
        file.write_text(script)
        process = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(file)],
            cwd=self._directory,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        cancelled, until = None, time.monotonic() + _STEP_SECONDS
        signals = list(_CANCELLATION)
        while True:
            try:
                output, _ = process.communicate(timeout=0.5)
                break
            except subprocess.TimeoutExpired:
                now = time.monotonic()
                if now > until:
                    os.killpg(process.pid, signal.SIGKILL)
                    raise AssertionError(f"a step does not end:\n{script}\n{process.communicate()[0]}") from None
                if cancelled is None and cancel_when is not None and cancel_when():
                    cancelled = now
                if cancelled is not None and signals and now - cancelled >= signals[0][0]:
                    os.kill(process.pid, signals.pop(0)[1])
        if cancelled is not None:
            return "cancelled", output
        return "success" if process.returncode == 0 else "failure", output

    def _variables(self, trigger: Trigger) -> dict[str, str]:
        """The variables that GitHub sets for every step.

        https://docs.github.com/en/actions/reference/workflows-and-actions/variables
        """
        files = ("GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_PATH", "GITHUB_STEP_SUMMARY")
        for name in files:
            (self._scratch / name).write_text("")
        event = self._scratch / "event.json"
        event.write_text(json.dumps(trigger.payload))
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=self._directory, capture_output=True, text=True)
        return {
            **{name: str(self._scratch / name) for name in files},
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_API_URL": self._api_url,
            "GITHUB_EVENT_NAME": trigger.name,
            "GITHUB_EVENT_PATH": str(event),
            "GITHUB_REF": trigger.ref,
            "GITHUB_REPOSITORY": "owner/repository",
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_RUN_ID": "1001",
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_SHA": commit.stdout.strip(),
            "GITHUB_WORKSPACE": str(self._directory),
            "MAKEFLAGS": "--dry-run",
            "RUNNER_OS": "Linux",
            "RUNNER_TEMP": str(self._scratch),
        }


def planned_steps(definition: Mapping[str, Any], trigger: Trigger) -> list[str]:
    """The names of the steps that a job takes, other people's actions included, when each goes well; none, no job."""
    contexts = _contexts(definition, trigger)
    if not _job_wanted(definition, contexts):
        return []
    return [step["name"] for step in definition["steps"] if _wanted(step, contexts, "success")]


def _contexts(definition: Mapping[str, Any], trigger: Trigger) -> dict[str, Any]:
    """https://docs.github.com/en/actions/reference/workflows-and-actions/contexts"""
    github = {
        "event_name": trigger.name,
        "event": trigger.payload,
        "ref": trigger.ref,
        "repository": "owner/repository",
        "run_id": "1001",
        "run_attempt": "1",
        "token": "a-token",
    }
    matrix = definition.get("strategy", {}).get("matrix", {})
    contexts: dict[str, Any] = {
        "github": github,
        "inputs": trigger.inputs,
        "secrets": trigger.secrets,
        "matrix": {name: values[0] for name, values in matrix.items()},
    }
    variables = {name: expand(text, contexts) for name, text in definition.get("env", {}).items()}
    return {**contexts, "env": variables}


def _job_wanted(definition: Mapping[str, Any], contexts: Mapping[str, Any]) -> bool:
    return bool(evaluate(str(definition.get("if", "true")), contexts, "success"))


def _wanted(step: Mapping[str, Any], contexts: Mapping[str, Any], conclusion: str) -> bool:
    condition = str(step.get("if", "success()"))
    if not any(f"{check}(" in condition for check in _STATUS_CHECKS):
        condition = f"success() && ({_unwrapped(condition)})"
    return bool(evaluate(condition, contexts, conclusion))


def expand(text: object, contexts: Mapping[str, Any]) -> str:
    """A value of ``env:``, its expressions replaced by what they come to."""
    return re.sub(r"\$\{\{(.*?)\}\}", lambda match: _shown(evaluate(match[1], contexts, "success")), str(text))


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _unwrapped(expression: str) -> str:
    return re.sub(r"^\$\{\{(.*)\}\}$", r"\1", expression.strip())


def evaluate(expression: str, contexts: Mapping[str, Any], conclusion: str) -> Any:
    """What an expression comes to; what is not there is the empty text, as GitHub shows it."""
    python, rest = "", _unwrapped(expression)
    while rest.strip():
        token = _TOKEN.match(rest)
        assert token, f"not understood in an expression: {rest}"
        name, operator = token["name"], token["operator"]
        if name in _STATUS_CHECKS:
            python += f"{name}"
        elif name in ("true", "false"):
            python += name.capitalize()
        elif name:
            python += repr(_value(name, contexts))
        else:
            python += _OPERATORS.get(operator, f" {operator} ") if operator else token[0]
        rest = rest[token.end() :]
    checks = {
        "success": lambda: conclusion == "success",
        "failure": lambda: conclusion == "failure",
        "cancelled": lambda: conclusion == "cancelled",
        "always": lambda: True,
    }
    return eval(python.strip(), {"__builtins__": {}, **checks})


def _value(name: str, contexts: Mapping[str, Any]) -> Any:
    value: Any = contexts
    for part in name.split("."):
        if not isinstance(value, Mapping):
            return ""
        value = value.get(part, "")
    return value


def _assignments(file: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in file.read_text().splitlines())
