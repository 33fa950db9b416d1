"""Steps: Prefect tasks as a person sees them, one after the other or several at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed
from prefect.tasks import exponential_backoff

from flows.artifacts import StepProgress
from tasks.operation import is_lasting
from tasks.progress import listening

if TYPE_CHECKING:
    from prefect import Task
    from prefect.futures import PrefectFuture

    from flows.console import Console
    from settings.waiting import RetrySettings

P = ParamSpec("P")
R = TypeVar("R")


class Started(Generic[R]):
    """A step that was started beside the others; ``result()`` waits for it and raises what it raised."""

    def __init__(self, future: PrefectFuture[R]) -> None:
        self._future = future

    def result(self) -> R:
        return self._future.result()

    def wait(self) -> None:
        self._future.wait()


class Done(Started[R]):
    """A step that has ended already."""

    def __init__(self, value: R) -> None:
        self._value = value

    def result(self) -> R:
        return self._value

    def wait(self) -> None:
        pass


class Steps:
    """Runs tasks under a name on the console, with retries as the settings say.

    Args:
        debugging: one step after the other in the flow's own thread, tried once and without Prefect's time limits, so
            that nothing pulls a debugger's prompt away.
    """

    def __init__(self, console: Console, retries: RetrySettings, debugging: bool = False) -> None:
        self._console = console
        self._retries = retries
        self._debugging = debugging
        self._started: list[Started[Any]] = []

    def run(self, name: str, task: Task[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a task and wait for it."""
        percent = StepProgress(name).show if is_lasting(task) else None
        with (
            self._console.step(name, lasting=is_lasting(task)) as step,
            listening(step.detail, step.show, percent, step.log),
        ):
            return self._configured(name, task)(*args, **kwargs)

    def start(self, name: str, task: Task[P, R], *args: P.args, **kwargs: P.kwargs) -> Started[R]:
        """Start a task in a thread of its own."""
        if self._debugging:
            return Done(self.run(name, task, *args, **kwargs))
        shown = ExitStack()
        step = shown.enter_context(self._console.step(name))
        with listening(step.detail, step.show):  # the thread inherits it
            # Prefect's limit cannot interrupt a thread, and every run's log would say so.
            future = self._configured(name, task).with_options(timeout_seconds=0).submit(*args, **kwargs)
        future.add_done_callback(_closing(shown))
        started = Started(future)
        self._started.append(started)
        return started

    def skip(self, names: Sequence[str], reason: str) -> None:
        """Show steps that the run does not take, and why: to Prefect, task runs in a state of that name."""
        for name in names:
            _skip.with_options(name=name, task_run_name=f"{name} (skipped)")(reason, return_state=True)
        self._console.say(f"- skipped: {', '.join(names)}: {reason}")

    def wait(self) -> None:
        """Wait for all that was started, so that nothing is left half done, however it ends."""
        for started in self._started:
            started.wait()

    def join(self) -> None:
        """The same, and raise what went wrong: a step that nobody asked for its result must not fail in silence."""
        self.wait()
        for started in self._started:
            started.result()

    def _configured(self, name: str, task: Task[P, R]) -> Task[P, R]:
        configured: Task[P, R] = task.with_options(
            name=name,
            task_run_name=name,
            retries=0 if self._debugging else self._retries.attempts - 1,
            timeout_seconds=0 if self._debugging else None,  # 0 is none, and None the task's own
            retry_delay_seconds=exponential_backoff(self._retries.first_delay_seconds),
        )
        return configured


@task(cache_policy=NO_CACHE, persist_result=False)
def _skip(reason: str) -> State[Any]:
    return Completed(name="Skipped", message=reason)


def _closing(shown: ExitStack) -> Callable[[PrefectFuture[Any]], None]:
    """Mark a started step as done or failed when its future ends; the error itself is raised by ``result()``."""

    def close(future: PrefectFuture[Any]) -> None:
        failure = future.state.result(raise_on_failure=False) if future.state.is_failed() else None
        if isinstance(failure, BaseException):
            shown.__exit__(type(failure), failure, failure.__traceback__)
        else:
            shown.close()

    return close
