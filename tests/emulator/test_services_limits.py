"""What an AKS service is limited to, and what is done for it: the queue, time-outs, liveness probes, the autoscaler."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

from tests.conftest import RunningEmulator
from tests.emulator.scoring import SCORE, eventually, inference_config, register_model, replicas_of

if TYPE_CHECKING:
    from azureml.core import Workspace
    from azureml.core.webservice import AksWebservice

pytestmark = pytest.mark.emulator


@pytest.fixture(scope="module")
def service(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AksWebservice]:
    """One replica, which takes one request at a time and is probed every second from the tenth on."""
    from azureml.core import Model
    from azureml.core.compute import AksCompute, ComputeTarget
    from azureml.core.webservice import AksWebservice

    cluster = ComputeTarget.create(workspace, "aks-limits", AksCompute.provisioning_configuration())
    cluster.wait_for_completion()
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("limits"))
    made = Model.deploy(
        workspace,
        "limited",
        [register_model(workspace, "limited", 1)],
        inference_config(SCORE),
        AksWebservice.deploy_configuration(
            num_replicas=1,
            auth_enabled=False,
            max_request_wait_time=300,
            scoring_timeout_ms=3000,
            initial_delay_seconds=10,
            period_seconds=1,
            timeout_seconds=1,
            failure_threshold=2,
        ),
        cluster,
    )
    os.chdir(before)
    made.wait_for_deployment()
    yield made
    made.delete()


def ask(service: AksWebservice, milliseconds: int = 0) -> requests.Response:
    """The entry script takes as many milliseconds as its argument says."""
    headers = {"Content-Type": "application/json"}
    return requests.post(service.scoring_uri, json.dumps({"data": [milliseconds]}), headers=headers, timeout=60)


def test_a_request_that_waits_too_long_for_a_replica_is_refused(service: AksWebservice) -> None:
    with ThreadPoolExecutor(6) as clients:
        answers = list(clients.map(lambda _: ask(service, 500), range(6)))
    assert {answer.status_code for answer in answers} == {200, 503}
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert "busy for 0.3 seconds" in refused.json()["message"]
    assert refused.headers["Retry-After"]


def test_a_call_that_takes_too_long_is_given_up_and_the_next_is_answered(service: AksWebservice) -> None:
    assert ask(service, 8000).status_code == 504
    assert ask(service).json() == [0]


def test_a_replica_that_hangs_is_started_again(service: AksWebservice, emulator: RunningEmulator) -> None:
    (pid,) = replicas_of(emulator, "limited")
    os.killpg(pid, signal.SIGSTOP)
    eventually(lambda: replicas_of(emulator, "limited") not in (set(), {pid}), "the replica is started again")
    eventually(lambda: ask(service).status_code == 200, "it answers")


def test_replicas_come_with_the_load_and_go_without(service: AksWebservice, emulator: RunningEmulator) -> None:
    service.update(autoscale_enabled=True, autoscale_min_replicas=1, autoscale_max_replicas=2)
    service.wait_for_deployment()
    assert (service.autoscaler.autoscale_enabled, service.num_replicas) == (True, None)
    stop = threading.Event()

    def keep_asking() -> None:
        while not stop.is_set():
            ask(service, 100)

    clients = [threading.Thread(target=keep_asking) for _ in range(3)]
    for client in clients:
        client.start()
    try:
        eventually(lambda: len(replicas_of(emulator, "limited")) == 2, "a second replica comes")
    finally:
        stop.set()
        for client in clients:
            client.join()
    eventually(lambda: len(replicas_of(emulator, "limited")) == 1, "the second replica goes")
    assert ask(service).status_code == 200
