"""A promoting run is killed with SIGKILL at each of its steps and in its waits, and started again.

It then ends as one that nobody has disturbed: one training run and one model version more, no service but production's,
which has answered all the while. A step's line `started` comes right after the line `✓` of the step before it: killed
there, a run has ended the one and not begun the other. Each release is killed at several of its lines, one after the
other, and then left alone. The tests build on one another: each trains a model that is a little better.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.flow.conftest import Checkout
from tests.flow.steady_caller import SteadyCaller
from tests.reliability.conftest import new_workspace_name
from tests.reliability.interrupted import Leftovers, Moment, doing, done, leftovers, open_workspace, step

if TYPE_CHECKING:
    from azureml.core import Workspace

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(900)]

HEALTHY = "waiting until healthy"
FIRST_RELEASE = (step("training environment"), step("training"), doing("deploy to prod", HEALTHY))
LEARNING = (
    step("workspace"),
    step("data"),
    step("training compute"),
    step("submit training"),
    step("training"),
    doing("training", "Running"),
    step("turn to release"),
    step("settle production"),
    step("evaluation"),
)
TRYING_OUT = (
    step("prepare profile"),
    step("registration"),
    step("profile"),
    doing("profile", "measuring"),
    step("deploy to dev"),
    doing("deploy to dev", HEALTHY),
    step("test dev"),
    step("remove dev"),
    doing("deploy to test", HEALTHY),
    step("test test"),
    step("remove test"),
    step("find prod"),
    step("deploy to prod"),
)
RELEASES = {
    "replace": [
        LEARNING,
        TRYING_OUT,
        (doing("deploy to prod", "updating"),),
        (doing("deploy to prod", HEALTHY),),
        (done("deploy to prod"),),
        (step("test prod"), step("test prod")),
        (step("mark as production"),),
    ],
    "canary": [
        (doing("deploy to prod", "creating"),),
        (doing("deploy to prod", HEALTHY),),
        (step("test prod"), step("canary 10 %")),
        (doing("canary 50 %", "50 percent"),),
        (step("all traffic"),),
        (doing("all traffic", "removing"),),
        (step("mark as production"),),
    ],
}
NUMBERS = range(7)  # the same for each, or pytest would make a workspace for each release
# Callers, run and models share this machine: speed is not what these tests are about.
UNHURRIED = {
    "deployment.prod_deployment.canary.unnoticed_ms": "5000",
    "deployment.prod_deployment.canary.requests_per_step": "50",
    "deployment.test_deployment.objectives.latency_p95_ms": "null",
    "deployment.test_deployment.objectives.max_error_rate": "null",
}


@pytest.fixture(scope="module", params=list(RELEASES))
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
def unhurried_training(checkout: Checkout) -> None:
    """Training that is still going on when a killed run is started again."""
    script = checkout.directory / "code/training/train.py"
    script.write_text(script.read_text().replace("import argparse\n", "import argparse, time\ntime.sleep(10)\n", 1))


@pytest.fixture(scope="module")
def moment(checkout: Checkout, strategy: str, unhurried_training: None) -> Moment:
    """A workspace for each strategy."""
    checkout.environment["WORKSPACE_NAME"] = new_workspace_name()
    return Moment(checkout, options({**UNHURRIED, "deployment.prod_deployment.strategy": strategy}))


def options(settings: dict[str, str]) -> tuple[str, ...]:
    return tuple(word for name, value in settings.items() for word in ("--set", f"{name}={value}"))


def alpha_is(alpha: float) -> tuple[str, ...]:
    return options({"experiment.script_parameters.--alpha": str(alpha)})


def after_a_release(before: Leftovers, run_id: str) -> Leftovers:
    """What is in the workspace when a run has released its model, and nothing else has happened."""
    version = max(before.models, default=0) + 1
    return Leftovers(
        runs={**before.runs, run_id: "Completed"},
        models={**dict.fromkeys(before.models, "archived"), version: "production"},
        services={"diabetes-prod": {version}},
    )


@pytest.mark.parametrize("number", NUMBERS)
def test_a_killed_run_that_is_started_again_promotes_as_if_nothing_had_been(
    moment: Moment, workspace: Workspace, caller: SteadyCaller, strategy: str, number: int
) -> None:
    before, alpha = leftovers(workspace), round(0.49 - 0.01 * number, 2)

    for point in RELEASES[strategy][number]:
        moment.kill(point, *alpha_is(alpha))
        moment.give_up_turn()
    run = moment.checkout.run(*moment.arguments, *alpha_is(alpha))

    assert run.exit_status == 0, run.terminal
    assert run.report["outcome"] == "Promoted", run.terminal
    assert leftovers(workspace) == after_a_release(before, run.report["run"]["id"])
    assert caller.failures == []


@pytest.mark.parametrize("strategy", ["replace"], indirect=True)
def test_the_turn_of_a_killed_run_ends_by_itself(
    moment: Moment, workspace: Workspace, caller: SteadyCaller, strategy: str
) -> None:
    before = leftovers(workspace)

    moment.kill(done("registration"), *alpha_is(0.3))
    run = moment.checkout.run(*moment.arguments, *alpha_is(0.3))

    assert run.report["outcome"] == "Promoted", run.terminal
    assert leftovers(workspace) == after_a_release(before, run.report["run"]["id"])
    assert caller.failures == []


@pytest.mark.parametrize("strategy", ["replace"], indirect=True)
def test_a_model_that_production_served_is_archived_though_its_release_was_broken_off(
    moment: Moment, workspace: Workspace, caller: SteadyCaller, strategy: str
) -> None:
    before = leftovers(workspace).models
    moment.kill(done("deploy to prod"), *alpha_is(0.28))
    moment.give_up_turn()

    run = moment.checkout.run(*moment.arguments, *alpha_is(0.27))

    assert run.report["outcome"] == "Promoted", run.terminal
    broken_off = max(before) + 1
    assert leftovers(workspace).models == {
        **dict.fromkeys((*before, broken_off), "archived"),
        broken_off + 1: "production",
    }
    assert caller.failures == []


@pytest.mark.parametrize("strategy", ["replace"], indirect=True)
def test_a_run_that_is_killed_when_all_is_done_has_nothing_left_to_do(
    moment: Moment, workspace: Workspace, caller: SteadyCaller, strategy: str
) -> None:
    before = leftovers(workspace)

    moment.kill(done("mark as production"), *alpha_is(0.25))
    moment.give_up_turn()
    run = moment.checkout.run(*moment.arguments, *alpha_is(0.25))

    assert run.report["outcome"] == "NotPromoted", run.terminal
    assert leftovers(workspace) == after_a_release(before, run.report["run"]["id"])
    assert caller.failures == []


@pytest.mark.parametrize("strategy", ["replace"], indirect=True)
def test_what_a_killed_run_has_left_is_removed_by_one_that_releases_nothing(
    moment: Moment, workspace: Workspace, caller: SteadyCaller, strategy: str
) -> None:
    before = leftovers(workspace)
    moment.kill(step("test test"), *alpha_is(0.2))
    moment.give_up_turn()
    assert leftovers(workspace).services.keys() == {"diabetes-prod", "diabetes-test"}

    run = moment.checkout.run(*moment.arguments, *alpha_is(10))

    assert run.report["outcome"] == "NotPromoted", run.terminal
    assert leftovers(workspace).services == before.services
    assert caller.failures == []


@pytest.mark.parametrize("strategy", ["replace"], indirect=True)
def test_the_first_release_of_a_workspace(moment: Moment, strategy: str, sdk: None) -> None:
    name = new_workspace_name()
    checkout = replace(moment.checkout, environment={**moment.checkout.environment, "WORKSPACE_NAME": name})
    first = replace(moment, checkout=checkout)

    for point in FIRST_RELEASE:
        first.kill(point, *alpha_is(0.5))
        first.give_up_turn()
    run = checkout.run(*first.arguments, *alpha_is(0.5))

    assert run.report["outcome"] == "Promoted", run.terminal
    assert leftovers(open_workspace(name)) == after_a_release(Leftovers({}, {}, {}), run.report["run"]["id"])
