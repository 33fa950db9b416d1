"""Clusters that scale, queue and lose nodes, and provisioning that fails: the SDK and the operator's commands."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import RunningEmulator, emulator_command
from tests.emulator.submitting import log_of, until

if TYPE_CHECKING:
    from azureml.core import Run, Workspace
    from azureml.core.compute import AmlCompute

pytestmark = pytest.mark.emulator


@pytest.fixture
def spot(workspace: Workspace) -> Iterator[AmlCompute]:
    """A cluster of low priority with no node, that keeps idle ones for a second."""
    from azureml.core.compute import AmlCompute, ComputeTarget

    configuration = AmlCompute.provisioning_configuration(
        vm_size="STANDARD_D2_V2", vm_priority="lowpriority", max_nodes=2, idle_seconds_before_scaledown=1
    )
    cluster = ComputeTarget.create(workspace, "spot", configuration)
    yield cluster
    cluster.delete()


def _counts(cluster: AmlCompute) -> tuple[int, int, int]:
    counts = cluster.get_status().node_state_counts
    return counts.running_node_count, counts.idle_node_count, counts.preempted_node_count


def test_a_cluster_starts_nodes_for_runs_queues_what_does_not_fit_and_scales_down(
    submit: Callable[..., Run], spot: AmlCompute, tmp_path: Path
) -> None:
    assert _counts(spot) == (0, 0, 0)
    go = tmp_path / "go"
    waiting = f"import pathlib, time\nwhile not pathlib.Path({str(go)!r}).exists(): time.sleep(0.05)"
    runs = [submit(waiting, compute_target="spot") for _ in range(3)]
    for run in runs[:2]:
        until(run, "Running")
    assert until(runs[2], "Queued") == "Queued"
    assert _counts(spot) == (2, 0, 0)
    assert [node["runId"] for node in spot.list_nodes()] == [runs[0].id, runs[1].id]
    spot.update(max_nodes=3)
    assert until(runs[2], "Running") == "Running"
    go.touch()
    for run in runs:
        assert until(run) == "Completed"
    while _counts(spot) != (0, 0, 0):  # idle for a second, and then gone
        time.sleep(0.1)
    assert spot.list_nodes() == []
    spot.update(min_nodes=1)
    assert _counts(spot) == (0, 1, 0)


def test_a_run_whose_node_is_preempted_is_queued_again_and_starts_anew(
    submit: Callable[..., Run], spot: AmlCompute, emulator: RunningEmulator, tmp_path: Path
) -> None:
    started = tmp_path / "started"
    run = submit(
        f"""
        import pathlib, time
        started = pathlib.Path({str(started)!r})
        first = not started.exists()
        print("first" if first else "second", "time", flush=True)
        started.touch()
        if first:
            time.sleep(600)
        """,
        compute_target="spot",
    )
    while not started.exists():
        time.sleep(0.05)
    told = emulator_command("preempt", "spot", "--state-dir", str(emulator.state_directory))
    assert told.stdout == f"queued again: {run.id}\n", told.stderr
    assert until(run) == "Completed"
    assert log_of(run).splitlines()[-1] == "second time"
    assert "was pre-empted: the run was queued again" in run.get_details()["warnings"][0]["message"]


def test_a_run_that_waits_for_a_cluster_that_is_deleted_fails_and_says_so(
    workspace: Workspace, submit: Callable[..., Run]
) -> None:
    from azureml.core.compute import AmlCompute, ComputeTarget

    wanted = AmlCompute.provisioning_configuration(vm_size="STANDARD_D2_V2", max_nodes=1)
    cluster = ComputeTarget.create(workspace, "short-lived", wanted)
    first = submit("import time; time.sleep(600)", compute_target="short-lived")
    until(first, "Running")
    second = submit("pass", compute_target="short-lived")
    until(second, "Queued")
    cluster.delete()
    assert until(second) == "Failed"
    assert "was deleted" in second.get_details()["error"]["error"]["message"]
    first.cancel()
    assert until(first) == "Canceled"


def test_only_nodes_of_low_priority_are_preempted(
    workspace: Workspace, cluster: str, emulator: RunningEmulator
) -> None:
    told = emulator_command("preempt", cluster, "--state-dir", str(emulator.state_directory))
    assert told.returncode == 1
    assert "'one-node' is not of low priority" in told.stderr
    assert "Traceback" not in told.stderr


def test_a_creation_that_is_made_to_fail_shows_the_providers_errors_once(
    workspace: Workspace, emulator: RunningEmulator
) -> None:
    from azureml.core.compute import AmlCompute, ComputeTarget
    from azureml.exceptions import ComputeTargetException

    message = "Operation could not be completed as it exceeds the approved quota of 0 cores"
    place = ("--state-dir", str(emulator.state_directory))
    emulator_command("fail-creation", "no-quota", "--message", message, *place)
    wanted = AmlCompute.provisioning_configuration(vm_size="STANDARD_D2_V2", max_nodes=1)
    target = ComputeTarget.create(workspace, "no-quota", wanted)
    with pytest.raises(ComputeTargetException, match=message):
        target.wait_for_completion()
    found = ComputeTarget(workspace, "no-quota")
    assert found.provisioning_state == "Failed"
    assert found.provisioning_errors[0]["error"]["message"] == message
    found.delete()
    again = ComputeTarget.create(workspace, "no-quota", wanted)
    again.wait_for_completion()
    assert again.provisioning_state == "Succeeded"
    again.delete()


def test_a_name_that_another_type_has_is_refused(workspace: Workspace, cluster: str) -> None:
    from azureml.core.compute import AksCompute, ComputeTarget
    from azureml.exceptions import ComputeTargetException

    wanted = AksCompute.provisioning_configuration(cluster_purpose="DevTest")
    with pytest.raises(ComputeTargetException, match="is AmlCompute and cannot become AKS"):
        ComputeTarget.create(workspace, cluster, wanted)
