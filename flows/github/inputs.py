"""The inputs of a workflow that is started by hand, as options of a run.

python -m flows.github.inputs parameters    for ``prefect deployment run --params``
python -m flows.github.inputs arguments     for ``python -m flows.main``, one to a line

The inputs come in the environment, as OVERRIDES, SETTINGS_FILE and COMPARE_ONLY, and never as text of a script:
https://docs.github.com/en/actions/reference/security/secure-use#use-an-intermediate-environment-variable
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Mapping

from pydantic import ValidationError

from flows.options import RunOptions


class InputError(ValueError):
    """An input of the workflow is wrong; ``str()`` says which, and what to write instead."""


def run_options(environment: Mapping[str, str]) -> RunOptions:
    """The options that the inputs stand for; an input that is empty, as on a push, is the default.

    Raises:
        InputError: the overrides are not ``dotted.key=value``, or a quotation mark is not closed.
    """
    overrides = environment.get("OVERRIDES", "")
    try:
        return RunOptions.model_validate(
            {
                "overrides": shlex.split(overrides),
                "settings_file": environment.get("SETTINGS_FILE") or None,
                "stop_before": "registration" if environment.get("COMPARE_ONLY") == "true" else "nothing",
            }
        )
    except ValidationError as error:
        wrong = ", ".join(str(detail["input"]) for detail in error.errors(include_url=False))
        raise InputError(f"The input overrides has {wrong}: write each as dotted.key=value.") from error
    except ValueError as error:
        raise InputError(f"The input overrides cannot be read ({error}): quote values as in a shell.") from error


def parameters(options: RunOptions) -> str:
    """The flow's parameters as JSON. Its quotes keep texts texts, a commit that is all digits, for example."""
    return json.dumps({"options": options.model_dump(mode="json", exclude_defaults=True)})


def arguments(options: RunOptions) -> list[str]:
    """The arguments of ``python -m flows.main`` that mean the same."""
    words = [word for override in options.overrides for word in ("--set", override)]
    if options.settings_file is not None:
        words += ["--settings", str(options.settings_file)]
    if options.stop_before != "nothing":
        words += ["--stop-before", options.stop_before]
    return words


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m flows.github.inputs", description="The inputs of a workflow.")
    parser.add_argument("form", choices=("parameters", "arguments"))
    form = parser.parse_args().form
    try:
        options = run_options(os.environ)
    except InputError as error:
        print(f"::error::{error}", file=sys.stderr)
        return 2
    for line in [parameters(options)] if form == "parameters" else arguments(options):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
