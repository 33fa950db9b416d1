"""Pictures of Prefect's UI for docs/prefect.md, taken in headless Chromium: ``make screenshots``.

Of the Prefect server in use (PREFECT_API_URL, else this repository's): its last promoting run, with its artifacts, and
the form with which the deployment ``debug`` is started.
"""

from __future__ import annotations

import io
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from flows import prefect_server

IMAGES = Path(__file__).resolve().parent / "images"
WIDTH = 1400
COLOURS = 128
"""Of a picture: dark surfaces and text need no more, and are a third of the size."""

# Nothing but this machine is asked, whatever the page wants.
_CHROMIUM_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)


@dataclass(frozen=True)
class View:
    """A page of the UI.

    Attributes:
        name: of its picture.
        path: below the UI's address.
        shows: what can be read on it.
        height: of its picture, in pixels.
        prepare: what is done on the page before the picture is taken.
    """

    name: str
    path: str
    shows: tuple[str, ...]
    height: int = 1000
    prepare: Callable[[Page], None] | None = None


class NothingToShowError(Exception):
    """There is nothing to take a picture of, or nothing to take it with; ``str()`` says what to do."""


def views(api_url: str) -> list[View]:
    """The pages, with what the server knows of the last promoting run.

    Raises:
        NothingToShowError: there is no such run, or nothing is deployed.
    """
    flow = {"name": {"any_": ["train-and-promote"]}}
    promoted = {"state": {"name": {"any_": ["Promoted"]}}}
    wanted = {"flows": flow, "flow_runs": promoted, "sort": "START_TIME_DESC", "limit": 1}
    runs = _post(f"{api_url}/flow_runs/filter", wanted)
    if not runs:
        raise NothingToShowError("This Prefect server has no promoting run: `make run`, until a model is promoted.")
    run = runs[0]
    of_the_run = {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}}
    artifacts = {each["key"]: each for each in _post(f"{api_url}/artifacts/filter", of_the_run)}
    deployment = requests.get(f"{api_url}/deployments/name/train-and-promote/debug", timeout=30)
    if deployment.status_code == 404:
        raise NothingToShowError("This Prefect server has no deployment 'debug': `make deploy`.")
    headline = artifacts["promotion-report"]["description"]
    return [
        View(
            "run",
            f"/runs/flow-run/{run['id']}",
            ("Promoted", run["name"], "train-and-promote", "Task Runs"),
            prepare=_hide_arrows,
        ),
        View(
            "report",
            f"/artifacts/artifact/{artifacts['promotion-report']['id']}",
            (headline, "candidate", "Stages"),
            height=1800,
        ),
        View(
            "comparison",
            f"/artifacts/artifact/{artifacts['comparison']['id']}",
            ("metric", "candidate is"),
            height=600,
        ),
        View(
            "form",
            f"/deployments/deployment/{deployment.json()['id']}/run",
            ("Settings file", "Overrides", "Stop before", "Settings for this run only, each as dotted.key=value."),
        ),
    ]


def _hide_arrows(page: Page) -> None:
    """Arrows between twenty steps run over their names."""
    page.locator("[class*=graph] button").last.click()
    option = page.get_by_text("Hide dependency arrows")
    option.click()
    page.get_by_text("Task runs").first.click()  # elsewhere, which closes the options
    option.wait_for(state="hidden")


def _post(url: str, body: dict[str, Any]) -> Any:
    answer = requests.post(url, json=body, timeout=30)
    answer.raise_for_status()
    return answer.json()


@contextmanager
def browser_page() -> Iterator[Page]:
    """A page of Debian's Chromium.

    Raises:
        NothingToShowError: it is not installed.
    """
    chromium = shutil.which("chromium")
    if chromium is None:
        raise NothingToShowError(
            "Chromium is not installed: `apt-get install chromium`, or `make test-browser`, which does that."
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(_CHROMIUM_OPTIONS))
        try:
            yield browser.new_page(viewport={"width": WIDTH, "height": 1000})
        finally:
            browser.close()


def show(page: Page, ui_url: str, view: View) -> None:
    """Open a view, and wait until all that it shows can be read and nothing moves any more."""
    page.set_viewport_size({"width": WIDTH, "height": view.height})
    page.goto(ui_url + view.path)
    for text in view.shows:
        page.get_by_text(re.compile(re.escape(text))).first.wait_for(state="visible", timeout=60_000)
    page.wait_for_load_state("networkidle")
    if view.prepare is not None:
        view.prepare(page)
    before = b""
    while before != (now := page.screenshot(animations="disabled")):
        before = now
        page.wait_for_timeout(500)


def picture(page: Page) -> bytes:
    """What the page shows now, as a small PNG file."""
    with Image.open(io.BytesIO(page.screenshot(animations="disabled"))) as taken:
        file = io.BytesIO()
        taken.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()


def main() -> int:
    try:
        api_url = prefect_server.use().api_url
        with browser_page() as page:
            for view in views(api_url):
                show(page, api_url.removesuffix("/api"), view)
                (IMAGES / f"prefect-{view.name}.png").write_bytes(picture(page))
                print(f"docs/images/prefect-{view.name}.png")
    except (NothingToShowError, prefect_server.PrefectServerError) as error:
        print(f"screenshots: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
