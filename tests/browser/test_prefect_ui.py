"""What a person reads in Prefect's UI of a run, and that the pictures of it in docs/ are what they should be."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page

from docs.screenshots import IMAGES, WIDTH, View, browser_page, picture, show, views
from tests.conftest import REPOSITORY
from tests.flow.conftest import Checkout

pytestmark = pytest.mark.browser

PICTURES = {"run": 1000, "report": 1800, "comparison": 600, "form": 1000}
LARGEST_FILE = 200_000
FEWEST_COLOURS = 16  # a page that did not load has one or two


@pytest.fixture(scope="module")
def promoted(checkout: Checkout) -> Checkout:
    """A checkout whose first model was promoted, and whose flows are deployed."""
    shutil.copy(REPOSITORY / "prefect.yaml", checkout.directory)
    run = checkout.run()
    assert run.report["outcome"] == "Promoted", run.terminal
    deployed = checkout.command("flows.deployments", "deploy")
    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    return checkout


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser_page() as page:
        yield page


@pytest.fixture(scope="module")
def pages(promoted: Checkout) -> dict[str, View]:
    return {view.name: view for view in views(promoted.environment["PREFECT_API_URL"])}


def opened(page: Page, promoted: Checkout, view: View) -> str:
    """All that can be read on a view."""
    show(page, promoted.environment["PREFECT_API_URL"].removesuffix("/api"), view)
    return " ".join(page.inner_text("body").split())


def check_picture(content: bytes, height: int) -> None:
    assert len(content) < LARGEST_FILE
    with Image.open(io.BytesIO(content)) as image:
        assert image.size == (WIDTH, height)
        colours = image.convert("RGB").getcolors(maxcolors=WIDTH * height)
    assert colours is not None
    assert len(colours) > FEWEST_COLOURS
    most = max(count for count, _ in colours)
    assert most < 0.98 * WIDTH * height, "the picture is blank"


def test_the_page_of_a_run_shows_its_outcome_and_its_steps(
    page: Page, promoted: Checkout, pages: dict[str, View]
) -> None:
    shown = opened(page, promoted, pages["run"])

    assert "Promoted" in shown
    for step in ("workspace", "training", "evaluation", "registration", "profile", "deploy to prod", "test prod"):
        assert step in shown
    check_picture(picture(page), 1000)


def test_the_report_shows_its_headline_its_tables_and_its_plots(
    page: Page, promoted: Checkout, pages: dict[str, View]
) -> None:
    shown = opened(page, promoted, pages["report"])

    assert "Promoted: diabetes-ridge version 1 serves production." in shown
    assert "metric better is candidate production" in shown
    assert "prod diabetes-prod AKS FAST_PROD Healthy" in shown
    plots = page.locator('img[src^="data:image/png"]')
    assert plots.count() > 0
    for number in range(plots.count()):
        assert plots.nth(number).evaluate("plot => plot.complete && plot.naturalWidth") > 300
    check_picture(picture(page), 1800)


def test_the_comparison_is_a_table(page: Page, promoted: Checkout, pages: dict[str, View]) -> None:
    shown = opened(page, promoted, pages["comparison"])

    assert "metric better is candidate production" in shown
    assert "mse smaller 2917.17" in shown
    check_picture(picture(page), 600)


def test_the_form_shows_the_options_with_their_descriptions_and_without_type_switches(
    page: Page, promoted: Checkout, pages: dict[str, View]
) -> None:
    from flows.options import RunOptions

    shown = opened(page, promoted, pages["form"])

    for option in RunOptions.model_json_schema()["properties"].values():
        assert option["title"] in shown
        assert option["description"] in shown
    assert 'Property is type "None"' not in shown
    check_picture(picture(page), 1000)


def test_a_wrong_override_is_refused_in_the_form_and_an_empty_field_is_not(
    page: Page, promoted: Checkout, pages: dict[str, View]
) -> None:
    opened(page, promoted, pages["form"])
    overrides = page.locator("textarea").nth(1)
    overrides.fill("alpha is 0.2")
    page.get_by_role("button", name="Submit").click()
    page.get_by_text(re.compile("does not match|pattern", re.IGNORECASE)).first.wait_for(state="visible")

    overrides.fill("experiment.script_parameters.--alpha=0.2")
    page.get_by_role("button", name="Submit").click()
    page.get_by_text(re.compile("scheduled", re.IGNORECASE)).first.wait_for(state="visible")


@pytest.mark.parametrize(("name", "height"), PICTURES.items())
def test_the_pictures_in_the_documentation_are_there_whole_and_small(name: str, height: int) -> None:
    file = IMAGES / f"prefect-{name}.png"

    check_picture(file.read_bytes(), height)
    assert f"images/{file.name}" in Path(REPOSITORY, "docs", "prefect.md").read_text()
