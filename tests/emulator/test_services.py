"""Web services, really served, through the SDK and through plain HTTP."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
import requests

from tests.conftest import RunningEmulator, emulator_command, start_emulator
from tests.emulator.scoring import FAILING, SCORE, eventually, inference_config, register_model, replicas_of

if TYPE_CHECKING:
    from azureml.core import Webservice, Workspace
    from azureml.core.compute import AksCompute
    from azureml.core.webservice import AciWebservice

pytestmark = pytest.mark.emulator

ONE_TWO = json.dumps({"data": [1, 2]})


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def aks(workspace: Workspace) -> AksCompute:
    from azureml.core.compute import AksCompute, ComputeTarget

    cluster = ComputeTarget.create(workspace, "aks-services", AksCompute.provisioning_configuration())
    cluster.wait_for_completion()
    return cluster


@pytest.fixture(scope="module")
def dev(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AciWebservice]:
    """An ACI service with keys that multiplies by two."""
    from azureml.core import Model
    from azureml.core.webservice import AciWebservice

    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("dev"))
    service = Model.deploy(
        workspace,
        "dev",
        [register_model(workspace, "dev", 2)],
        inference_config(SCORE),
        AciWebservice.deploy_configuration(cpu_cores=0.5, memory_gb=1, auth_enabled=True, tags={"stage": "dev"}),
    )
    os.chdir(before)
    service.wait_for_deployment()
    yield service
    service.delete()


def ask(service: Webservice, key: str | None = None, body: str = ONE_TWO) -> requests.Response:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    return requests.post(service.scoring_uri, body, headers=headers, timeout=60)


def test_a_service_answers_with_its_model_and_shows_what_it_was_given(dev: AciWebservice) -> None:
    assert dev.run(ONE_TWO) == [2, 4]
    assert (dev.state, dev.tags, dev.models[0].id) == ("Healthy", {"stage": "dev"}, "dev:1")
    assert (dev.container_resource_requirements.cpu, dev.container_resource_requirements.memory_in_gb) == (0.5, 1)
    assert "factor is 2" in dev.get_logs()


def test_only_the_keys_of_the_service_open_it(dev: AciWebservice) -> None:
    primary, secondary = dev.get_keys()
    codes = [ask(dev, key).status_code for key in (primary, secondary, None, "another")]
    assert codes == [200, 200, 401, 401]


def test_a_regenerated_key_replaces_the_old_one(dev: AciWebservice, workspace: Workspace) -> None:
    old, _ = dev.get_keys()
    header = workspace._auth.get_authentication_header()
    answer = requests.post(
        f"{dev._mms_endpoint}/regenerateKeys", json={"keyType": "Primary"}, headers=header, timeout=10
    )
    assert answer.status_code == 202
    assert ask(dev, old).status_code == 401
    assert ask(dev, dev.get_keys()[0]).status_code == 200
    dev.regen_key("Secondary", set_key="a-key-of-my-own")
    assert ask(dev, "a-key-of-my-own").status_code == 200


def test_authentication_and_tags_change_without_a_new_replica(dev: AciWebservice, emulator: RunningEmulator) -> None:
    served_by = replicas_of(emulator, "dev")
    dev.update(auth_enabled=False, tags={"stage": "open"})
    dev.wait_for_deployment()
    assert (ask(dev).status_code, dev.tags) == (200, {"stage": "open"})
    dev.update(auth_enabled=True)
    assert ask(dev).status_code == 401
    assert replicas_of(emulator, "dev") == served_by


def test_the_swagger_document_describes_the_entry_script(dev: AciWebservice) -> None:
    key, _ = dev.get_keys()
    document = requests.get(dev.swagger_uri, headers={"Authorization": f"Bearer {key}"}, timeout=10).json()
    assert document["info"]["title"] == "dev"
    assert "/score" in document["paths"]


def test_a_mistake_in_the_request_is_the_callers_and_not_retried(dev: AciWebservice) -> None:
    assert ask(dev, dev.get_keys()[0], "no json").status_code == 400
    assert requests.get(dev.scoring_uri.replace("/dev/", "/nobody/"), timeout=10).status_code == 404


def test_a_name_that_is_taken_is_refused(dev: AciWebservice, workspace: Workspace) -> None:
    from azureml.core import Model
    from azureml.core.webservice import AciWebservice
    from azureml.exceptions import WebserviceException

    with pytest.raises(WebserviceException, match="'dev' exists already"):
        Model.deploy(
            workspace, "dev", [Model(workspace, "dev")], inference_config(SCORE), AciWebservice.deploy_configuration()
        )


def test_a_model_that_is_served_cannot_be_deleted(dev: AciWebservice, workspace: Workspace) -> None:
    from azureml.core import Model
    from azureml.exceptions import WebserviceException

    with pytest.raises(WebserviceException, match="412"):
        Model(workspace, "dev").delete()
    assert Model(workspace, "dev").id == "dev:1"


def test_the_list_of_services_is_filtered(dev: AciWebservice, workspace: Workspace) -> None:
    from azureml.core import Webservice

    def names(**filters: object) -> list[str]:
        return [service.name for service in Webservice.list(workspace, **filters)]

    assert names(model_name="dev") == names(model_id="dev:1") == names(compute_type="ACI", tags=["stage"]) == ["dev"]
    assert names(compute_type="AKS") == names(tags=[["stage", "prod"]]) == []


def test_a_service_on_a_cluster_that_is_not_there_is_refused(workspace: Workspace) -> None:
    from azureml.core import Model, Webservice
    from azureml.core.webservice import AksWebservice
    from azureml.exceptions import WebserviceException

    with pytest.raises(WebserviceException, match=r"'nowhere'.*not found"):
        Model.deploy(
            workspace,
            "lost",
            [register_model(workspace, "lost", 1)],
            inference_config(SCORE),
            AksWebservice.deploy_configuration(compute_target_name="nowhere"),
        )
    assert "lost" not in [service.name for service in Webservice.list(workspace)]


def test_an_entry_script_that_fails_in_init_fails_the_deployment_with_its_log(
    workspace: Workspace, emulator: RunningEmulator
) -> None:
    from azureml.core import Model
    from azureml.core.webservice import AciWebservice
    from azureml.exceptions import WebserviceException

    service = Model.deploy(
        workspace, "broken", [], inference_config(FAILING), AciWebservice.deploy_configuration(), overwrite=True
    )
    with pytest.raises(WebserviceException, match="the weights are missing"):
        service.wait_for_deployment()
    assert service.state == "Failed"
    assert "ValueError: the weights are missing" in service.get_logs()
    assert replicas_of(emulator, "broken") == set()
    service.delete()


def test_an_environment_without_the_inference_server_says_which_package_to_add(workspace: Workspace) -> None:
    from azureml.core import Model
    from azureml.core.webservice import AciWebservice
    from azureml.exceptions import WebserviceException

    service = Model.deploy(
        workspace, "bare", [], inference_config(SCORE, "wheel"), AciWebservice.deploy_configuration()
    )
    with pytest.raises(WebserviceException, match="add azureml-defaults or azureml-inference-server-http"):
        service.wait_for_deployment()
    service.delete()


def test_a_service_that_does_not_get_healthy_in_time_fails(workspace: Workspace, aks: AksCompute) -> None:
    from azureml.core import Model
    from azureml.core.webservice import AksWebservice
    from azureml.exceptions import WebserviceException

    service = Model.deploy(
        workspace,
        "slow",
        [],
        inference_config(SCORE.replace("global factor", "time.sleep(60)")),
        AksWebservice.deploy_configuration(
            num_replicas=1, initial_delay_seconds=1, timeout_seconds=1, failure_threshold=1
        ),
        deployment_target=aks,
    )
    with pytest.raises(WebserviceException, match="did not answer its health probe within 2 seconds"):
        service.wait_for_deployment()
    service.delete()


def test_an_update_under_load_fails_no_request_and_a_failed_one_changes_nothing(
    workspace: Workspace, aks: AksCompute, emulator: RunningEmulator
) -> None:
    from azureml.core import Model
    from azureml.core.webservice import AksWebservice
    from azureml.exceptions import WebserviceException

    service = Model.deploy(
        workspace,
        "prod",
        [register_model(workspace, "prod", 1)],
        inference_config(SCORE),
        AksWebservice.deploy_configuration(num_replicas=2),
        deployment_target=aks,
    )
    service.wait_for_deployment()
    answers: list[tuple[int, str]] = []
    stop = threading.Event()
    key = service.get_keys()[0]

    def keep_asking() -> None:
        with requests.Session() as session:
            session.headers.update({"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
            while not stop.is_set():
                answer = session.post(service.scoring_uri, ONE_TWO, timeout=60)
                answers.append((answer.status_code, answer.text))

    load = threading.Thread(target=keep_asking)
    load.start()
    try:
        service.update(models=[register_model(workspace, "prod", 3)], inference_config=inference_config(SCORE))
        service.wait_for_deployment()
        assert service.models[0].id == "prod:2"
        service.update(models=[register_model(workspace, "prod", 4)], inference_config=inference_config(FAILING))
        with pytest.raises(WebserviceException, match="the weights are missing"):
            service.wait_for_deployment()
        service.update(autoscale_enabled=False, num_replicas=1)
        service.wait_for_deployment()
    finally:
        stop.set()
        load.join()
    assert set(answers) == {(200, "[1, 2]"), (200, "[3, 6]")}
    assert answers[-1] == (200, "[3, 6]")
    assert (service.state, service.models[0].id, service.num_replicas) == ("Healthy", "prod:2", 1)
    assert len(replicas_of(emulator, "prod")) == 1
    service.delete()


def test_a_call_that_takes_too_long_is_given_up_and_tokens_open_a_service_with_token_authentication(
    workspace: Workspace, aks: AksCompute
) -> None:
    from azureml.core import Model
    from azureml.core.webservice import AksWebservice

    service = Model.deploy(
        workspace,
        "tokens",
        [register_model(workspace, "tokens", 1)],
        inference_config(SCORE),
        AksWebservice.deploy_configuration(num_replicas=1, token_auth_enabled=True, scoring_timeout_ms=300),
        deployment_target=aks,
    )
    service.wait_for_deployment()
    token = service.get_access_token().access_token
    assert service.run(ONE_TWO) == [1, 2]
    assert ask(service, service.get_keys()[0]).status_code == 401
    assert ask(service, token, json.dumps({"data": [2000]})).status_code == 504
    service.delete()
    assert requests.post(service.scoring_uri, timeout=10).status_code == 404


def test_a_replica_that_dies_is_started_again_while_requests_wait(
    dev: AciWebservice, emulator: RunningEmulator
) -> None:
    (pid,) = replicas_of(emulator, "dev")
    os.killpg(pid, signal.SIGKILL)
    assert dev.run(ONE_TWO) == [2, 4]
    assert replicas_of(emulator, "dev") != {pid}


def test_replicas_are_forked_from_what_has_imported_their_packages_and_outlive_its_end(
    dev: AciWebservice, emulator: RunningEmulator
) -> None:
    (pid,) = replicas_of(emulator, "dev")
    fork_server = psutil.Process(pid).parent()
    assert fork_server is not None
    assert "fork_server_process.py" in " ".join(fork_server.cmdline())
    fork_server.kill()
    eventually(lambda: replicas_of(emulator, "dev") not in (set(), {pid}), "the replica is started again")
    assert dev.run(ONE_TWO) == [2, 4]


def test_services_come_up_again_after_the_emulator_was_killed(dev: AciWebservice, emulator: RunningEmulator) -> None:
    (before,) = replicas_of(emulator, "dev")
    replica = psutil.Process(before)
    status = emulator_command("status", "--json", "--state-dir", str(emulator.state_directory))
    os.kill(json.loads(status.stdout)["pid"], signal.SIGKILL)
    replica.wait(timeout=30)  # it ends with the emulator
    start_emulator(emulator.state_directory)
    dev.update_deployment_state()
    assert dev.run(ONE_TWO) == [2, 4]
    assert len(replicas_of(emulator, "dev")) == 1
