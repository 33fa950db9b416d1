"""The commands of the workflows: inputs, masks, the summary of a job, and the comment on a pull request."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from flows.github.comment import MARKER, CommentError, PullRequestComments, comment_body
from flows.github.inputs import InputError, arguments, parameters, run_options
from flows.github.mask import client_secret
from flows.github.summary import for_github
from flows.options import RunOptions
from tests.github_api import GitHubApi, github_api

pytestmark = pytest.mark.unit


@pytest.fixture
def api() -> Iterator[GitHubApi]:
    with github_api() as running:
        yield running


def comments(api: GitHubApi) -> PullRequestComments:
    return PullRequestComments(api.url, "owner/repository", 7, "a-token")


def test_a_push_has_no_inputs_and_runs_with_the_defaults() -> None:
    options = run_options({"OVERRIDES": "", "SETTINGS_FILE": "", "COMPARE_ONLY": ""})

    assert options == RunOptions()
    assert json.loads(parameters(options)) == {"options": {}}
    assert arguments(options) == []


def test_inputs_mean_the_same_on_a_worker_and_on_the_runner() -> None:
    options = run_options(
        {
            "OVERRIDES": "experiment.script_parameters.--alpha=0.2 'deployment.model.description=two words'",
            "SETTINGS_FILE": "settings/other.json",
            "COMPARE_ONLY": "true",
        }
    )

    overrides = ["experiment.script_parameters.--alpha=0.2", "deployment.model.description=two words"]
    assert json.loads(parameters(options)) == {
        "options": {"overrides": overrides, "settings_file": "settings/other.json", "stop_before": "registration"}
    }
    assert arguments(options) == [
        *("--set", overrides[0]),
        *("--set", overrides[1]),
        *("--settings", "settings/other.json"),
        *("--stop-before", "registration"),
    ]


def test_a_commit_of_digits_stays_a_text() -> None:
    assert '"experiment.run_tags.commit=1234567"' in parameters(
        run_options({"OVERRIDES": "experiment.run_tags.commit=1234567"})
    )


@pytest.mark.parametrize(
    ("overrides", "said"),
    [("alpha", "alpha: write each as dotted.key=value"), ("a.b='1", "No closing quotation")],
)
def test_a_wrong_input_is_named(overrides: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        run_options({"OVERRIDES": overrides})


def test_the_client_secret_is_found_to_be_masked() -> None:
    assert client_secret('{"clientId": "a", "clientSecret": "hidden", "tenantId": "b"}') == "hidden"


@pytest.mark.parametrize("credentials", ["", "not JSON", "[]", "{}", '{"clientSecret": ""}', '{"clientSecret": 1}'])
def test_credentials_without_a_client_secret_have_nothing_to_mask(credentials: str) -> None:
    assert client_secret(credentials) is None


def test_embedded_pictures_are_left_to_prefects_ui() -> None:
    shown = for_github("# Promoted\n\n![latency by stage](data:image/png;base64,iVBORw0KGgo=)\n\nend")

    assert shown == "# Promoted\n\n*latency by stage: in Prefect's UI*\n\nend"


def test_a_report_that_is_too_long_for_github_says_that_it_goes_on() -> None:
    shown = for_github("ü" * 1000, limit=500)

    assert len(shown.encode()) <= 500
    assert shown.startswith("üü")
    assert shown.endswith("it was cut to what GitHub shows.\n")


def test_a_comment_shows_no_secret_not_even_one_inside_another() -> None:
    body = comment_body("workspace mlops-prod in mlops", "abc", "https://run", ["mlops", "", "mlops-prod"])

    assert "mlops" not in body
    assert "workspace *** in ***" in body
    assert "Commit abc, compared by [this run](https://run)" in body


def test_a_longest_comment_still_fits() -> None:
    assert len(comment_body("x" * 100_000, "abc", "https://run", [])) < 65_536


def test_the_first_comparison_makes_a_comment_and_later_ones_write_it_anew(api: GitHubApi) -> None:
    for number in range(12):
        api.add(f"an opinion, {number}", author="somebody")

    first = comments(api).put(f"{MARKER} first")
    second = comments(api).put(f"{MARKER} second")

    assert first == second
    assert [comment["body"] for comment in api.comments[12:]] == [f"{MARKER} second"]


def test_a_comment_of_somebody_else_is_left_alone_even_with_the_same_marker(api: GitHubApi) -> None:
    api.add(f"{MARKER} mine", author="somebody")
    api.add("another workflow's")

    comments(api).put(f"{MARKER} the report")

    assert [comment["body"] for comment in api.comments] == [
        f"{MARKER} mine",
        "another workflow's",
        f"{MARKER} the report",
    ]


def test_a_token_that_may_not_comment_is_explained(api: GitHubApi) -> None:
    api.refuses = 403

    with pytest.raises(CommentError, match=r"HTTP 403.*pull-requests: write.*fork"):
        comments(api).put(MARKER)


def test_an_unreachable_github_is_explained(api: GitHubApi) -> None:
    nowhere = PullRequestComments("http://127.0.0.1:9", "owner/repository", 7, "a-token")

    with pytest.raises(CommentError, match="cannot be reached"):
        nowhere.put(MARKER)
