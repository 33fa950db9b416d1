"""What Prefect adds to a run: the flow beside the same functions, called without it.

    python -m benchmarks.prefect_overhead [--repeat N]

Both run in turns, each time in a process of its own, of which the imports do not count; the emulator and the Prefect
server are up, in a checkout of their own. Prints a table of medians; benchmarks/README.md says what is in it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.promotion import PARTS, REPOSITORY

HIGHEST_ALPHA = 0.5
STEP = 0.01  # each model is a little better than the one before, so that each run promotes

# Runs where the flow can be imported from. With "plain" every task is its function, started beside the others in a
# thread; and there is neither a turn to wait for, nor anybody to publish artifacts to or to ask who started the run.
_RUN = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
import flows.prefect_server
if sys.argv[1] == "flow":
    flows.prefect_server.use()  # before Prefect is imported
import azureml.core
import flows.main, flows.road
from flows.command_line import without_heartbeats
from flows.lineage import lineage
from flows.options import RunOptions
from tasks.operation import is_lasting
from tasks.progress import listening

class Plain(flows.road.Steps):
    pool = ThreadPoolExecutor()
    def run(self, name, task, *args, **kwargs):
        with self._console.step(name, lasting=is_lasting(task)) as step, listening(step.detail, step.show, None):
            return task.fn(*args, **kwargs)
    def start(self, name, task, *args, **kwargs):
        future = self.pool.submit(task.fn, *args, **kwargs)
        future.wait = lambda: future.exception()
        self._started.append(future)
        return future
    def skip(self, names, reason):
        pass

options = RunOptions(overrides=sys.argv[2:])
flow = flows.main.train_and_promote
if sys.argv[1] == "plain":
    flows.road.Steps = Plain
    flows.road.publish = lambda *_: None
    flows.main.turn_to_release = lambda _: nullcontext()
    flows.main.lineage_of = lambda settings, data: lineage(settings, data, "nobody", "none")
    flow = flow.fn
with without_heartbeats():
    started = time.monotonic()
    state = flow(options) if sys.argv[1] == "plain" else flow(options, return_state=True)
print("took", time.monotonic() - started, state.name, file=sys.stderr)
"""


def _seconds(directory: Path, environment: dict[str, str], how: str, alpha: float, outcome: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", _RUN, how, f"experiment.script_parameters.--alpha={alpha:.2f}"],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    told = [line.split() for line in done.stderr.splitlines() if line.startswith("took ")]
    if not told or told[0][2] != outcome:
        raise SystemExit(f"{how}, alpha {alpha:.2f}: expected {outcome}\n{done.stdout}{done.stderr}")
    return float(told[0][1])


def _row(what: str, flow: Sequence[float], plain: Sequence[float]) -> str:
    with_prefect, without = statistics.median(flow), statistics.median(plain)
    return f"| {what} | {with_prefect:.2f} | {without:.2f} | {with_prefect - without:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.prefect_overhead", description="Time what Prefect adds."
    )
    parser.add_argument("--repeat", type=int, default=5, choices=range(1, 21), metavar="N", help="of each kind")
    repeat = parser.parse_args().repeat
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "AZUREML_"))}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for part in PARTS:
            shutil.copytree(REPOSITORY / part, directory / part, ignore=shutil.ignore_patterns("__pycache__"))

        def command(*arguments: str) -> None:
            subprocess.run([sys.executable, "-m", *arguments], cwd=directory, env=environment, check=True)

        times: dict[tuple[str, str], list[float]] = {}
        alpha = HIGHEST_ALPHA
        try:
            command("flows.main", "--set", f"experiment.script_parameters.--alpha={alpha}")  # builds the environments
            for _ in range(repeat):
                for how in ("flow", "plain"):
                    alpha -= STEP
                    for what, outcome in (("promotes", "Promoted"), ("cached", "NotPromoted")):
                        seconds = _seconds(directory, environment, how, alpha, outcome)
                        times.setdefault((what, how), []).append(seconds)
        finally:
            command("flows.prefect_server", "stop")
            command("emulator", "stop")
    print("\n| a run | the flow, seconds | its functions alone | what Prefect adds |\n|---|---|---|---|")
    print(_row("that promotes", times["promotes", "flow"], times["promotes", "plain"]))
    print(_row("in which everything is cached", times["cached", "flow"], times["cached", "plain"]))


if __name__ == "__main__":
    main()
