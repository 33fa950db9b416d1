"""How a scoring container is laid out."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from emulator.models.store import Model
from emulator.services.container import ContainerImage, container_environment, lay_out

pytestmark = pytest.mark.unit


def model(name: str, version: int) -> Model:
    return Model(
        name=name, version=version, url="aml://asset/1", created_time="now", modified_time="now", created_by="test"
    )


@pytest.fixture
def image(tmp_path: Path) -> ContainerImage:
    (tmp_path / "weights").write_text("weights")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "score.py").write_text("def init(): ...")
    with tarfile.open(tmp_path / "code.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "code", arcname="code")
    variables = {"AZUREML_ENTRY_SCRIPT": "code/score.py", "GREETING": "hello"}
    return ContainerImage(
        service_name="service",
        request={"environment": {"environmentVariables": variables}},
        models=[(model("ridge", 7), {"outputs/model.pkl": tmp_path / "weights"})],
        assets=[({"id": "code.tar.gz", "unpack": True}, tmp_path / "code.tar.gz")],
    )


def test_models_and_the_source_directory_lie_where_azure_puts_them(image: ContainerImage, tmp_path: Path) -> None:
    root = tmp_path / "app"
    lay_out(image, root)
    assert (root / "azureml-models" / "ridge" / "7" / "outputs" / "model.pkl").read_text() == "weights"
    assert (root / "code" / "score.py").is_file()


def test_the_process_sees_azures_variables_and_those_of_the_environment(image: ContainerImage, tmp_path: Path) -> None:
    variables = container_environment(image, tmp_path / "app", tmp_path / "venv" / "bin" / "python")
    assert variables["AML_APP_ROOT"] == str(tmp_path / "app")
    assert variables["AZUREML_MODEL_DIR"] == str(tmp_path / "app" / "azureml-models" / "ridge" / "7")
    assert (variables["AZUREML_ENTRY_SCRIPT"], variables["GREETING"]) == ("code/score.py", "hello")


def test_secrets_of_the_emulators_own_environment_stay_outside(
    image: ContainerImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "secret")
    assert "AZURE_CLIENT_SECRET" not in container_environment(image, tmp_path, tmp_path / "bin" / "python")


def test_with_several_models_the_model_directory_is_the_parent_of_all(image: ContainerImage, tmp_path: Path) -> None:
    image.models.append((model("scaler", 1), {}))
    variables = container_environment(image, tmp_path, tmp_path / "bin" / "python")
    assert variables["AZUREML_MODEL_DIR"] == str(tmp_path / "azureml-models")
