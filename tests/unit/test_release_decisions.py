"""What a release decides without Azure: objectives, bounds of a canary, which version comes back, CPU and memory."""

from __future__ import annotations

from typing import Any

import pytest

from settings.deployment import CanarySettings, DeploymentSettings, LoadObjectives, ProfilingSettings
from tasks.canary import exceeded
from tasks.endpoint_contract import broken_by, differs, wrong_inputs
from tasks.evaluation import PRODUCTION
from tasks.load import unmet, wanted
from tasks.profiling import resources_missing, within_bounds
from tasks.registration import ARCHIVED, ROLLED_BACK, released_before
from tasks.values import LatencyProfile, Load, ModelProfile

pytestmark = pytest.mark.unit

QUICK = Load(requests=100, seconds=2, error_rate=0, requests_per_second=50, p50_ms=10, p95_ms=20, p99_ms=30)
METRICS = {"smaller_is_better": ("mse",), "larger_is_better": ()}
SAMPLE = {"data": [[1.0, 2.0]]}
ROWS = {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}


def load(**changes: Any) -> Load:
    return QUICK.model_copy(update=changes)


class TestObjectives:
    def test_without_one_there_is_no_load_test_and_nothing_is_missed(self) -> None:
        assert not wanted(LoadObjectives())
        assert list(unmet(load(error_rate=1), LoadObjectives())) == []

    @pytest.mark.parametrize("name", list(LoadObjectives.model_fields))
    def test_one_is_enough_for_a_load_test_also_when_it_is_0(self, name: str) -> None:
        assert wanted(LoadObjectives.model_validate({name: 0.5}))
        assert wanted(LoadObjectives(max_error_rate=0))

    def test_what_is_just_reached_is_met(self) -> None:
        objectives = LoadObjectives(
            latency_p50_ms=10, latency_p95_ms=20, latency_p99_ms=30, min_requests_per_second=50, max_error_rate=0
        )
        assert list(unmet(QUICK, objectives)) == []

    @pytest.mark.parametrize(
        ("objective", "sentence"),
        [
            ({"latency_p50_ms": 9.9}, "p50 was 10 ms, and 9.9 ms is the objective"),
            ({"latency_p95_ms": 19}, "p95 was 20 ms, and 19 ms is the objective"),
            ({"latency_p99_ms": 29}, "p99 was 30 ms, and 29 ms is the objective"),
            ({"min_requests_per_second": 51}, "50 requests a second were answered, and 51 is the objective"),
        ],
    )
    def test_what_is_missed_is_told_with_the_numbers(self, objective: dict[str, float], sentence: str) -> None:
        assert list(unmet(QUICK, LoadObjectives.model_validate(objective))) == [sentence]

    def test_errors_are_told_with_the_first_of_them(self) -> None:
        found = unmet(load(error_rate=0.02, first_error="HTTP 503: full"), LoadObjectives(max_error_rate=0.01))
        assert list(found) == [
            "2.00% of the requests were errors, and 1.00% is the objective (the first: HTTP 503: full)"
        ]

    def test_all_that_is_missed_is_told(self) -> None:
        objectives = LoadObjectives(latency_p50_ms=1, latency_p95_ms=1, min_requests_per_second=1000)
        assert len(list(unmet(QUICK, objectives))) == 3


class TestCanary:
    BOUNDS = CanarySettings(max_error_rate=0.01, max_latency_ratio=2, unnoticed_ms=5)

    def test_a_version_as_the_former_one_is_within_all_bounds(self) -> None:
        assert list(exceeded(QUICK, QUICK, QUICK, self.BOUNDS)) == []

    def test_the_bounds_themselves_are_kept(self) -> None:
        assert list(exceeded(load(p95_ms=40, error_rate=0.01), QUICK, QUICK, self.BOUNDS)) == []

    def test_a_slower_version_is_told_beside_the_former_one(self) -> None:
        assert list(exceeded(load(p95_ms=41), QUICK, QUICK, self.BOUNDS)) == [
            "the new version's p95 was 41 ms beside the former one's 20 ms, and 40 ms is the bound"
        ]

    def test_of_quick_versions_some_milliseconds_count_for_nothing(self) -> None:
        former = load(p95_ms=1)
        assert list(exceeded(load(p95_ms=6), former, QUICK, self.BOUNDS)) == []
        assert len(list(exceeded(load(p95_ms=6.1), former, QUICK, self.BOUNDS))) == 1

    def test_errors_of_the_version_and_of_the_endpoint_are_told_apart(self) -> None:
        failing = load(error_rate=0.5, first_error="HTTP 500: no")
        assert list(exceeded(failing, QUICK, failing, self.BOUNDS)) == [
            f"50.00% of the requests {what} were errors, and 1.00% is the bound (the first: HTTP 500: no)"
            for what in ("of the new version", "by the endpoint's address")
        ]

    def test_errors_of_the_former_version_are_not_held_against_the_new_one(self) -> None:
        assert list(exceeded(QUICK, load(error_rate=1), QUICK, self.BOUNDS)) == []


@pytest.mark.parametrize(
    ("served", "stages", "found"),
    [
        (1, {1: PRODUCTION}, None),
        (3, {1: ARCHIVED, 2: ARCHIVED, 3: PRODUCTION}, 2),
        # Version 2 was taken back by hand: from 3, released since, nobody wants to go there.
        (3, {1: ARCHIVED, 2: ROLLED_BACK, 3: PRODUCTION}, 1),
        # A rollback from 3 to 1, and then again: there is nothing before 1.
        (1, {1: PRODUCTION, 2: ARCHIVED, 3: ROLLED_BACK}, None),
        # The release of 3 was broken off before it was marked.
        (3, {1: ARCHIVED, 2: PRODUCTION}, 2),
        # A rollback to 1 was broken off before it was marked: it is brought to its end.
        (1, {1: ARCHIVED, 2: PRODUCTION}, 1),
        (2, {1: ARCHIVED, 2: ROLLED_BACK, 3: PRODUCTION}, 2),
        (5, {}, None),
    ],
)
def test_the_version_to_go_back_to(served: int, stages: dict[int, str], found: int | None) -> None:
    assert released_before(served, stages) == found


class TestResources:
    PROFILE = ModelProfile(
        name="p", cpu=1.2, memory_gb=0.5, latency=LatencyProfile(), success_rate=100, requests_per_second=9
    )

    def test_without_bounds_the_profile_is_followed(self) -> None:
        assert within_bounds(self.PROFILE, ProfilingSettings()) == self.PROFILE

    def test_what_is_within_the_bounds_is_not_touched(self) -> None:
        assert within_bounds(self.PROFILE, ProfilingSettings(max_cpu_cores=1.2, max_memory_gb=4)) == self.PROFILE

    def test_what_is_above_is_lowered_and_told(self) -> None:
        lowered = within_bounds(self.PROFILE, ProfilingSettings(max_cpu_cores=1, max_memory_gb=0.25))

        assert (lowered.cpu, lowered.memory_gb) == (1, 0.25)
        assert lowered.capped == (
            "1 CPU cores instead of the recommended 1.2, by deployment.profiling",
            "0.25 GB of memory instead of the recommended 0.5, by deployment.profiling",
        )

    def test_without_a_profile_all_three_stages_need_both(self) -> None:
        both = {"cpu_cores": 0.5, "memory_gb": 0.5}
        model = {"name": "m", "path": "outputs/m.pkl", "evaluation_parameters": METRICS}
        given = {"model": model, "dev_deployment": both, "test_deployment": both, "prod_deployment": {"cpu_cores": 1}}

        assert resources_missing(DeploymentSettings.model_validate(given)) == ["prod_deployment.memory_gb"]
        given["prod_deployment"] = both
        assert resources_missing(DeploymentSettings.model_validate(given)) == []


class TestContract:
    def swagger(self, **properties: Any) -> dict[str, Any]:
        described = {"type": "object", "properties": properties, "required": list(properties)}
        return {"paths": {"/score": {}}, "definitions": {"ServiceInput": described}}

    def test_a_sample_of_the_described_shape_fits(self) -> None:
        assert list(broken_by(SAMPLE, self.swagger(data=ROWS))) == []

    def test_a_script_that_describes_nothing_takes_anything(self) -> None:
        assert list(broken_by(SAMPLE, {"paths": {"/score": {}}})) == []

    @pytest.mark.parametrize("document", [None, [], {}, {"paths": {}}])
    def test_a_document_without_the_path_is_told(self, document: Any) -> None:
        assert list(broken_by(SAMPLE, document)) == ["it has no path /score"]

    def test_other_names_are_told_from_both_sides(self) -> None:
        found = list(broken_by(SAMPLE, self.swagger(rows=ROWS)))
        assert "the sample has 'data', which it does not name" in found
        assert "it names 'rows', which the sample has not" in found

    def test_a_value_of_another_type_is_told_with_its_place(self) -> None:
        (found,) = broken_by({"data": [[1.0, "two"]]}, self.swagger(data=ROWS))
        assert found == "$.data[0][1]: 'two' is not of type 'number'"

    def test_wrong_inputs_are_made_of_the_sample(self) -> None:
        assert dict(wrong_inputs(SAMPLE)) == {
            "no JSON": b"{",
            "an empty object": b"{}",
            "text for 'data'": b'{"data": "not what was asked for"}',
            "a row of 'data' too long": b'{"data": [[1.0, 2.0, 2.0]]}',
            "text in a row of 'data'": b'{"data": [[1.0, "text"]]}',
        }

    def test_of_a_sample_that_is_no_object_only_the_general_ones_are_made(self) -> None:
        assert [what for what, _ in wrong_inputs([1, 2])] == ["no JSON", "an empty object"]
        assert [what for what, _ in wrong_inputs({"text": "a"})][2:] == ["text for 'text'"]

    @pytest.mark.parametrize(
        ("answer", "expected", "sentences"),
        [
            ([100.0], [100.4], []),
            ([100.0], [102.0], ["$[0] is 100.0 and not 102.0"]),
            (1, 1.0, []),
            (0.0, 0.0, []),
            (True, 1, ["$ is True and not 1"]),
            (None, 0, ["$ is None and not 0"]),
            (float("nan"), 1.0, ["$ is nan and not 1.0"]),
            ([1, 2], [1], ["$ has 2 elements and not 1"]),
            ({"a": 1, "b": 2}, {"a": 1, "c": 2}, ["$.b is unexpected", "$.c is missing"]),
            ({"a": [{"b": "x"}]}, {"a": [{"b": "y"}]}, ["$.a[0].b is 'x' and not 'y'"]),
            ([], {}, ["$ is [] and not {}"]),
        ],
    )
    def test_answers_are_compared_with_what_was_expected(
        self, answer: Any, expected: Any, sentences: list[str]
    ) -> None:
        assert list(differs(answer, expected, relative_tolerance=0.01)) == sentences
