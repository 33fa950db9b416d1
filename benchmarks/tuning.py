"""How long a tuning takes beside its trials: n trials of a 1-second script, c at a time, and others on the same script.

    python -m benchmarks.tuning [--trials N] [--concurrency C] [--repeat R]

Works with an emulator of its own, and ends it. Optuna runs the script as a subprocess with n_jobs=c; so does Ray Tune,
which is installed for the occasion into a temporary environment. What is in the table is described in
benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

SCRIPT_SECONDS = 1.0

RAY = "ray[tune]>=2.40,<3"

SCRIPT = f"""
import sys, time
time.sleep({SCRIPT_SECONDS})
print("alpha", sys.argv[-1])
"""

EMULATOR = """
import json, os, sys, time
from azureml.core import Environment, Experiment, ScriptRunConfig, Workspace
from azureml.core.compute import AmlCompute, ComputeTarget
from azureml.train.hyperdrive import HyperDriveConfig, PrimaryMetricGoal, RandomParameterSampling, uniform

trials, concurrency, source = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
workspace = Workspace.get(
    os.environ["WORKSPACE_NAME"],
    subscription_id=os.environ["SUBSCRIPTION_ID"],
    resource_group=os.environ["RESOURCE_GROUP"],
)
nodes = AmlCompute.provisioning_configuration(vm_size="STANDARD_D2_V2", max_nodes=concurrency)
ComputeTarget.create(workspace, "tuning", nodes)
environment = Environment("here")
environment.python.user_managed_dependencies = True
environment.python.interpreter_path = sys.executable
script = ScriptRunConfig(source, "trial.py", compute_target="tuning", environment=environment)

def tune(trials):
    config = HyperDriveConfig(
        run_config=script,
        hyperparameter_sampling=RandomParameterSampling({"--alpha": uniform(0, 1)}),
        primary_metric_name="mse",
        primary_metric_goal=PrimaryMetricGoal.MINIMIZE,
        max_total_runs=trials,
        max_concurrent_runs=min(trials, concurrency),
    )
    started = time.monotonic()
    run = Experiment(workspace, "tuning").submit(config)
    while run.get_status() not in ("Completed", "Failed", "Canceled"):
        time.sleep(0.05)
    taken = time.monotonic() - started
    assert run.get_status() == "Completed" and len(list(run.get_children())) == trials, run.get_details()
    return taken

print(json.dumps({"one": tune(1), "all": tune(trials)}))
"""

OPTUNA = """
import json, subprocess, sys, time
import optuna

optuna.logging.set_verbosity(optuna.logging.WARNING)
trials, concurrency, source = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]

def objective(trial):
    alpha = trial.suggest_float("alpha", 0, 1)
    subprocess.run([sys.executable, f"{source}/trial.py", "--alpha", str(alpha)], check=True, capture_output=True)
    return alpha

def tune(trials):
    started = time.monotonic()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, n_trials=trials, n_jobs=min(trials, concurrency))
    return time.monotonic() - started

print(json.dumps({"one": tune(1), "all": tune(trials)}))
"""

RAY_TUNE = """
import json, os, subprocess, sys, time

os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
from ray import init, tune

trials, concurrency, source = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]

def objective(config):
    command = [sys.executable, f"{source}/trial.py", "--alpha", str(config["alpha"])]
    subprocess.run(command, check=True, capture_output=True)
    return {"mse": config["alpha"]}

def run(trials):
    started = time.monotonic()
    config = tune.TuneConfig(num_samples=trials, max_concurrent_trials=min(trials, concurrency), reuse_actors=True)
    results = tune.Tuner(objective, param_space={"alpha": tune.uniform(0, 1)}, tune_config=config).fit()
    assert len(results) == trials and not results.errors
    return time.monotonic() - started

started = time.monotonic()
init(num_cpus=concurrency, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
up = time.monotonic() - started
print(json.dumps({"one": run(1), "all": run(trials), "up": up}))
"""


def _measure(
    python: str, program: str, trials: int, concurrency: int, source: Path, environment: dict[str, str]
) -> dict[str, float]:
    arguments = [python, "-c", program, str(trials), str(concurrency), str(source)]
    done = subprocess.run(arguments, env=environment, cwd=source, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"a measurement failed:\n{done.stdout}{done.stderr}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _emulator(*arguments: str) -> str:
    command = [sys.executable, "-m", "emulator", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _ray(directory: Path) -> str | None:
    """The interpreter of an environment with Ray Tune; ``None``, and a word about it, when there is none for us."""
    uv = [sys.executable, "-m", "uv"]
    made = [[*uv, "venv", "--quiet", "--python", sys.executable, str(directory)]]
    made.append([*uv, "pip", "install", "--quiet", "--python", str(directory / "bin" / "python"), RAY])
    for command in made:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            reason = " ".join(done.stderr.split()[:40])
            print(f"Ray Tune is left out, it cannot be installed here: {reason}", file=sys.stderr)
            return None
    return str(directory / "bin" / "python")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tuning", description="Time tunings of a short script.")
    parser.add_argument("--trials", type=int, default=20, metavar="N")
    parser.add_argument("--concurrency", type=int, default=4, metavar="C")
    parser.add_argument("--repeat", type=int, default=3, metavar="R", help="medians of so many")
    given = parser.parse_args()
    trials, concurrency = given.trials, given.concurrency
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("AZURE", "PREFECT_", "ARM_"))}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        source = directory / "source"
        source.mkdir()
        (source / "trial.py").write_text(textwrap.dedent(SCRIPT))
        state = str(directory / "state")
        ray = _ray(directory / "ray")
        _emulator("start", "--state-dir", state)
        try:
            client = {**ours, **json.loads(_emulator("env", "--json", "--state-dir", state)), "HOME": str(directory)}
            programs = {"this emulator": (sys.executable, EMULATOR, client), "Optuna": (sys.executable, OPTUNA, ours)}
            if ray is not None:
                programs["Ray Tune"] = (ray, RAY_TUNE, {**ours, "RAY_USAGE_STATS_ENABLED": "0"})
            # In turns, so that what else the machine does falls on all of them.
            figures: dict[str, list[dict[str, float]]] = {who: [] for who in programs}
            for _ in range(given.repeat):
                for who, (python, program, environment) in programs.items():
                    figures[who].append(_measure(python, program, trials, concurrency, source, environment))
        finally:
            _emulator("stop", "--state-dir", state)
    ideal = trials / concurrency * SCRIPT_SECONDS
    print(f"\n{trials} trials of {SCRIPT_SECONDS:g} s, {concurrency} at a time (medians of {given.repeat})\n")
    print("| who | 1 trial, s | all trials, s | over n/c, times | once to start, s |\n|---|---|---|---|---|")
    for who, measured in figures.items():
        one, all_of_them = (statistics.median(each[key] for each in measured) for key in ("one", "all"))
        up = statistics.median(each.get("up", 0.0) for each in measured)
        start = max(0.0, one - SCRIPT_SECONDS)
        print(f"| {who} | {one:.2f} | {all_of_them:.2f} | {(all_of_them - start) / ideal:.2f} | {up:.2f} |")


if __name__ == "__main__":
    main()
