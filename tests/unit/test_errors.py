"""Which failures are tried again, and what an error says. The SDK's own exceptions, made as the SDK makes them."""

from __future__ import annotations

import pickle
import ssl

import pytest
import requests
import urllib3
from azure.core.exceptions import HttpResponseError, ServiceRequestError
from azureml._restclient.models.error_response import ErrorResponseException
from azureml.exceptions import ServiceException, WebserviceException

from tasks.errors import (
    DeploymentError,
    MetricNotLogged,
    MlopsError,
    OperationTimeout,
    TrainingError,
    is_transient,
)

pytestmark = pytest.mark.unit

TRANSIENT = [408, 429, 500, 502, 503, 504]
FINAL = [400, 401, 403, 404, 409, 422, 501]


def response(status: int) -> requests.Response:
    answer = requests.Response()
    answer.status_code = status
    return answer


def from_requests(status: int) -> Exception:
    return requests.HTTPError("refused", response=response(status))


def from_rest_client(status: int) -> Exception:
    return ServiceException(ErrorResponseException(lambda *_: None, response(status)))


def from_model_management(status: int) -> Exception:
    return WebserviceException(
        f"Received bad response from Model Management Service:\nResponse Code: {status}\nHeaders: {{}}\nContent: b''"
    )


def from_model_management_with_status(status: int) -> Exception:
    return WebserviceException("Missing response header key: Operation-Location", status)


def from_azure_core(status: int) -> Exception:
    error = HttpResponseError("refused")
    error.status_code = status
    return error


MAKERS = [
    from_requests,
    from_rest_client,
    from_model_management,
    from_model_management_with_status,
    from_azure_core,
]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("status", TRANSIENT)
def test_a_busy_or_broken_server_is_asked_again(make, status):
    assert is_transient(make(status))


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("status", FINAL)
def test_a_refusal_is_final(make, status):
    assert not is_transient(make(status))


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError("reset by peer"),
        TimeoutError("timed out"),
        requests.ConnectionError("refused"),
        requests.ReadTimeout("timed out"),
        requests.exceptions.ChunkedEncodingError("cut off"),
        urllib3.exceptions.ProtocolError("cut off"),
        urllib3.exceptions.ReadTimeoutError(None, "/", "timed out"),
        ServiceRequestError("no route", error=requests.ConnectionError("refused")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_broken_connection_is_tried_again(error):
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("503"),
        KeyError("mse"),
        OSError("disk full"),
        KeyboardInterrupt(),
        MetricNotLogged("No mse.", "Log it."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_that_is_not_known_is_final(error):
    assert not is_transient(error)


def test_a_status_somewhere_in_a_text_is_not_taken_for_the_servers():
    assert not is_transient(WebserviceException("the script answered 'Response Code: 503' to row 1"))


def raised_from(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def raised_while_handling(error: Exception, context: Exception) -> Exception:
    error.__context__ = context
    return error


@pytest.mark.parametrize("wrap", [raised_from, raised_while_handling])
def test_what_an_error_was_raised_from_decides_when_it_says_nothing_itself(wrap):
    failure = DeploymentError("Service diabetes-dev cannot be deployed.", "Try again.")
    assert is_transient(wrap(failure, from_requests(503)))
    assert not is_transient(wrap(failure, from_requests(403)))


def test_the_last_answer_counts_and_not_an_earlier_one():
    assert not is_transient(raised_while_handling(from_requests(401), ConnectionResetError("reset by peer")))
    assert is_transient(raised_while_handling(from_requests(503), from_requests(404)))


def test_an_untrusted_certificate_is_final_however_deep_it_lies():
    untrusted = ssl.SSLCertVerificationError("self-signed certificate")
    assert not is_transient(raised_while_handling(requests.exceptions.SSLError("TLS"), untrusted))
    assert not is_transient(ServiceRequestError("TLS", error=raised_from(requests.ConnectionError("TLS"), untrusted)))


def test_a_deadline_of_our_own_is_final():
    late = OperationTimeout("Run r1 took longer than 60 s.", "Raise max_run_duration_seconds.")
    assert not is_transient(raised_from(late, ConnectionResetError("reset by peer")))


def test_errors_that_refer_to_each_other_come_to_an_end():
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__context__ = other, one
    assert not is_transient(one)


def test_an_error_says_what_failed_and_what_to_do_next_and_keeps_the_log_apart():
    error = TrainingError("Run r1 failed with exit code 1.", "Correct train.py.", log_tail="ValueError: no data")
    assert str(error) == "Run r1 failed with exit code 1. Correct train.py."
    assert "no data" not in repr(error)
    assert error.log_tail == "ValueError: no data"


def test_an_error_survives_the_way_between_processes():
    error = pickle.loads(pickle.dumps(TrainingError("Run r1 failed.", "Correct train.py.", log_tail="the log")))
    assert isinstance(error, TrainingError)
    assert isinstance(error, MlopsError)
    assert (error.message, error.next_step, error.log_tail) == ("Run r1 failed.", "Correct train.py.", "the log")
