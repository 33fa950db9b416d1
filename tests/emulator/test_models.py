"""The model registry, through the SDK."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

if TYPE_CHECKING:
    from azureml.core import Workspace

pytestmark = pytest.mark.emulator


@pytest.fixture(autouse=True)
def _in_a_directory_with_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.pkl").write_bytes(b"weights")


def test_a_registered_model_is_found_by_name_version_id_and_tags(workspace: Workspace) -> None:
    from azureml.core import Model
    from azureml.exceptions import WebserviceException

    first = Model.register(workspace, "model.pkl", "found", tags={"mse": "3.5"}, description="the first")
    second = Model.register(workspace, "model.pkl", "found", properties={"data": "d1"})
    assert (first.version, second.version) == (1, 2)
    assert Model(workspace, "found").id == "found:2"
    assert Model(workspace, "found", version=1).description == "the first"
    assert Model(workspace, id="found:1").tags == {"mse": "3.5"}
    assert Model(workspace, "found", tags=[["mse", "3.5"]]).version == 1
    assert Model(workspace, "found", properties=[["data", "d1"]]).version == 2
    with pytest.raises(WebserviceException, match="ModelNotFound"):
        Model(workspace, "found", version=3)


def test_the_list_is_filtered_newest_first_and_can_be_of_the_latest_versions_only(workspace: Workspace) -> None:
    from azureml.core import Model

    for name, tags in (
        ("listed-a", {"stage": "dev"}),
        ("listed-b", {"stage": "prod"}),
        ("listed-a", {"stage": "prod"}),
    ):
        Model.register(workspace, "model.pkl", name, tags=tags)

    def ids(**filters: object) -> list[str]:
        return [model.id for model in Model.list(workspace, **filters) if model.name.startswith("listed-")]

    assert ids() == ["listed-a:2", "listed-b:1", "listed-a:1"]
    assert ids(name="listed-a") == ["listed-a:2", "listed-a:1"]
    assert ids(tags=[["stage", "prod"]]) == ["listed-a:2", "listed-b:1"]
    assert ids(tags=["stage"], name="listed-b") == ["listed-b:1"]
    assert ids(latest=True) == ["listed-a:2", "listed-b:1"]


def test_a_long_list_is_paged_through_to_its_end(workspace: Workspace) -> None:
    from azureml.core import Model

    asset = Model.register(workspace, "model.pkl", "paged").url
    service = workspace.service_context
    models = f"{service._get_endpoint('api')}/modelmanagement/v1.0{service._get_workspace_scope()}/models"
    header = workspace._auth.get_authentication_header()
    for _ in range(44):
        requests.post(models, headers=header, json={"name": "paged", "url": asset}, timeout=10).raise_for_status()
    versions = [model.version for model in Model.list(workspace, name="paged", page_count=20)]
    assert versions == list(range(45, 0, -1))


def test_a_downloaded_model_has_the_bytes_that_were_registered(workspace: Workspace) -> None:
    from azureml.core import Model

    Path("folder", "inner").mkdir(parents=True)
    Path("folder", "model.pkl").write_bytes(b"weights")
    Path("folder", "inner", "vocabulary.txt").write_text("words")
    file = Model.register(workspace, "model.pkl", "file").download("here")
    folder = Model.register(workspace, "folder", "folder").download("there")
    assert Path(file).read_bytes() == b"weights"
    assert Path(folder, "inner", "vocabulary.txt").read_text() == "words"


def test_tags_properties_and_description_can_be_changed(workspace: Workspace) -> None:
    from azureml.core import Model

    model = Model.register(workspace, "model.pkl", "changed", tags={"stage": "candidate"})
    model.add_tags({"stage": "production", "by": "test"})
    model.remove_tags("by")
    model.add_properties({"data": "d1"})
    model.update(description="serves production")
    again = Model(workspace, "changed")
    assert (again.tags, again.properties) == ({"stage": "production"}, {"data": "d1"})
    assert again.description == "serves production"


def test_the_version_of_a_deleted_model_is_never_used_again(workspace: Workspace) -> None:
    from azureml.core import Model

    Model.register(workspace, "model.pkl", "deleted").delete()
    assert Model.list(workspace, name="deleted") == []
    assert Model.register(workspace, "model.pkl", "deleted").version == 2
