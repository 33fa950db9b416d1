"""What can go wrong, in one tree, and whether trying again can help.

Exception
└── MlopsError
    ├── ConnectionToAzureError   no login, no network, no trust in the server's certificate
    ├── WorkspaceError           the workspace cannot be had or made
    ├── DataError                a data set cannot be read, or not be compared with its reference
    ├── ComputeError             a compute target cannot be had, made or changed
    ├── EnvironmentBuildError    an environment cannot be registered or built
    ├── TrainingError            the run failed, was cancelled, or left no model
    ├── MetricNotLogged          the gate's metric is not among those of a run
    ├── MetricNotFinite          the gate's metric is NaN or infinite
    ├── TestSetError             the predictions on the test data are not there, or cannot be compared
    ├── RegistrationError        the model cannot be registered
    ├── ProfilingError           the model cannot be profiled
    ├── DeploymentError          a service does not get healthy
    ├── EndpointTestError        a service answers, but wrongly
    ├── LoadTestError            a service misses its objectives under load
    ├── CanaryError              a new version does not hold beside the former one
    └── OperationTimeout         an operation took longer than its own deadline
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator

# 501 is left out of the 5xx: a server that does not know a request will not know it in a minute.
_TRANSIENT_STATUSES = frozenset({408, 429, *range(500, 600)} - {501})

# azureml's WebserviceException and ComputeTargetException name the status on a line of their text and nowhere else.
_STATUS_IN_TEXT = re.compile(r"^Response Code: (\d{3})$", re.MULTILINE)


class MlopsError(Exception):
    """An operation failed.

    Args:
        message: one sentence that says what failed, on which resource and why.
        next_step: one sentence that says what to do about it.
        log_tail: the last lines of the run's, build's or service's own log; kept out of ``str()``.
    """

    def __init__(self, message: str, next_step: str, log_tail: str | None = None) -> None:
        super().__init__(message, next_step)
        self.message = message
        self.next_step = next_step
        self.log_tail = log_tail

    def __str__(self) -> str:
        return f"{self.message} {self.next_step}"


class ConnectionToAzureError(MlopsError):
    """Azure, or the emulator, cannot be reached or does not let us in."""


class WorkspaceError(MlopsError):
    """The workspace cannot be had or made."""


class DataError(MlopsError):
    """A data set cannot be read, or cannot be compared with its reference."""


class ComputeError(MlopsError):
    """A compute target cannot be had, made or changed."""


class EnvironmentBuildError(MlopsError):
    """An environment cannot be registered or built."""


class TrainingError(MlopsError):
    """The training run failed, was cancelled, or left no model."""


class CancelledWithAnother(TrainingError):  # noqa: N818 - says what happened, as FileNotFound does
    """The training run was cancelled because another flow run was, which waited for it, too."""


class MetricNotLogged(MlopsError):  # noqa: N818
    """A metric that the gate compares was not logged by a run."""


class MetricNotFinite(MlopsError):  # noqa: N818
    """A metric that the gate compares is NaN or infinite."""


class TestSetError(MlopsError):
    """The predictions on the test data are not there, or cannot be compared."""

    __test__ = False  # pytest collects classes by this name


class RegistrationError(MlopsError):
    """The model cannot be registered."""


class ProfilingError(MlopsError):
    """The model cannot be profiled."""


class DeploymentError(MlopsError):
    """A service does not get healthy."""


class EndpointTestError(MlopsError):
    """A service answers, but wrongly."""


class LoadTestError(MlopsError):
    """A service misses its objectives under load."""


class CanaryError(MlopsError):
    """A new version does not hold beside the former one."""


class OperationTimeout(MlopsError):  # noqa: N818
    """An operation took longer than its own deadline."""


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed a little later.

    True for HTTP 408, 429 and 5xx (but 501) and for broken or timed out connections; False for every other status, for
    a certificate that is not trusted, for a deadline of our own that has passed, and for whatever is not known. The
    error itself is asked first, then what it was raised from; the first that knows a status or a broken connection
    decides.
    """
    chain = list(_chain(error))
    if any(isinstance(link, (ssl.SSLCertVerificationError, OperationTimeout)) for link in chain):
        return False
    for link in chain:
        status = _http_status(link)
        if status is not None:
            return status in _TRANSIENT_STATUSES
        if _is_broken_connection(link):
            return True
    return False


def is_login_failure(error: BaseException) -> bool:
    """Whether azure-identity had no login to offer, or Microsoft Entra ID refused the one that it offered."""
    from azure.core.exceptions import ClientAuthenticationError

    return any(isinstance(link, ClientAuthenticationError) for link in _chain(error))


def http_status(error: BaseException) -> int | None:
    """The HTTP status that ended the call, from the error or from what it was raised from; None when there is none."""
    statuses = (_http_status(link) for link in _chain(error))
    return next((status for status in statuses if status is not None), None)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and all that led to it. msrest and azure-core keep the cause in ``inner_exception`` only."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        link = waiting.pop(0)
        if isinstance(link, BaseException) and id(link) not in seen:
            seen.add(id(link))
            yield link
            waiting += [link.__cause__, getattr(link, "inner_exception", None), link.__context__]


def _http_status(error: BaseException) -> int | None:
    """The HTTP status of the error (ServiceException), of its response (msrest, requests) or in its text."""
    for bearer in (error, getattr(error, "response", None)):
        status = getattr(bearer, "status_code", None)
        if status is not None:
            return int(status)
    # The first argument, because str() of some SDK errors raises an error of its own.
    text = error.args[0] if error.args else None
    found = _STATUS_IN_TEXT.search(text) if isinstance(text, str) else None
    return int(found[1]) if found else None


def _is_broken_connection(error: BaseException) -> bool:
    # Imported here because only a failed call asks, and then they are loaded already.
    import requests
    import urllib3

    return isinstance(
        error,
        (
            ConnectionError,
            TimeoutError,
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
            urllib3.exceptions.ProtocolError,
            urllib3.exceptions.TimeoutError,
        ),
    )
