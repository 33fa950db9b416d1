"""Where the time of a run goes: one that promotes and one that does not, environments built before.

    python -m benchmarks.promotion [--runs N]

Works in a checkout and with an emulator and a Prefect server of its own, and ends them. Prints a table of medians; what
is in it is described in benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
PARTS = ("code", "emulator", "flows", "settings", "tasks")
# What a promoting run imports of Prefect and the SDK, its dataset runtime included.
IMPORTS = "prefect, azureml.core, azureml.core.model, azureml.core.webservice, azureml.data, azureml.dataprep"
ALPHAS = (0.5, 0.4, 0.35, 0.3, 0.25)  # each a little better than the one before, so that every run of them promotes


def _command(directory: Path, environment: dict[str, str], *arguments: str) -> float:
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
    return time.monotonic() - started


def _import_seconds(module: str) -> float:
    """Seconds that a fresh interpreter needs for an import, above its own start and without its end."""

    def run(code: str) -> float:
        started = time.monotonic()
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        return time.monotonic() - started

    # As flows.main does it: garbage is collected seldom, and not once more at the end.
    return run(f"import gc; gc.set_threshold(50_000, 20, 20); import {module}; gc.freeze()") - run("pass")


def _replica_seconds(log: str) -> float:
    """Seconds during which at least one replica was starting, by what the emulator has logged."""
    starts = []
    for time_of_day, seconds in re.findall(r"^\S+ (\S+) INFO .* ready after (\d+\.\d+) s$", log, re.MULTILINE):
        end = datetime.strptime(time_of_day, "%H:%M:%S,%f").replace(tzinfo=timezone.utc).timestamp()
        starts.append((end - float(seconds), end))
    total, until = 0.0, -math.inf
    for begin, end in sorted(starts):
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return total


def _training_seconds(emulator_state: Path, run_id: str) -> float:
    """Seconds that the training script itself took, from start to end of the run."""
    import sqlite3

    with sqlite3.connect(emulator_state / "state.db") as database:
        row = database.execute("SELECT body FROM records WHERE collection = 'runs' AND key = ?", (run_id,)).fetchone()
    run = json.loads(row[0])
    start, end = (datetime.fromisoformat(run[name]) for name in ("startTimeUtc", "endTimeUtc"))
    return (end - start).total_seconds()


def _measure(directory: Path, environment: dict[str, str], alpha: float, fresh: bool = True) -> dict[str, float]:
    log = directory / ".emulator" / "emulator.log"
    before = log.stat().st_size if log.exists() else 0
    parameter = f"experiment.script_parameters.--alpha={alpha}"
    wall = _command(directory, environment, "flows.main", *(["--fresh"] if fresh else []), "--set", parameter)
    report: dict[str, Any] = json.loads((directory / "reports" / "latest" / "report.json").read_text())
    with log.open() as file:
        file.seek(before)
        replicas = _replica_seconds(file.read())
    found = "training (cached)" in report["timings"]
    figures = {
        "whole command": wall,
        "training script": 0.0 if found else _training_seconds(directory / ".emulator", report["run"]["id"]),
        "replicas starting": replicas,
        **{f"step: {name}": seconds for name, seconds in report["timings"].items()},
    }
    print(f"alpha {alpha}: {report['outcome']} in {wall:.1f} s", file=sys.stderr)
    return figures


def _table(title: str, runs: list[dict[str, float]], imports: float) -> None:
    names = list(runs[0])
    medians = {name: statistics.median(run[name] for run in runs) for name in names}
    rest = medians["whole command"] - medians["training script"] - medians["replicas starting"] - imports
    print(f"\n{title} (median of {len(runs)})\n")
    print("| what | seconds |\n|---|---|")
    for name, seconds in {**medians, "import of Prefect and the SDK": imports, "all the rest": rest}.items():
        print(f"| {name} | {seconds:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.promotion", description="Time whole runs of the flow.")
    parser.add_argument("--runs", type=int, default=3, choices=range(1, len(ALPHAS)), metavar="N", help="of each kind")
    runs = parser.parse_args().runs
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "AZUREML_"))}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for part in PARTS:
            shutil.copytree(REPOSITORY / part, directory / part, ignore=shutil.ignore_patterns("__pycache__"))
        try:
            _measure(directory, environment, ALPHAS[0])  # builds the environments
            promoting = [_measure(directory, environment, alpha) for alpha in ALPHAS[1 : runs + 1]]
            staying = [_measure(directory, environment, 10) for _ in range(runs)]
            found = [_measure(directory, environment, 10, fresh=False) for _ in range(runs + 1)][1:]
            imports = statistics.median(_import_seconds(IMPORTS) for _ in range(3))
        finally:
            _command(directory, environment, "flows.prefect_server", "stop")
            _command(directory, environment, "emulator", "stop")
    _table("A run that promotes", promoting, imports)
    _table("A run that does not promote", staying, imports)
    _table("A run whose training is found again", found, imports)


if __name__ == "__main__":
    main()
