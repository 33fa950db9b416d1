"""Keep one comment with the comparison on a pull request: ``python -m flows.github.comment < report.md``.

https://docs.github.com/en/rest/issues/comments. The token in GITHUB_TOKEN needs ``pull-requests: write``.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import requests

from flows.github.summary import for_github

MARKER = "<!-- train-and-promote: comparison with production -->"  # how the next run finds its comment
AUTHOR = "github-actions[bot]"
_LIMIT = 60_000  # GitHub takes 65,536 characters
_SECONDS = 30


class CommentError(Exception):
    """GitHub does not take the comment; ``str()`` says why and what to do next."""


def comment_body(report: str, commit: str, run_url: str, masked: Iterable[str]) -> str:
    """The comment: the report of one commit, with ``***`` for every value that is to be masked."""
    # The longest first, so that one value inside another leaves nothing of it.
    for value in sorted(filter(None, masked), key=len, reverse=True):
        report = report.replace(value, "***")
    return f"{MARKER}\n{for_github(report, _LIMIT)}\n\nCommit {commit}, compared by [this run]({run_url}).\n"


class PullRequestComments:
    """The comments on one pull request.

    Args:
        api_url: of GitHub's REST API.
        repository: as owner/name.
        number: of the pull request.
        token: that may write to pull requests.
    """

    def __init__(self, api_url: str, repository: str, number: int, token: str) -> None:
        self._comments = f"{api_url}/repos/{repository}/issues/{number}/comments"
        self._edited = f"{api_url}/repos/{repository}/issues/comments"
        self._session = requests.Session()
        self._session.headers.update(
            {
                "Authorization": f"Bearer {token}",
                "Accept": "application/vnd.github+json",
                "X-GitHub-Api-Version": "2022-11-28",
            }
        )

    def put(self, body: str) -> str:
        """Write the comment anew, or make it when there is none; returns its address.

        Raises:
            CommentError: GitHub cannot be reached, or refuses.
        """
        for comment in self._all():
            if comment["user"]["login"] == AUTHOR and comment["body"].startswith(MARKER):
                return str(self._call("PATCH", f"{self._edited}/{comment['id']}", body).json()["html_url"])
        return str(self._call("POST", self._comments, body).json()["html_url"])

    def _all(self) -> Iterator[dict[str, Any]]:
        url: str | None = f"{self._comments}?per_page=100"
        while url:
            answer = self._call("GET", url)
            yield from answer.json()
            url = answer.links.get("next", {}).get("url")

    def _call(self, method: str, url: str, body: str | None = None) -> requests.Response:
        try:
            answer = self._session.request(method, url, json=body and {"body": body}, timeout=_SECONDS)
        except requests.RequestException as error:
            raise CommentError(f"GitHub cannot be reached for the comment ({error}): run the job again.") from error
        if answer.status_code in (401, 403):
            raise CommentError(
                f"GitHub refuses the comment (HTTP {answer.status_code}): the job needs the permission "
                "pull-requests: write, which a pull request from a fork does not get."
            )
        if not answer.ok:
            raise CommentError(f"GitHub does not take the comment (HTTP {answer.status_code}): {answer.text[:200]}")
        return answer


def main() -> int:
    event = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))
    pull_request, repository = event["pull_request"], os.environ["GITHUB_REPOSITORY"]
    body = comment_body(
        sys.stdin.read(),
        pull_request["head"]["sha"],
        f"{os.environ['GITHUB_SERVER_URL']}/{repository}/actions/runs/{os.environ['GITHUB_RUN_ID']}",
        os.environ.get("MASKED", "").splitlines(),
    )
    comments = PullRequestComments(
        os.environ["GITHUB_API_URL"], repository, pull_request["number"], os.environ["GITHUB_TOKEN"]
    )
    try:
        print(f"Commented: {comments.put(body)}")
    except CommentError as error:
        print(f"::error::{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
