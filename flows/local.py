"""The training or the scoring script on this machine, in this terminal, without Azure and without the emulator.

    python -m flows.local training | scoring [--settings PATH] [--set KEY=VALUE] [--debugpy PORT]

uv makes the environment from the settings' pip packages; the arguments, MODEL_FILE and AZUREML_MODEL_DIR are those that
a run or a service gets. The process *becomes* the script, so that a breakpoint in it has the terminal.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from settings import Settings

DIRECTORY = Path("reports", "local")

# What Azure's inference server does with a request, without the port and the threads. It would have print() write to
# its log, a debugger's words included, and tell of a model that is not laid out in versions.
_SCORE_SAMPLE = """\
import builtins, logging, os, pathlib
own = builtins.print
logging.getLogger("azmlinfsrv.trace").disabled = True
from azureml_inference_server_http.server.entry import app
builtins.print = own
sample = pathlib.Path(os.environ["SAMPLE"]).read_bytes()
answer = app.test_client().post("/score", data=sample, headers={"Content-Type": "application/json"})
print(answer.status_code, answer.get_data(as_text=True))
raise SystemExit(answer.status_code != 200)
"""


def training(settings: Settings, debug_port: int | None) -> None:
    """Become the training script, after a debugger has connected to ``debug_port``, if that is given."""
    from tasks.environment import pip_packages, training_environment
    from tasks.training import MODEL_FILE_VARIABLE, arguments

    experiment = settings.experiment
    words = [experiment.entry_script, *map(str, arguments(experiment))]
    variables = {MODEL_FILE_VARIABLE: str(_model_file(settings)), **experiment.environment_variables}
    _become(words, experiment.source_directory, variables, pip_packages(training_environment(experiment)), debug_port)


def scoring(settings: Settings, debug_port: int | None) -> None:
    """Become a service that loads the model of the last local training, and answers the sample request.

    Raises:
        MlopsError: there is no such model.
    """
    from tasks.environment import pip_packages, scoring_environment
    from tasks.errors import MlopsError

    model, image, tests = _model_file(settings), settings.deployment.image, settings.deployment.endpoint_tests
    if not model.exists():
        raise MlopsError(f"There is no model {model}.", "Run `python -m flows.local training` first.")
    variables = {
        "AML_APP_ROOT": str(Path(image.source_directory).resolve()),
        "AZUREML_ENTRY_SCRIPT": image.entry_script,
        "AZUREML_MODEL_DIR": str(model.parent),
        "SAMPLE": str(Path(tests.source_directory, tests.sample).resolve()),
    }
    _become(
        ["-c", _SCORE_SAMPLE], image.source_directory, variables, pip_packages(scoring_environment(image)), debug_port
    )


def _model_file(settings: Settings) -> Path:
    # Not below the script's own directory, whose content is uploaded with every run.
    return (DIRECTORY / settings.deployment.model.path).resolve()


def _become(
    words: Sequence[str],
    directory: str,
    variables: Mapping[str, str],
    packages: Sequence[str],
    debug_port: int | None,
) -> None:
    """Replace this process by Python in an environment with ``packages``, in ``directory``."""
    import uv

    debugger: list[str] = []
    if debug_port is not None:
        packages = [*packages, "debugpy"]
        debugger = ["-m", "debugpy", "--listen", f"127.0.0.1:{debug_port}", "--wait-for-client"]
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    requirements = DIRECTORY.resolve() / "requirements.txt"
    requirements.write_text("\n".join(packages) + "\n")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    command = [uv.find_uv_bin(), "run", "--quiet", "--no-project", "--isolated", "--python", python]
    command += ["--with-requirements", str(requirements), "python", *debugger, *words]
    os.chdir(directory)
    os.execve(command[0], command, {**os.environ, **variables})  # noqa: S606 - no shell is meant


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m flows.local", description="Run the training or the scoring script in this terminal."
    )
    parser.add_argument("script", choices=("training", "scoring"))
    parser.add_argument("--settings", type=Path, metavar="PATH", help="the settings (default: settings/settings.json)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="one setting")
    parser.add_argument("--debugpy", type=int, metavar="PORT", help="wait until a debugger has connected to this port")
    options = parser.parse_args()
    from flows.scope import load_settings
    from settings import SettingsError
    from tasks.errors import MlopsError

    try:
        settings = load_settings(options.settings, options.overrides)
        become = training if options.script == "training" else scoring
        become(settings, options.debugpy)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except MlopsError as error:
        print(error, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
