"""``python -m flows.service_key STAGE``: the key of a stage's service, for a curl line to read when it runs."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from flows.terminal import quiet, terminal


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m flows.service_key", description="Print what a caller of a service puts after 'Bearer'."
    )
    parser.add_argument("stage", choices=("dev", "test", "prod"))
    parser.add_argument("--settings", type=Path, metavar="PATH", help="the settings (default: settings/settings.json)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="one setting")
    options = parser.parse_args()
    from settings import SettingsError, load
    from settings.workspace import resolve_workspace

    try:
        settings = load(options.settings, options.overrides)
        target = resolve_workspace(settings.workspace, os.environ)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    from tasks.errors import MlopsError

    try:
        with quiet(Path(os.devnull)):
            from tasks.deployment import service_name
            from tasks.endpoint_tests import read_key

            print(read_key(target, service_name(settings.deployment, options.stage)), file=terminal())
    except MlopsError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
