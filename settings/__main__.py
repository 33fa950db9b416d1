"""python -m settings: check a settings file, or make its schema and reference page anew."""

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 when all is well, 1 when generated files are stale, 2 when the settings are wrong."""
    parser = argparse.ArgumentParser(prog="python -m settings", description="The settings of this repository.")
    commands = parser.add_subparsers(required=True)
    check = commands.add_parser("check", help="report every mistake in a settings file; exit 2 when there is one")
    check.add_argument("path", nargs="?", type=Path, help="default: settings/settings.json")
    check.add_argument("--set", action="append", default=[], dest="overrides", metavar="dotted.key=value")
    check.set_defaults(run=_check)
    schema = commands.add_parser("schema", help="write settings/settings.schema.json and docs/settings.md")
    schema.add_argument("--check", action="store_true", help="write nothing; exit 1 when one of them is stale")
    schema.set_defaults(run=_schema)
    options = parser.parse_args(arguments)
    code: int = options.run(options)
    return code


def _check(options: argparse.Namespace) -> int:
    from settings.files import file_problems
    from settings.loading import SETTINGS_FILE, load
    from settings.problems import SettingsError

    name = options.path or SETTINGS_FILE.relative_to(ROOT)
    try:
        settings = load(options.path, options.overrides)
        if missing := tuple(file_problems(settings)):
            raise SettingsError(missing)
    except SettingsError as error:
        print(error)
        count = len(error.problems)
        print(f"{name}: {count} {'mistake' if count == 1 else 'mistakes'}", file=sys.stderr)
        return 2
    print(f"{name}: ok")
    return 0


def _schema(options: argparse.Namespace) -> int:
    from settings.reference import reference
    from settings.schema import json_schema

    schema = json_schema()
    generated = {
        Path("settings/settings.schema.json"): json.dumps(schema, indent=2) + "\n",
        Path("docs/settings.md"): reference(schema),
    }
    stale = False
    for path, text in generated.items():
        file = ROOT / path
        if file.exists() and file.read_text(encoding="utf-8") == text:
            continue
        stale = True
        if options.check:
            print(f"{path}: is stale; run python -m settings schema", file=sys.stderr)
        else:
            file.write_text(text, encoding="utf-8")
            print(f"{path}: written")
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
