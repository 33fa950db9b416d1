"""Tuning: HyperDrive runs, submitted and read by the SDK. Most scripts log over plain HTTPS, which starts sooner."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import emulator_command, start_emulator

if TYPE_CHECKING:
    from azureml.core import Environment, Experiment, Workspace
    from azureml.train.hyperdrive import HyperDriveRun

pytestmark = pytest.mark.emulator

_TERMINAL = ("Completed", "Failed", "Canceled")

# What run.log sends.
_LOG_METRIC = """
import json, os, ssl, sys, urllib.request, uuid
from datetime import datetime, timezone

def log(*values):
    names = ("SUBSCRIPTION", "RESOURCEGROUP", "WORKSPACE_NAME")
    subscription, group, workspace = (os.environ[f"AZUREML_ARM_{name}"] for name in names)
    address = (
        f"{os.environ['AZUREML_SERVICE_ENDPOINT']}/metric/v2.0/subscriptions/{subscription}/resourceGroups/{group}"
        f"/providers/Microsoft.MachineLearningServices/workspaces/{workspace}/runs/{os.environ['AZUREML_RUN_ID']}/batch"
    )
    now = datetime.now(timezone.utc).isoformat()
    value = [{"metricId": str(uuid.uuid4()), "createdUtc": now, "data": {"auc": value}} for value in values]
    metric = {"name": "auc", "columns": {"auc": "double"}, "value": value}
    body = json.dumps({"values": [{**metric, "properties": {"uxMetricType": "azureml.v1.scalar"}}]}).encode()
    headers = {"Authorization": f"Bearer {os.environ['AZUREML_RUN_TOKEN']}", "Content-Type": "application/json"}
    context = ssl.create_default_context(cafile=os.environ["REQUESTS_CA_BUNDLE"])
    urllib.request.urlopen(urllib.request.Request(address, body, headers), context=context).read()
"""


def until_ended(run: HyperDriveRun) -> str:
    while run.get_status() not in _TERMINAL:
        time.sleep(0.2)
    return str(run.get_status())


def children(run: HyperDriveRun) -> dict[int, Any]:
    """By number."""
    return {int(child.id.rpartition("_")[2]): child for child in run.get_children()}


def warnings_of(run: Any) -> str:
    return " ".join(warning["message"] for warning in run.get_details()["warnings"])


def error_of(run: Any) -> str:
    return str(run.get_details()["error"]["error"]["message"])


@pytest.fixture(scope="module")
def cluster(workspace: Workspace) -> str:
    from azureml.core.compute import AmlCompute, ComputeTarget

    configuration = AmlCompute.provisioning_configuration(vm_size="STANDARD_D2_V2", max_nodes=3)
    return str(ComputeTarget.create(workspace, "three-nodes", configuration).name)


@pytest.fixture
def tune(experiment: Experiment, here: Environment, cluster: str, tmp_path: Path) -> Callable[..., HyperDriveRun]:
    """Tune the text of a script, which finds ``log`` in a module beside it."""
    from azureml.core import ScriptRunConfig
    from azureml.train.hyperdrive import HyperDriveConfig, PrimaryMetricGoal

    source = tmp_path / "source"
    source.mkdir()
    (source / "metric.py").write_text(_LOG_METRIC)

    def tune(text: str, sampling: Any, **options: Any) -> HyperDriveRun:
        (source / "train.py").write_text(textwrap.dedent(text))
        script = ScriptRunConfig(str(source), script="train.py", compute_target=cluster, environment=here)
        given = {
            "hyperparameter_sampling": sampling,
            "primary_metric_name": "auc",
            "primary_metric_goal": PrimaryMetricGoal.MAXIMIZE,
            "max_total_runs": 4,
            **options,
        }
        return experiment.submit(HyperDriveConfig(run_config=script, **given), tags={"team": "risk"})

    return tune


def test_random_sampling_with_a_script_that_logs_by_the_sdk(tune: Callable[..., HyperDriveRun]) -> None:
    from azureml.core import Run
    from azureml.train.hyperdrive import HyperDriveRun, PrimaryMetricGoal, RandomParameterSampling, choice, uniform

    run = tune(
        """
        import argparse
        from azureml.core import Run
        parser = argparse.ArgumentParser()
        parser.add_argument("--alpha", type=float)
        parser.add_argument("--kernel")
        arguments = parser.parse_args()
        assert arguments.kernel in ("rbf", "linear")
        run = Run.get_context(allow_offline=False)
        for step in range(3):
            run.log("mse", arguments.alpha + 2 - step)
        """,
        RandomParameterSampling({"--alpha": uniform(0.05, 1), "kernel": choice("rbf", "linear")}),
        primary_metric_name="mse",
        primary_metric_goal=PrimaryMetricGoal.MINIMIZE,
        max_total_runs=3,
        custom_run_id=f"tuning_{time.time_ns()}",
    )
    assert until_ended(run) == "Completed"
    assert run.get_tags()["team"] == "risk"
    assert sorted(children(run)) == [0, 1, 2]

    read_again = Run.get(run.experiment.workspace, run.id)
    assert isinstance(read_again, HyperDriveRun)
    hyperparameters = {run_id: json.loads(text) for run_id, text in read_again.get_hyperparameters().items()}
    assert set(hyperparameters) == {f"{run.id}_{number}" for number in range(3)}
    assert all(0.05 <= values["--alpha"] <= 1 for values in hyperparameters.values())
    metrics = run.get_metrics()
    for run_id, values in hyperparameters.items():
        assert metrics[run_id]["mse"] == pytest.approx(
            [values["--alpha"] + 2, values["--alpha"] + 1, values["--alpha"]]
        )

    best = min(hyperparameters, key=lambda run_id: hyperparameters[run_id]["--alpha"])
    assert read_again.get_best_run_by_primary_metric().id == best
    ranked = read_again.get_children_sorted_by_primary_metric()
    assert ranked[0]["run_id"] == best
    assert ranked[0]["best_primary_metric"] == pytest.approx(hyperparameters[best]["--alpha"])
    definition = Run.get(run.experiment.workspace, best).get_details()["runDefinition"]
    values = hyperparameters[best]
    assert definition["arguments"] == ["--alpha", repr(values["--alpha"]), "--kernel", values["kernel"]]
    table = run._client.get_metrics()["best_child_by_primary_metric"]
    last = {name: column[-1] if isinstance(column, list) else column for name, column in table.items()}
    assert (last["run_id"], last["final"]) == (best, True)
    log = read_again.get_details_with_logs()["logFiles"]["azureml-logs/hyperdrive.txt"]
    assert f"Scheduled {run.id}_2" in log
    assert "The tuning ends as Completed" in log


def test_a_grid_has_each_point_once_and_no_more_children_at_a_time_than_allowed(
    tune: Callable[..., HyperDriveRun], tmp_path: Path
) -> None:
    from azureml.train.hyperdrive import GridParameterSampling, choice

    # A child goes on when there was another one beside it: two at a time are needed, and no more are allowed.
    run = tune(
        f"""
        import os, pathlib, time
        here = pathlib.Path({str(tmp_path)!r})
        (here / f"{{os.environ['AZUREML_RUN_ID']}}.started").touch()
        while len(list(here.glob("*.started"))) < 2:
            time.sleep(0.05)
        """,
        GridParameterSampling({"--a": choice(1, 2), "--b": choice("x", "y")}),
        max_total_runs=10,
        max_concurrent_runs=2,
    )
    assert until_ended(run) == "Completed"
    points = [json.loads(text) for text in run.get_hyperparameters().values()]
    assert sorted((point["--a"], point["--b"]) for point in points) == [(1, "x"), (1, "y"), (2, "x"), (2, "y")]
    spans = [
        (child["startTimeUtc"], child["endTimeUtc"]) for child in (c.get_details() for c in children(run).values())
    ]
    assert max(sum(start <= moment < end for start, end in spans) for moment, _ in spans) == 2
    assert run.get_best_run_by_primary_metric() is None


def test_bayesian_sampling(tune: Callable[..., HyperDriveRun]) -> None:
    from azureml.train.hyperdrive import BayesianParameterSampling, choice, quniform, uniform

    run = tune(
        """
        import sys
        from metric import log
        log(float(sys.argv[sys.argv.index("--x") + 1]))
        """,
        BayesianParameterSampling({"--x": uniform(0, 1), "--k": choice(1, 2), "--n": quniform(10, 50, 10)}),
        max_total_runs=3,
        max_concurrent_runs=1,
    )
    assert until_ended(run) == "Completed"
    points = [json.loads(text) for text in run.get_hyperparameters().values()]
    assert len(points) == 3
    assert all(point["--n"] in (10, 20, 30, 40, 50) and point["--k"] in (1, 2) for point in points)
    best = json.loads(run.get_hyperparameters()[run.get_best_run_by_primary_metric().id])
    assert best["--x"] == max(point["--x"] for point in points)


@pytest.mark.parametrize(
    ("policy", "options", "reason"),
    [
        ("BanditPolicy", {"slack_factor": 0.5}, "its best value 0.1 is outside the slack factor 0.5"),
        ("BanditPolicy", {"slack_amount": 0.5, "evaluation_interval": 2}, "is outside the slack amount 0.5"),
        ("MedianStoppingPolicy", {"delay_evaluation": 3}, "its best value 0.1 is worse than the median 0.5"),
        ("TruncationSelectionPolicy", {"truncation_percentage": 50}, "is among the worst 50 % of 2 runs"),
    ],
)
def test_a_policy_ends_the_child_that_does_badly(
    tune: Callable[..., HyperDriveRun], policy: str, options: dict[str, Any], reason: str
) -> None:
    from azureml.train import hyperdrive

    run = tune(
        """
        import sys, time
        from metric import log
        if "good" in sys.argv:
            log(*[0.9] * 1000)
        else:
            for _ in range(600):
                log(0.1)
                time.sleep(0.1)
        """,
        hyperdrive.GridParameterSampling({"--kind": hyperdrive.choice("good", "bad")}),
        policy=getattr(hyperdrive, policy)(**options),
    )
    assert until_ended(run) == "Completed"
    good, bad = children(run)[0], children(run)[1]
    assert (good.get_status(), bad.get_status()) == ("Completed", "Canceled")
    assert reason in warnings_of(bad)
    assert run.get_best_run_by_primary_metric().id == good.id
    logged = len(run.get_metrics()[bad.id]["auc"]) if isinstance(run.get_metrics()[bad.id]["auc"], list) else 1
    assert options.get("delay_evaluation", options.get("evaluation_interval", 1)) <= logged < 600


def test_cancelling_a_tuning_cancels_its_children(tune: Callable[..., HyperDriveRun]) -> None:
    from azureml.train.hyperdrive import RandomParameterSampling, uniform

    run = tune("import time; time.sleep(600)", RandomParameterSampling({"--x": uniform(0, 1)}), max_concurrent_runs=2)
    while [child.get_status() for child in run.get_children()] != ["Running"] * 2:
        time.sleep(0.2)
    run.cancel()
    assert until_ended(run) == "Canceled"
    assert [child.get_status() for child in run.get_children()] == ["Canceled"] * 2
    assert "The tuning was cancelled" in warnings_of(run)


def test_a_tuning_that_takes_too_long_is_canceled_with_its_children_and_says_so(
    tune: Callable[..., HyperDriveRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    from azureml.train.hyperdrive import RandomParameterSampling, uniform
    from azureml.train.restclients.hyperdrive.models import CreateExperimentDto

    # The SDK knows whole minutes only.
    monkeypatch.setitem(CreateExperimentDto._attribute_map["max_duration_minutes"], "type", "float")
    script = "import time; time.sleep(600)"
    run = tune(script, RandomParameterSampling({"--x": uniform(0, 1)}), max_total_runs=1, max_duration_minutes=0.03)
    assert until_ended(run) == "Canceled"
    assert [child.get_status() for child in run.get_children()] == ["Canceled"]
    assert "longer than its max_duration_minutes of 0.03" in warnings_of(run)


def test_a_tuning_whose_first_three_children_fail_ends_with_their_reason(tune: Callable[..., HyperDriveRun]) -> None:
    from azureml.train.hyperdrive import RandomParameterSampling, uniform

    sampling = RandomParameterSampling({"--x": uniform(0, 1)})
    run = tune("raise SystemExit('no data')", sampling, max_total_runs=9, max_concurrent_runs=1)
    assert until_ended(run) == "Failed"
    assert len(children(run)) == 3
    assert "The first 3 children have failed" in error_of(run)
    assert "ended with exit code 1" in error_of(run)
    few = tune("raise SystemExit('no data')", sampling, max_total_runs=1)
    assert until_ended(few) == "Failed"
    assert "All 1 children have failed" in error_of(few)


def test_a_child_that_fails_does_not_end_the_others(tune: Callable[..., HyperDriveRun]) -> None:
    from azureml.train.hyperdrive import GridParameterSampling, choice

    run = tune("import sys; sys.exit(int(sys.argv[-1]))", GridParameterSampling({"--code": choice(0, 1)}))
    assert until_ended(run) == "Completed"
    assert {number: child.get_status() for number, child in children(run).items()} == {0: "Completed", 1: "Failed"}


def test_what_the_service_refuses_leaves_no_run(tune: Callable[..., HyperDriveRun], experiment: Experiment) -> None:
    from azureml.exceptions import TrainingException
    from azureml.train import hyperdrive

    uniform = {"--x": hyperdrive.uniform(0, 1)}
    refused: list[tuple[Any, dict[str, Any], str]] = [
        (
            hyperdrive.BayesianParameterSampling(uniform),
            {"policy": hyperdrive.MedianStoppingPolicy()},
            "Bayesian sampling does not support early termination",
        ),
        (hyperdrive.RandomParameterSampling({}), {}, "The parameter space is empty"),
        (hyperdrive.RandomParameterSampling({"--x": ["unifrom", [0, 1]]}), {}, "'unifrom' of hyperparameter '--x'"),
        (hyperdrive.RandomParameterSampling(uniform), {"max_concurrent_runs": 5}, "must be at most max_total_jobs"),
        (hyperdrive.RandomParameterSampling(uniform), {"max_total_runs": 1001}, "max_total_jobs"),
        (hyperdrive.RandomParameterSampling(uniform, properties={"rule": "sobol"}), {}, "rule of random sampling"),
    ]
    for sampling, options, reason in refused:
        with pytest.raises(TrainingException, match=reason):
            tune("pass", sampling, **options)
    assert list(experiment.get_runs()) == []


_TUNE = """
import os, sys, time
from azureml.core import Environment, Experiment, Run, ScriptRunConfig, Workspace
from azureml.core.compute import AmlCompute, ComputeTarget
from azureml.train.hyperdrive import *
workspace = Workspace.get(
    os.environ["WORKSPACE_NAME"],
    subscription_id=os.environ["SUBSCRIPTION_ID"],
    resource_group=os.environ["RESOURCE_GROUP"],
)
"""
_SUBMIT = """
configuration = AmlCompute.provisioning_configuration(vm_size="STANDARD_D2_V2", max_nodes=1)
ComputeTarget.create(workspace, "one-node", configuration)
environment = Environment("here")
environment.python.user_managed_dependencies = True
environment.python.interpreter_path = sys.executable
script = ScriptRunConfig(".", "train.py", compute_target="one-node", environment=environment)
sampling = GridParameterSampling({"--number": choice(0, 1, 2, 3)})
goal = PrimaryMetricGoal.MINIMIZE
options = {"max_total_runs": 4, "max_concurrent_runs": 2, "custom_run_id": "tuning"}
run = Experiment(workspace, "restart").submit(HyperDriveConfig(sampling, "mse", goal, run_config=script, **options))
while [child.get_status() for child in sorted(run.get_children(), key=lambda child: child.id)][1:2] != ["Running"]:
    time.sleep(0.1)
"""
_READ = """
run = Run.get(workspace, "tuning")
while run.get_status() not in ("Completed", "Failed", "Canceled"):
    time.sleep(0.1)
print(run.get_status(), [child.get_status() for child in sorted(run.get_children(), key=lambda child: child.id)])
"""


def test_a_tuning_goes_on_after_a_restart_with_what_has_ended_kept(own_state: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    # The second child runs, and the third waits for its node, until the emulator is stopped.
    (source / "train.py").write_text("import sys, time; time.sleep(600 if sys.argv[-1] == '1' else 0)")

    def script(text: str) -> str:
        environment = {**os.environ, **start_emulator(own_state).environment, "HOME": str(tmp_path)}
        command = [sys.executable, "-c", _TUNE + text]
        return subprocess.run(
            command, cwd=source, env=environment, stdout=subprocess.PIPE, text=True, check=True
        ).stdout

    script(_SUBMIT)
    emulator_command("stop", "--state-dir", str(own_state))
    assert script(_READ) == "Completed ['Completed', 'Failed', 'Completed', 'Completed']\n"
