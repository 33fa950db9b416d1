"""What a request to create or change a web service means."""

from __future__ import annotations

from typing import Any

import pytest

from emulator.errors import ServiceError
from emulator.services.configuration import check_name, complete, serving_policy
from emulator.services.deployment import backoff

pytestmark = pytest.mark.unit

REQUEST = {"environmentImageRequest": {"environment": {"name": "scoring"}, "modelIds": ["m:1"]}}
AKS = {**REQUEST, "computeType": "AKS", "computeName": "cluster"}


def aks(**settings: Any) -> dict[str, Any]:
    return complete({**AKS, **settings}, "local")


def test_what_the_sdk_leaves_out_or_sends_as_null_gets_the_documented_default() -> None:
    sent = {"cpu": None, "memoryInGB": 2.0}
    configuration = complete({**REQUEST, "computeType": "ACI", "containerResourceRequirements": sent}, "westeurope")
    assert configuration["containerResourceRequirements"] == {"cpu": 0.1, "memoryInGB": 2.0}
    assert (configuration["authEnabled"], configuration["location"]) == (False, "westeurope")
    assert (aks()["authEnabled"], aks()["scoringTimeoutMs"]) == (True, 60000)


def test_an_aks_service_scales_by_itself_unless_it_is_given_a_number_of_replicas() -> None:
    assert aks()["autoScaler"]["autoscaleEnabled"] is True
    assert serving_policy(aks(autoScaler={"autoscaleEnabled": True, "minReplicas": 2})).replicas == 2
    assert aks(numReplicas=3)["autoScaler"]["autoscaleEnabled"] is False
    assert serving_policy(aks(numReplicas=3)).replicas == 3


def test_switching_the_autoscaler_on_forgets_the_number_of_replicas() -> None:
    before = aks(numReplicas=3)
    changed = {**before, "autoScaler": {**before["autoScaler"], "autoscaleEnabled": True}}
    assert complete(changed, "local", before)["numReplicas"] is None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"computeName": None}, "needs a deployment target"),
        ({"authEnabled": True, "aadAuthEnabled": True}, "cannot both be enabled"),
        ({"numReplicas": 2, "autoScaler": {"autoscaleEnabled": True}}, "autoscaling is on"),
        ({"autoScaler": {"autoscaleEnabled": False}}, "numReplicas has to be at least 1"),
        ({"autoScaler": {"autoscaleEnabled": True, "minReplicas": 5, "maxReplicas": 2}}, "more than its maxReplicas"),
        ({"maxQueueWaitMs": 0}, "maxQueueWaitMs is 0: it is a whole number and at least 1"),
        ({"livenessProbeRequirements": {"periodSeconds": -1}}, "periodSeconds is -1"),
        ({"autoScaler": {"targetUtilization": 101}}, "at most 100"),
        ({"computeType": "AKSENDPOINT"}, "An endpoint needs a version"),
        ({"computeType": "FPGA"}, "does not implement services of type FPGA"),
        ({"environmentImageRequest": None}, "made from an image"),
        ({"environmentImageRequest": {"modelIds": ["m:1"]}}, "no-code deployment"),
    ],
)
def test_settings_that_cannot_be_met_are_refused_with_the_reason(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ServiceError, match=said):
        aks(**settings)


def test_token_authentication_takes_the_place_of_keys() -> None:
    configuration = aks(aadAuthEnabled=True)
    assert (configuration["authEnabled"], configuration["aadAuthEnabled"]) == (False, True)


def test_a_container_may_start_as_long_as_its_liveness_probe_would_let_it_but_not_for_ever() -> None:
    probe = {"initialDelaySeconds": 7, "periodSeconds": 3, "failureThreshold": 2, "timeoutSeconds": 1}
    assert serving_policy(aks(livenessProbeRequirements=probe)).start_seconds == 7 + 3 + 1
    assert serving_policy(aks()).start_seconds == 120


@pytest.mark.parametrize("name", ["ab", "Upper", "1st", "trailing-", "a" * 33, "dot.ted"])
def test_names_that_azure_refuses_are_refused(name: str) -> None:
    with pytest.raises(ServiceError, match="is not a name of a service"):
        check_name(name)


def test_a_replica_that_dies_again_and_again_is_started_ever_more_slowly() -> None:
    waits = [backoff(failures) for failures in range(1, 9)]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (0, 30)
