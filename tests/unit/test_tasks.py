"""The decisions inside tasks that need no Azure."""

from __future__ import annotations

import math
from typing import Any

import pytest
from azure.identity import CredentialUnavailableError
from prefect.states import Failed

from settings.experiment import ExperimentSettings
from tasks.environment import with_one_of
from tasks.errors import ComputeError, ConnectionToAzureError, MlopsError
from tasks.operation import explained, retry_when_transient
from tasks.training import arguments, read_metrics

pytestmark = pytest.mark.unit


class HttpError(Exception):
    """An error of the SDK, as far as it says its HTTP status."""

    def __init__(self, status_code: int) -> None:
        super().__init__(f"status {status_code}")
        self.status_code = status_code


class LoggedRun:
    """Stands for Azure: a run with these metrics."""

    def __init__(self, **metrics: Any) -> None:
        self.metrics = metrics

    def get_metrics(self) -> dict[str, Any]:
        return self.metrics


def test_script_parameters_become_a_command_line_in_their_order() -> None:
    experiment = ExperimentSettings(script_parameters={"--alpha": 0.5, "--fast": None, "--epochs": 3, "--log": True})

    assert arguments(experiment) == ["--alpha", 0.5, "--fast", "--epochs", 3, "--log", "true"]


@pytest.mark.parametrize(
    ("packages", "added"),
    [
        (["numpy"], True),
        (["azureml-defaults"], False),
        (["AzureML_Defaults>=1.50 ; python_version > '3.8'"], False),
        (["--extra-index-url https://packages.example.com"], True),
        (["azureml-inference-server-http[x]==1.5.1"], False),
    ],
)
def test_a_package_is_added_unless_one_that_brings_the_same_is_listed(packages: list[str], added: bool) -> None:
    names = ("azureml-defaults", "azureml-inference-server-http")

    assert with_one_of(packages, names, "azureml-defaults") == [*packages, *(["azureml-defaults"] if added else [])]


def test_of_a_metric_that_was_logged_several_times_the_last_counts_and_what_is_no_number_is_left_out() -> None:
    metrics = read_metrics(LoggedRun(mse=[3.0, 2.5], alpha=1, note="text", table={"a": [1]}, broken="NaN", on=True))

    assert {name: value for name, value in metrics.items() if name != "broken"} == {"mse": 2.5, "alpha": 1.0}
    assert math.isnan(metrics["broken"])


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_transient_error_is_tried_again(status: int) -> None:
    assert retry_when_transient(None, None, Failed(data=HttpError(status)))  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [HttpError(400), HttpError(401), HttpError(403), HttpError(409), ValueError("no")])
def test_any_other_error_is_not(error: Exception) -> None:
    assert not retry_when_transient(None, None, Failed(data=error))  # type: ignore[arg-type]


def test_an_error_of_the_sdk_becomes_a_sentence_with_the_next_step_and_stays_the_cause() -> None:
    with pytest.raises(ComputeError) as caught, explained(ComputeError, "create cluster 'c'", "Check the quota."):
        raise ValueError("no\n  cores left")

    assert str(caught.value) == "Could not create cluster 'c': no cores left Check the quota."
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_refused_login_says_so_whatever_was_tried() -> None:
    refused = pytest.raises(ConnectionToAzureError, match=r"refused to create cluster 'c'.*403.*Check the login")

    with refused, explained(ComputeError, "create cluster 'c'", "Check the quota."):
        raise HttpError(403)


def test_without_a_login_it_says_how_to_get_one_instead_of_all_that_was_tried() -> None:
    with (
        pytest.raises(ConnectionToAzureError) as caught,
        explained(ComputeError, "get cluster 'c'", "Check the quota."),
    ):
        raise ValueError("token") from CredentialUnavailableError("EnvironmentCredential: a very long story")

    assert caught.value.message == "There is no login with which to get cluster 'c'."
    assert "az login" in caught.value.next_step


def test_an_error_of_ours_passes_as_it_is() -> None:
    ours = pytest.raises(MlopsError, match=r"^There is no such run\. Start again\.$")

    with ours, explained(ComputeError, "create cluster 'c'", "Check the quota."):
        raise MlopsError("There is no such run.", "Start again.")
