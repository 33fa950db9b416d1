"""What every Azure operation has in common: it is a Prefect task that tries again when that can help, and only then."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.task_engine import TaskRunTimeoutError
from prefect.tasks import exponential_backoff

from tasks.errors import ConnectionToAzureError, MlopsError, http_status, is_login_failure, is_transient

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State, TaskRun
    from prefect.tasks import Task

P = ParamSpec("P")
R = TypeVar("R")

_RETRIES = 3
_FIRST_DELAY_SECONDS = 2.0
_JITTER = 0.5
_TIMEOUT_SECONDS = 15 * 60.0
# azureml's compute targets put the answer of Azure Resource Manager into their exception as the bytes that came.
_QUOTED_ANSWER = re.compile(r"^Content: (b(['\"]).*\2)$", re.MULTILINE | re.DOTALL)


def retry_when_transient(_: Task[..., Any], __: TaskRun, state: State[Any]) -> bool:
    """Prefect's ``retry_condition_fn``: only after 408, 429, 5xx and broken connections.

    Not after Prefect's own timeout: what took a quarter of an hour once will take it again.
    """
    error = state.result(raise_on_failure=False)
    if isinstance(error, TaskRunTimeoutError):
        return False
    return isinstance(error, BaseException) and is_transient(error)


def is_lasting(operation: Task[..., Any]) -> bool:
    """Whether an operation may take minutes or hours: it then has a deadline of its own, and no common limit.

    Not told by a tag: for tags Prefect asks the server for a concurrency slot before each task, which takes two
    seconds when the connection was idle for five.
    """
    return operation.timeout_seconds is None


def azure_operation(name: str, *, lasting: bool = False) -> Callable[[Callable[P, R]], Task[P, R]]:
    """A Prefect task around one operation on Azure ML.

    Its results are never cached: whatever is got, compared, registered or deployed is asked of Azure each time.

    Args:
        name: of the task in Prefect's UI, unless the flow gives it one.
        lasting: it may take minutes or hours, and has a deadline of its own instead of the common limit.
    """

    def decorate(function: Callable[P, R]) -> Task[P, R]:
        return task(
            name=name,
            task_run_name=name,
            cache_policy=NO_CACHE,
            persist_result=False,
            timeout_seconds=None if lasting else _TIMEOUT_SECONDS,
            retries=_RETRIES,
            retry_delay_seconds=exponential_backoff(_FIRST_DELAY_SECONDS),
            retry_jitter_factor=_JITTER,
            retry_condition_fn=retry_when_transient,
        )(function)

    return decorate


def first_sentences(message: str | None) -> str:
    """What Azure says in ``message``, as the end of a sentence: ": script 'train.py' ended with exit code 1", or "".

    Its first line, without what only announces the lines that follow it (a log, which is shown elsewhere).
    """
    lines = (message or "").strip().splitlines()
    sentences = re.split(r"(?<=[.!?]) ", lines[0].strip()) if lines else []
    told = " ".join(sentence for sentence in sentences if not sentence.endswith(":"))
    return f": {told.rstrip('.')}" if told else ""


def said_by_azure(error: BaseException) -> str:
    """What an exception of the SDK says, on one line; of a whole HTTP answer that it quotes, Azure's own message."""
    text = str(getattr(error, "message", None) or error)
    quoted = _QUOTED_ANSWER.search(text)
    if quoted is not None:
        # What is no JSON of Azure's is shown as it is.
        with suppress(ValueError, SyntaxError, TypeError, KeyError):
            text = str(json.loads(ast.literal_eval(quoted[1]))["error"]["message"])
    return " ".join(text.split())


@contextmanager
def explained(kind: type[MlopsError], what: str, next_step: str) -> Iterator[None]:
    """Turn the SDK's exceptions into one sentence about ``what``; the original stays the cause.

    Raises:
        MlopsError: of ``kind``, or ConnectionToAzureError when there was no answer or no admittance.
    """
    try:
        yield
    except MlopsError:
        raise
    except Exception as error:
        if is_login_failure(error):
            raise ConnectionToAzureError(
                f"There is no login with which to {what}.",
                "Run `az login`, or set AZURE_CREDENTIALS (or AZURE_CLIENT_ID, AZURE_TENANT_ID, AZURE_CLIENT_SECRET); "
                "set workspace.cloud to emulator to run on this machine.",
            ) from error
        status = http_status(error)
        reason = said_by_azure(error)
        if status in (401, 403):
            raise ConnectionToAzureError(
                f"Azure refused to {what} (HTTP {status}): {reason}",
                "Check the login (az account show, or AZURE_CREDENTIALS) and that it has the role "
                "Contributor on the workspace.",
            ) from error
        if status is None and is_transient(error):
            raise ConnectionToAzureError(
                f"There was no connection to {what}: {reason}",
                "Check the network; for the emulator, `python -m emulator status`.",
            ) from error
        raise kind(f"Could not {what}: {reason}", next_step) from error
