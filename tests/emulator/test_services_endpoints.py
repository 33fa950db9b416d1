"""AksEndpoint through the SDK: versions behind one address, and who gets which share of the requests."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

from tests.conftest import RunningEmulator, emulator_command, start_emulator
from tests.emulator.scoring import FAILING, SCORE, inference_config, register_model

if TYPE_CHECKING:
    from azureml.core import Workspace
    from azureml.core.webservice import AksEndpoint

pytestmark = pytest.mark.emulator

ONE = json.dumps({"data": [1]})
VERSION = "azureml-model-deployment"


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def endpoint(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AksEndpoint]:
    """An endpoint with a version ``blue`` (1) that is the default and takes at least 20 percent, and ``green`` (2)."""
    from azureml.core import Model
    from azureml.core.compute import AksCompute, ComputeTarget
    from azureml.core.webservice import AksEndpoint

    cluster = ComputeTarget.create(workspace, "aks-endpoints", AksCompute.provisioning_configuration())
    cluster.wait_for_completion()
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("endpoint"))
    made = Model.deploy(
        workspace,
        "shop",
        [register_model(workspace, "shop", 1)],
        inference_config(SCORE),
        AksEndpoint.deploy_configuration(
            version_name="blue",
            traffic_percentile=20,
            num_replicas=1,
            primary_key="first-key",
            secondary_key="second-key",
            tags={"stage": "prod"},
        ),
        cluster,
    )
    made.wait_for_deployment()
    made.create_version(
        "green",
        num_replicas=1,
        models=[register_model(workspace, "shop", 2)],
        inference_config=inference_config(SCORE),
        traffic_percentile=10,
        tags={"color": "green"},
    )
    made.wait_for_deployment()
    os.chdir(before)
    yield made
    made.delete()


def ask(address: str, key: str = "first-key", **headers: str) -> requests.Response:
    headers |= {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    return requests.post(address, ONE, headers=headers, timeout=60)


def shares_of(endpoint: AksEndpoint, requests_sent: int = 100) -> dict[str, int]:
    return dict(Counter(ask(endpoint.scoring_uri).headers[VERSION] for _ in range(requests_sent)))


def test_the_sdk_reads_an_endpoint_with_its_versions(endpoint: AksEndpoint, workspace: Workspace) -> None:
    from azureml.core import Webservice
    from azureml.core.webservice import AksEndpoint

    (listed,) = Webservice.list(workspace, compute_type="AKSENDPOINT")
    found = Webservice(workspace, "shop")
    assert isinstance(listed, AksEndpoint)
    assert isinstance(found, AksEndpoint)
    assert (found.state, found.compute_name, found.tags) == ("Healthy", "aks-endpoints", {"stage": "prod"})
    blue, green = found.versions["blue"], found.versions["green"]
    assert (blue.is_default, blue.traffic_percentile, blue.models[0].id) == (True, 20, "shop:1")
    assert (green.is_default, green.traffic_percentile, green.models[0].id) == (False, 10, "shop:2")
    assert (green.state, green.tags, green.num_replicas) == ("Healthy", {"color": "green"}, 1)
    assert [service.name for service in Webservice.list(workspace, model_id="shop:2")] == ["shop"]
    assert "blue replica-1" in endpoint.get_logs()


def test_the_default_version_also_gets_what_no_version_is_said_to_take(endpoint: AksEndpoint) -> None:
    assert shares_of(endpoint) == {"blue": 90, "green": 10}


def test_one_version_is_asked_by_its_address_or_by_a_header(endpoint: AksEndpoint) -> None:
    by_address = ask(endpoint.versions["green"].scoring_uri)
    by_header = ask(endpoint.scoring_uri, **{VERSION: "green"})
    assert by_address.json() == by_header.json() == [2]
    assert by_address.headers[VERSION] == by_header.headers[VERSION] == "green"
    assert ask(endpoint.scoring_uri, **{VERSION: "red"}).status_code == 404
    mistaken = requests.post(
        endpoint.versions["green"].scoring_uri, "no json", headers={"Authorization": "Bearer first-key"}, timeout=10
    )
    assert (mistaken.ok, mistaken.headers[VERSION]) == (False, "green")
    assert requests.get(
        endpoint.versions["green"].swagger_uri, headers={"Authorization": "Bearer first-key"}, timeout=10
    ).ok


def test_the_keys_are_those_of_the_endpoint(endpoint: AksEndpoint) -> None:
    assert endpoint.get_keys() == ("first-key", "second-key")
    assert endpoint.run(ONE) in ([1], [2])
    codes = [ask(endpoint.scoring_uri, key).status_code for key in ("first-key", "second-key", "third-key")]
    assert codes == [200, 200, 401]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"traffic_percentile": 81}, "sum to 101"),
        ({"traffic_percentile": 150}, "from 0 to 100"),
        ({"traffic_percentile": -1}, "from 0 to 100"),
    ],
)
def test_traffic_that_cannot_be_is_refused(endpoint: AksEndpoint, change: dict[str, int], said: str) -> None:
    from azureml.exceptions import WebserviceException

    with pytest.raises(WebserviceException, match=said):
        endpoint.update_version("green", **change)
    assert shares_of(endpoint, 10) == {"blue": 9, "green": 1}


def test_a_default_version_is_not_deleted_and_a_version_not_created_twice(endpoint: AksEndpoint) -> None:
    from azureml.exceptions import WebserviceException

    with pytest.raises(WebserviceException, match="make another version the default"):
        endpoint.delete_version("blue")
    with pytest.raises(WebserviceException, match="VersionAlreadyExists"):
        endpoint.create_version("green", num_replicas=1, models=[], inference_config=inference_config(SCORE))


def test_a_version_that_is_not_there_is_refused_with_those_that_are(endpoint: AksEndpoint) -> None:
    from azureml.exceptions import WebserviceException

    for change in (
        lambda: endpoint.delete_version("red"),
        lambda: endpoint.update_version("red", traffic_percentile=1),
    ):
        with pytest.raises(WebserviceException, match=r"no version .*red.*It has: blue, green"):
            change()


def test_an_endpoint_does_not_become_a_plain_service(endpoint: AksEndpoint, workspace: Workspace) -> None:
    from azureml.core import Model
    from azureml.core.webservice import AksWebservice
    from azureml.exceptions import WebserviceException

    plain = AksWebservice.deploy_configuration(num_replicas=1, compute_target_name="aks-endpoints")
    with pytest.raises(WebserviceException, match="'shop' is of type AKSENDPOINT and cannot become one of type AKS"):
        Model.deploy(workspace, "shop", [], inference_config(SCORE), plain, overwrite=True)


def test_a_version_that_does_not_come_up_changes_nothing(endpoint: AksEndpoint) -> None:
    from azureml.exceptions import WebserviceException

    endpoint.create_version("red", num_replicas=1, models=[], inference_config=inference_config(FAILING))
    assert endpoint.versions["red"].state == "Transitioning"
    with pytest.raises(WebserviceException, match="the weights are missing"):
        endpoint.wait_for_deployment()
    assert (sorted(endpoint.versions), endpoint.state) == (["blue", "green"], "Healthy")
    assert shares_of(endpoint, 10) == {"blue": 9, "green": 1}


def test_an_endpoint_is_the_same_after_a_restart_of_the_emulator(
    endpoint: AksEndpoint, emulator: RunningEmulator
) -> None:
    emulator_command("stop", "--state-dir", str(emulator.state_directory))
    start_emulator(emulator.state_directory)
    address = endpoint.scoring_uri
    endpoint.update_deployment_state()
    assert endpoint.scoring_uri == address
    assert shares_of(endpoint, 10) == {"blue": 9, "green": 1}
    assert ask(endpoint.versions["green"].scoring_uri, "second-key").json() == [2]


def test_no_request_fails_while_versions_come_change_and_go(endpoint: AksEndpoint, workspace: Workspace) -> None:
    answers: list[tuple[int, str, str]] = []
    stop = threading.Event()

    def keep_asking() -> None:
        with requests.Session() as session:
            session.headers.update({"Authorization": "Bearer second-key", "Content-Type": "application/json"})
            while not stop.is_set():
                answer = session.post(endpoint.scoring_uri, ONE, timeout=60)
                answers.append((answer.status_code, answer.headers.get(VERSION, ""), answer.text))

    load = threading.Thread(target=keep_asking)
    load.start()
    try:
        endpoint.update_version("green", traffic_percentile=50, description="half", tags={"color": "teal"})
        endpoint.wait_for_deployment()
        assert (endpoint.versions["green"].description, endpoint.versions["green"].tags) == ("half", {"color": "teal"})
        three = [register_model(workspace, "shop", 3)]
        endpoint.update_version("green", models=three, inference_config=inference_config(SCORE))
        endpoint.wait_for_deployment()
        endpoint.update_version("green", traffic_percentile=80, is_default=True, is_control_version_type=True)
        endpoint.wait_for_deployment()
        endpoint.delete_version("blue")
        endpoint.wait_for_deployment()
        assert shares_of(endpoint, 10) == {"green": 10}
    finally:
        stop.set()
        load.join()
    assert set(answers) == {(200, "blue", "[1]"), (200, "green", "[2]"), (200, "green", "[3]")}
    (green,) = endpoint.versions.values()
    assert (green.is_default, green.version_type, green.models[0].id) == (True, "Control", "shop:3")
    assert endpoint.get_keys() == ("first-key", "second-key")
