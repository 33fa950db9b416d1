"""A promoting run is killed with SIGKILL at each of its steps and in its waits, and started again.

It then ends as one that nobody has disturbed: one training run and one model version more, no service but production's,
which has answered all the while. The tests build on one another: each trains a model that is a little better.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.flow.conftest import Checkout
from tests.flow.steady_caller import SteadyCaller
from tests.reliability.conftest import new_workspace_name
from tests.reliability.interrupted import Leftovers, Moment, doing, done, leftovers, step

if TYPE_CHECKING:
    from azureml.core import Workspace

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(600)]

POINTS = {
    "replace": [
        step("workspace"),
        step("data"),
        step("training compute"),
        step("submit training"),
        done("submit training"),
        doing("training", "Running"),
        step("turn to release"),
        step("settle production"),
        step("evaluation"),
        step("prepare profile"),
        done("prepare profile"),
        step("registration"),
        done("registration"),
        doing("profile", "measuring"),
        done("profile"),
        step("deploy to dev"),
        doing("deploy to dev", "waiting until healthy"),
        step("test dev"),
        step("remove dev"),
        step("deploy to test"),
        doing("deploy to test", "waiting until healthy"),
        step("test test"),
        step("load test"),
        step("remove test"),
        step("deploy to prod"),
        doing("deploy to prod", "waiting until healthy"),
        step("test prod"),
        step("mark as production"),
    ],
    "canary": [
        step("deploy to prod"),
        doing("deploy to prod", "creating"),
        step("test prod"),
        step("canary 10 %"),
        done("canary 10 %"),
        step("canary 50 %"),
        step("all traffic"),
        done("all traffic"),
    ],
}
ALPHAS = [round(0.49 - 0.01 * number, 2) for number in range(max(map(len, POINTS.values())))]
WAITING_FOR_THE_LEASE = done("registration")  # the one restart that waits for the turn as it would without these tests


@pytest.fixture(scope="module", params=list(POINTS))
def strategy(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def caller(workspace: Workspace, checkout: Checkout) -> Iterator[SteadyCaller]:
    """Somebody who calls production from the first release to the last."""
    from azureml.core import Webservice

    service = Webservice(workspace, "diabetes-prod")
    body = (checkout.directory / "code/testing/sample_request.json").read_bytes()
    with SteadyCaller(service.scoring_uri, service.get_keys()[0], body) as calling:
        yield calling


@pytest.fixture(scope="module")
def moment(checkout: Checkout, strategy: str) -> Moment:
    """A workspace for each strategy, whose candidates are not called slow because the machine is busy."""
    checkout.environment["WORKSPACE_NAME"] = new_workspace_name()
    settings = {"strategy": strategy, "canary.unnoticed_ms": 500}
    options = [f"deployment.prod_deployment.{name}={value}" for name, value in settings.items()]
    return Moment(checkout, tuple(word for option in options for word in ("--set", option)))


@pytest.mark.parametrize(
    ("strategy", "point", "alpha"),
    [
        pytest.param(strategy, point, alpha, id=f"{strategy}, {point}")
        for strategy, points in POINTS.items()
        for point, alpha in zip(points, ALPHAS, strict=False)
    ],
    indirect=["strategy"],
)
def test_a_killed_run_that_is_started_again_promotes_as_if_nothing_had_been(
    moment: Moment, workspace: Workspace, caller: SteadyCaller, strategy: str, point: str, alpha: float
) -> None:
    before = leftovers(workspace)
    options = ("--set", f"experiment.script_parameters.--alpha={alpha}")

    moment.kill(point, *options)
    if point != WAITING_FOR_THE_LEASE:
        moment.give_up_turn()
    run = moment.checkout.run(*moment.arguments, *options)

    assert run.exit_status == 0, run.terminal
    assert run.report["outcome"] == "Promoted", run.terminal
    if point == done("profile"):
        assert {"training (cached)", "profile (cached)"} <= run.report["timings"].keys()
    after, version = leftovers(workspace), max(before.models) + 1
    assert after == Leftovers(
        runs={**before.runs, run.report["run"]["id"]: "Completed"},
        models={**dict.fromkeys(before.models, "archived"), version: "production"},
        services={"diabetes-prod": {version}},
    )
    assert caller.failures == []


@pytest.mark.parametrize("strategy", ["replace"], indirect=True)
def test_a_run_that_is_killed_when_all_is_done_has_nothing_left_to_do(
    moment: Moment, workspace: Workspace, caller: SteadyCaller, strategy: str
) -> None:
    before = leftovers(workspace)
    options = ("--set", "experiment.script_parameters.--alpha=0.15")

    moment.kill(done("mark as production"), *options)
    moment.give_up_turn()
    run = moment.checkout.run(*moment.arguments, *options)

    assert run.report["outcome"] == "NotPromoted", run.terminal
    after, version = leftovers(workspace), max(before.models) + 1
    assert len(after.runs) == len(before.runs) + 1
    assert after.models == {**dict.fromkeys(before.models, "archived"), version: "production"}
    assert after.services == {"diabetes-prod": {version}}
    assert caller.failures == []
