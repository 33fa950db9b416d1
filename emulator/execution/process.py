"""The process of a run: its variables, its command line, and what its end means."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from emulator.execution.submission import RunConfiguration

WRAPPER = Path(__file__).parent / "run_script.py"

# What a process needs of the machine. The emulator's own credentials and virtual environment stay with it.
_INHERITED = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
# With these, the SDK finds the cloud and trusts it; who is who follows from the run's token alone.
_OF_THE_CLIENT = (
    "ARM_CLOUD_METADATA_URL",
    "AZUREML_CURRENT_CLOUD",
    "AZURE_CONFIG_DIR",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
)


@dataclass(frozen=True)
class RunContext:
    """What the SDK's ``Run.get_context()`` reads from the variables of its process."""

    subscription: str
    resource_group: str
    workspace_name: str
    workspace_id: str
    experiment_name: str
    experiment_id: str
    run_id: str
    token: str
    token_expiry: int
    service_endpoint: str

    def variables(self) -> dict[str, str]:
        return {
            "AZUREML_ARM_SUBSCRIPTION": self.subscription,
            "AZUREML_ARM_RESOURCEGROUP": self.resource_group,
            "AZUREML_ARM_WORKSPACE_NAME": self.workspace_name,
            "AZUREML_ARM_PROJECT_NAME": self.experiment_name,
            "AZUREML_EXPERIMENT_ID": self.experiment_id,
            "AZUREML_WORKSPACE_ID": self.workspace_id,
            "AZUREML_RUN_ID": self.run_id,
            "AZUREML_RUN_TOKEN": self.token,
            "AZUREML_RUN_TOKEN_EXPIRY": str(self.token_expiry),
            "AZUREML_SERVICE_ENDPOINT": self.service_endpoint,
            "AZUREML_OUTPUT_DIRECTORY": "outputs",
            "AZUREML_LOG_DIRECTORY": "logs",
        }


def process_environment(
    context: RunContext,
    configuration: RunConfiguration,
    interpreter: Path,
    client: Mapping[str, str],
    machine: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """All variables of a run's process: the machine's, the user's, and those that Azure ML sets, which win.

    Args:
        context: of the run.
        configuration: has the user's own variables, in its environment and beside it.
        interpreter: its directory comes first on PATH.
        client: the variables with which the SDK reaches the emulator.
        machine: the variables of the emulator's own process.
    """
    users = {**(configuration.environment.get("environmentVariables") or {}), **configuration.environment_variables}
    variables = {name: machine[name] for name in _INHERITED if name in machine}
    variables |= {name: str(value) for name, value in users.items()}
    variables |= {name: client[name] for name in _OF_THE_CLIENT}
    variables |= context.variables()
    variables["PATH"] = f"{interpreter.parent}{os.pathsep}{variables.get('PATH', os.defpath)}"
    variables["PYTHONUNBUFFERED"] = "1"  # the log is followed while the run goes on
    return variables


def command_line(configuration: RunConfiguration, interpreter: Path) -> list[str]:
    if configuration.shell_command is not None:
        return ["/bin/bash", "-c", configuration.shell_command]
    return [str(interpreter), str(WRAPPER), configuration.script or "", *configuration.arguments]


def failure_sentence(
    configuration: RunConfiguration, run_id: str, exit_code: int, log_tail: str, process: str = ""
) -> str:
    """What ``run.get_details()["error"]`` says of a process that did not end with 0; ``process`` names one of many."""
    who = f", {process}," if process else ""
    end = f"was ended by {signal.Signals(-exit_code).name}" if exit_code < 0 else f"ended with exit code {exit_code}"
    log = f"Its log ends with:\n{log_tail}" if log_tail else "Its log is empty."
    return f"AzureMLCompute job failed. {configuration.title} of run '{run_id}'{who} {end}. {log}"
