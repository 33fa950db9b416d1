"""Runs: submitted to a compute target or logged interactively, through the SDK."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.conftest import RunningEmulator, emulator_command, start_emulator
from tests.emulator.submitting import log_of, until

if TYPE_CHECKING:
    from azureml.core import Experiment, Run, Workspace

pytestmark = pytest.mark.emulator


def _is_alive(pid: int) -> bool:
    # Not every first process of a container reaps the orphans of others.
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # an interactive run makes ./logs and ./outputs


def test_a_submitted_script_runs_and_leaves_metrics_tags_outputs_and_its_log(submit: Callable[..., Run]) -> None:
    run = submit(
        """
        import argparse, pathlib
        from azureml.core import Run
        parser = argparse.ArgumentParser()
        parser.add_argument("--alpha", type=float)
        alpha = parser.parse_args().alpha
        run = Run.get_context(allow_offline=False)
        print("training", run.id)
        run.log("alpha", alpha)
        run.tag("stage", "trained")
        pathlib.Path("outputs/deep").mkdir(parents=True)
        pathlib.Path("outputs/deep/model.pkl").write_text("weights")
        pathlib.Path("logs").mkdir(exist_ok=True)
        pathlib.Path("logs/own.log").write_text("noted")
        """,
        arguments=["--alpha", 0.25],
    )
    assert until(run) == "Completed"
    assert run.get_metrics() == {"alpha": 0.25}
    assert run.get_tags() == {"stage": "trained"}
    assert set(run.get_file_names()) == {"outputs/deep/model.pkl", "logs/own.log", "user_logs/std_log.txt"}
    assert f"training {run.id}" in log_of(run)
    details = run.get_details()
    assert details["startTimeUtc"] < details["endTimeUtc"]
    assert details["target"] == "one-node"
    assert details["runDefinition"]["arguments"] == ["--alpha", 0.25]
    assert run.get_environment().python.interpreter_path == sys.executable


def test_a_script_that_raises_fails_the_run_with_its_own_traceback_and_keeps_its_metrics(
    submit: Callable[..., Run],
) -> None:
    from azureml.exceptions import ActivityFailedException

    run = submit(
        """
        from azureml.core import Run
        Run.get_context(allow_offline=False).log("seen", 1)
        def train():
            raise ValueError("no data")
        train()
        """
    )
    with pytest.raises(ActivityFailedException, match="ValueError: no data"):
        run.wait_for_completion()
    assert run.get_metrics() == {"seen": 1}
    traceback = log_of(run)[log_of(run).index("Traceback") :].splitlines()
    assert [line.split(",")[0].strip() for line in traceback if "File" in line] == ['File "train.py"'] * 2
    assert "exit code 1" in run.get_details()["error"]["error"]["message"]


def test_the_exit_code_of_a_script_decides(submit: Callable[..., Run]) -> None:
    assert until(submit("import sys; sys.exit(0)")) == "Completed"
    failed = submit("import sys; sys.exit(3)")
    assert until(failed) == "Failed"
    assert "exit code 3" in failed.get_details()["error"]["error"]["message"]


def test_waiting_with_output_streams_the_log(submit: Callable[..., Run], capsys: pytest.CaptureFixture[str]) -> None:
    run = submit("import time; print('begin'); time.sleep(3); print('end')")
    run.wait_for_completion(show_output=True)
    streamed = capsys.readouterr().out
    assert "Streaming user_logs/std_log.txt" in streamed
    assert streamed.index("begin") < streamed.index("end") < streamed.index("Execution Summary")


def test_the_log_can_be_read_while_the_run_goes_on(submit: Callable[..., Run]) -> None:
    run = submit("import time; print('begin'); time.sleep(600)")
    until(run, "Running")
    while "begin" not in log_of(run):
        time.sleep(0.2)
    assert run.get_status() == "Running"
    run.cancel()
    assert until(run) == "Canceled"


def test_a_script_sees_its_variables_its_directory_and_its_interpreter_and_no_secret_of_the_emulator(
    submit: Callable[..., Run], emulator: RunningEmulator
) -> None:
    run = submit(
        """
        import os, pathlib, shutil, sys
        print("variable", os.environ["EXAMPLE_ENV_VAR"])
        print("here", sorted(path.name for path in pathlib.Path().iterdir()))
        print("python", shutil.which("python"))
        print("argv", sys.argv, __name__, pathlib.Path(__file__).name)
        print(sorted(os.environ.values()))
        """
    )
    assert until(run) == "Completed", log_of(run)
    log = log_of(run)
    assert "variable EXAMPLE_VALUE" in log
    assert "here ['train.py']" in log
    assert f"python {Path(sys.executable).parent / 'python'}" in log
    assert "argv ['train.py'] __main__ train.py" in log
    assert emulator.environment["AZURE_CLIENT_SECRET"] not in log


def test_a_command_runs_instead_of_a_script(submit: Callable[..., Run]) -> None:
    run = submit(command=["echo", "first", "&&", "echo", "$EXAMPLE_ENV_VAR"])
    assert until(run) == "Completed"
    assert log_of(run).splitlines() == ["first", "EXAMPLE_VALUE"]


def test_only_what_has_changed_makes_a_new_snapshot_and_it_can_be_restored(
    submit: Callable[..., Run], tmp_path: Path
) -> None:
    (tmp_path / "source" / "package").mkdir()
    (tmp_path / "source" / "package" / "data.txt").write_text("kept")
    first = submit("print('one')")
    again = submit("print('one')")
    changed = submit("print('two', open('package/data.txt').read())")
    assert first.get_snapshot_id() == again.get_snapshot_id() != changed.get_snapshot_id()
    assert until(changed) == "Completed"
    assert "two kept" in log_of(changed)
    with zipfile.ZipFile(changed.restore_snapshot(path=str(tmp_path))) as archive:
        assert sorted(archive.namelist()) == ["package/data.txt", "train.py"]


def test_one_node_carries_out_one_run_at_a_time_and_a_canceled_one_gives_it_back(
    submit: Callable[..., Run], workspace: Workspace, tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    first = submit(
        f"""
        import pathlib, subprocess, time
        pathlib.Path({str(pid_file)!r}).write_text(str(subprocess.Popen(["sleep", "600"]).pid))
        time.sleep(600)
        """
    )
    assert until(first, "Running") == "Running"
    second = submit("print('my turn')")
    assert until(second, "Queued") == "Queued"
    while not pid_file.exists():
        time.sleep(0.1)
    assert workspace.compute_targets["one-node"].get_status().node_state_counts.running_node_count == 1
    first.cancel()
    assert until(first) == "Canceled"
    assert until(second) == "Completed"
    assert not _is_alive(int(pid_file.read_text()))
    assert workspace.compute_targets["one-node"].get_status().node_state_counts.running_node_count == 0


def test_a_waiting_run_can_be_canceled(submit: Callable[..., Run]) -> None:
    first = submit("import time; time.sleep(600)")
    until(first, "Running")
    second = submit("print('never')")
    until(second, "Queued")
    second.cancel()
    assert until(second) == "Canceled"
    first.cancel()
    assert until(first) == "Canceled"
    assert "user_logs/std_log.txt" not in second.get_details()["logFiles"]


def test_a_run_that_takes_too_long_is_canceled_and_says_so(submit: Callable[..., Run]) -> None:
    run = submit("import time; time.sleep(600)", max_run_duration_seconds=1)
    assert until(run) == "Canceled"
    assert "maxRunDurationSeconds of 1" in run.get_details()["warnings"][0]["message"]


def test_what_is_not_carried_out_is_refused_by_name(
    submit: Callable[..., Run], experiment: Experiment, workspace: Workspace
) -> None:
    from azureml.exceptions import ExperimentExecutionException

    with pytest.raises(ExperimentExecutionException, match="target 'local'"):
        submit("pass", compute_target="local")
    with pytest.raises(ExperimentExecutionException, match="'nowhere' was not found in this workspace, which has:"):
        submit("pass", compute_target="nowhere")
    assert list(experiment.get_runs()) == []


def test_an_interactive_run_keeps_status_tags_properties_and_children(experiment: Experiment) -> None:
    from azureml.exceptions import ServiceException

    run = experiment.start_logging(snapshot_directory=None, display_name="by hand")
    assert run.get_status() == "Running"
    run.tag("colour", "blue")
    run.set_tags({"colour": "red", "size": "big"})
    run.remove_tags(["size"])
    run.add_properties({"source": "test"})
    with pytest.raises(ServiceException, match="properties are immutable"):
        run.add_properties({"source": "another"})
    child = run.child_run("child")
    grandchild = child.child_run("grandchild")
    run.log("depth", 0)
    child.log("depth", 1)
    grandchild.log("depth", 2)
    grandchild.complete()
    child.complete()
    run.complete()

    found = experiment.workspace.get_run(run.id)
    assert (found.get_status(), found.display_name, found.number) == ("Completed", "by hand", 1)
    assert found.get_tags() == {"colour": "red"}
    assert found.get_properties()["source"] == "test"
    assert [one.id for one in found.get_children()] == [child.id]
    assert {one.id for one in found.get_children(recursive=True)} == {child.id, grandchild.id}
    assert found.get_metrics(recursive=True) == {
        run.id: {"depth": 0},
        child.id: {"depth": 1},
        grandchild.id: {"depth": 2},
    }


def test_a_run_ends_once_and_as_its_user_says(experiment: Experiment) -> None:
    failed = experiment.start_logging(snapshot_directory=None)
    failed.fail("the data is gone", "NoData")
    assert failed.get_status() == "Failed"
    assert failed.get_details()["error"]["error"] == {"code": "NoData", "message": "the data is gone"}
    failed.complete()
    assert experiment.workspace.get_run(failed.id).get_status() == "Failed"
    canceled = experiment.start_logging(snapshot_directory=None)
    canceled.cancel()
    assert canceled.get_status() == "Canceled"
    with experiment.start_logging(snapshot_directory=None) as used:
        used.log("inside", True)
    assert used.get_status() == "Completed"


def test_every_kind_of_metric_comes_back_as_it_was_logged(experiment: Experiment) -> None:
    run = experiment.start_logging(snapshot_directory=None)
    run.log("number", 1)
    run.log("curve", 1)
    run.log("curve", 0.5)
    run.log("text", "good")
    run.log_list("list", [1, 2, 3])
    run.log_row("rows", x=1, y="a")
    run.log_row("rows", x=2.5, y="b")
    run.log_table("table", {"u": [1, 2], "v": [0.5, 1.5]})
    run.log_confusion_matrix(
        "matrix",
        {
            "schema_type": "confusion_matrix",
            "schema_version": "v1",
            "data": {"class_labels": ["a", "b"], "matrix": [[1, 2], [3, 4]]},
        },
    )
    run.complete()
    metrics = run.get_metrics()
    assert metrics.pop("matrix").endswith("/matrix")
    assert metrics == {
        "number": 1,
        "curve": [1.0, 0.5],
        "text": "good",
        "list": [1, 2, 3],
        "rows": {"x": [1.0, 2.5], "y": ["a", "b"]},
        "table": {"u": [1, 2], "v": [0.5, 1.5]},
    }
    assert run.get_metrics("number") == {"number": 1}
    assert run.get_metrics("none") == {}


def test_a_metric_cannot_change_its_kind_and_the_script_is_told(
    experiment: Experiment, caplog: pytest.LogCaptureFixture
) -> None:
    run = experiment.start_logging(snapshot_directory=None)
    run.log("mse", 1.0)
    run.flush()
    run.log_list("mse", [1.0, 2.0])
    run.flush()
    run.complete()
    assert run.get_metrics() == {"mse": 1.0}
    assert "Metric 'mse' was logged as azureml.v1.scalar" in caplog.text


def test_runs_are_found_by_tag_property_status_and_parent_newest_first(experiment: Experiment) -> None:
    from azureml.core import Run

    first = experiment.start_logging(snapshot_directory=None)
    first.set_tags({"stage": "dev", "two words": "x and y"})
    second = experiment.start_logging(snapshot_directory=None)
    second.tag("stage", "prod")
    second.add_properties({"origin": "schedule"})
    child = second.child_run("child")
    for run in (child, first, second):
        run.complete()
    third = experiment.start_logging(snapshot_directory=None)
    third.fail()

    def ids(**filters: object) -> list[str]:
        return [run.id for run in experiment.get_runs(**filters)]

    assert ids() == [third.id, second.id, first.id]
    assert ids(include_children=True) == [third.id, child.id, second.id, first.id]
    assert ids(tags="stage") == [second.id, first.id]
    assert ids(tags={"stage": "prod"}) == [second.id]
    assert ids(tags={"two words": "x and y", "stage": "dev"}) == [first.id]
    assert ids(properties={"origin": "schedule"}) == [second.id]
    assert [run.id for run in Run.list(experiment, status="Failed")] == [third.id]


def test_an_experiment_is_made_once_and_can_be_archived(workspace: Workspace) -> None:
    from azureml.core import Experiment

    experiment = Experiment(workspace, "shelved")
    assert Experiment(workspace, "shelved").id == experiment.id
    experiment.set_tags({"owner": "me"})
    assert [one.name for one in Experiment.list(workspace, tags={"owner": "me"})] == ["shelved"]
    experiment.archive()
    assert "shelved" not in [one.name for one in Experiment.list(workspace)]
    experiment.reactivate()
    assert "shelved" in [one.name for one in Experiment.list(workspace)]


_SUBMIT_TWO = """
import sys, time
from azureml.core import Environment, Experiment, ScriptRunConfig, Workspace
from azureml.core.compute import AmlCompute, ComputeTarget
workspace = Workspace.get("mlops", subscription_id="00000000-0000-0000-0000-000000000000", resource_group="mlops")
configuration = AmlCompute.provisioning_configuration(vm_size="STANDARD_D2_V2", max_nodes=1)
ComputeTarget.create(workspace, "one-node", configuration)
environment = Environment("here")
environment.python.user_managed_dependencies = True
environment.python.interpreter_path = sys.executable
experiment = Experiment(workspace, "interrupted")
for script, status in (("endless.py", "Running"), ("short.py", "Queued")):
    run = experiment.submit(ScriptRunConfig(".", script, compute_target="one-node", environment=environment))
    while run.get_status() != status:
        time.sleep(0.2)
"""
_READ_BOTH = """
import time
from azureml.core import Experiment, Workspace
workspace = Workspace.get("mlops", subscription_id="00000000-0000-0000-0000-000000000000", resource_group="mlops")
for run in sorted(Experiment(workspace, "interrupted").get_runs(), key=lambda run: run.number):
    while run.get_status() not in ("Completed", "Failed", "Canceled"):
        time.sleep(0.2)
    print(run.get_status(), run.get_details().get("error", {}).get("error", {}).get("message"))
"""


def test_a_stopped_emulator_fails_what_was_running_and_carries_out_what_was_waiting(
    own_state: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "endless.py").write_text("import time; time.sleep(600)")
    (source / "short.py").write_text("print('done')")

    def script(text: str) -> str:
        environment = {**os.environ, **start_emulator(own_state).environment, "HOME": str(tmp_path)}
        command = [sys.executable, "-c", text]
        return subprocess.run(
            command, cwd=source, env=environment, stdout=subprocess.PIPE, text=True, check=True
        ).stdout

    script(_SUBMIT_TWO)
    emulator_command("stop", "--state-dir", str(own_state))
    assert script(_READ_BOTH).splitlines() == [
        "Failed The emulator ended while the run was going on: submit it again.",
        "Completed None",
    ]


def test_an_unchanged_directory_can_be_submitted_again_from_a_later_commit(
    submit: Callable[..., Run], tmp_path: Path
) -> None:
    def commit(message: str) -> str:
        who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
        subprocess.run(["git", *who, "commit", "-q", "--allow-empty", "-m", message], cwd=tmp_path, check=True)
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, check=True, capture_output=True, text=True)
        return head.stdout.strip()

    subprocess.run(["git", "init", "-q", "."], cwd=tmp_path, check=True)
    commits = []
    for message in ("first", "second"):
        commits.append(commit(message))
        run = submit("pass")
        assert run.properties["azureml.git.commit"] == commits[-1]
        assert until(run, "Completed") == "Completed"

    assert commits[0] != commits[1]
