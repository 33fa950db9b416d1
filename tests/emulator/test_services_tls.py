"""Services over HTTPS with a certificate of the user's own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.conftest import RunningEmulator, emulator_command, start_emulator
from tests.emulator.conftest import Client
from tests.emulator.scoring import SCORE, inference_config, register_model

if TYPE_CHECKING:
    from azureml.core import Workspace
    from azureml.core.compute import AksCompute
    from azureml.core.webservice import AciWebservice

pytestmark = pytest.mark.emulator

BODY = json.dumps({"data": [1, 2]})


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make_certificate(directory: Path, name: str = "localhost") -> tuple[str, str]:
    """A certificate that signs itself, and its key: the paths of two PEM files."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(timezone.utc)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    directory.mkdir(parents=True, exist_ok=True)
    pem = serialization.Encoding.PEM
    (directory / "cert.pem").write_bytes(certificate.public_bytes(pem))
    (directory / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(directory / "cert.pem"), str(directory / "key.pem")


def ask(uri: str, certificate: str, key: str) -> requests.Response:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    with requests.Session() as session:
        session.trust_env = False  # it would trust REQUESTS_CA_BUNDLE and nothing else
        return session.post(uri, BODY, headers=headers, verify=certificate, timeout=30)


@pytest.fixture(scope="module")
def secured(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[AciWebservice, str, str]]:
    """An ACI service with TLS, its certificate and its key (paths)."""
    from azureml.core import Model
    from azureml.core.webservice import AciWebservice

    before, directory = Path.cwd(), tmp_path_factory.mktemp("secured")
    certificate, key = make_certificate(directory / "tls")
    os.chdir(directory)
    service = Model.deploy(
        workspace,
        "secured",
        [register_model(workspace, "secured", 2)],
        inference_config(SCORE),
        AciWebservice.deploy_configuration(
            auth_enabled=True,
            ssl_enabled=True,
            ssl_cert_pem_file=certificate,
            ssl_key_pem_file=key,
            ssl_cname="localhost",
        ),
    )
    os.chdir(before)
    service.wait_for_deployment()
    yield service, certificate, key
    service.delete()


def test_a_service_shows_its_own_certificate_and_is_not_served_without_tls(
    secured: tuple[AciWebservice, str, str], emulator: RunningEmulator
) -> None:
    service, certificate, _ = secured
    primary, _ = service.get_keys()
    assert service.scoring_uri.startswith("https://localhost:")
    assert ask(service.scoring_uri, certificate, primary).json() == [2, 4]
    path = service.scoring_uri.partition("://")[2].partition("/")[2]
    assert ask(f"{emulator.scoring_url}/{path}", certificate, primary).status_code == 404


def test_the_key_is_in_no_answer_and_in_no_log(
    secured: tuple[AciWebservice, str, str], client: Client, workspace: Workspace, emulator: RunningEmulator
) -> None:
    service, _, key = secured
    secret = Path(key).read_text().splitlines()[1]
    answers = client.call("GET", service._mms_endpoint).text + client.call("GET", service._mms_endpoint + "/logs").text
    assert '"sslEnabled": true' in answers
    assert secret not in answers
    assert secret not in (emulator.state_directory / "emulator.log").read_text()


def test_the_address_and_the_certificate_are_the_same_after_a_restart_of_the_emulator(
    secured: tuple[AciWebservice, str, str], emulator: RunningEmulator
) -> None:
    service, certificate, _ = secured
    emulator_command("stop", "--state-dir", str(emulator.state_directory))
    start_emulator(emulator.state_directory)
    assert ask(service.scoring_uri, certificate, service.get_keys()[0]).json() == [2, 4]


def test_a_renewed_certificate_is_shown_at_once_at_the_same_address(
    secured: tuple[AciWebservice, str, str], tmp_path: Path
) -> None:
    service, former, _ = secured
    address = service.scoring_uri
    certificate, key = make_certificate(tmp_path / "renewed")
    service.update(ssl_enabled=True, ssl_cert_pem_file=certificate, ssl_key_pem_file=key)
    service.wait_for_deployment()
    assert service.scoring_uri == address
    assert ask(address, certificate, service.get_keys()[0]).status_code == 200
    with pytest.raises(requests.exceptions.SSLError):
        ask(address, former, service.get_keys()[0])


def test_a_key_of_another_certificate_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    from azureml.core import Model
    from azureml.core.webservice import AciWebservice
    from azureml.exceptions import WebserviceException

    certificate, _ = make_certificate(tmp_path / "one")
    _, key = make_certificate(tmp_path / "other")
    configuration = AciWebservice.deploy_configuration(
        ssl_enabled=True, ssl_cert_pem_file=certificate, ssl_key_pem_file=key, ssl_cname="localhost"
    )
    with pytest.raises(WebserviceException, match="The TLS key is not that of the certificate"):
        Model.deploy(workspace, "mixed", [], inference_config(SCORE), configuration)


@pytest.fixture
def cluster(workspace: Workspace, tmp_path: Path) -> AksCompute:
    from azureml.core.compute import AksCompute, ComputeTarget

    certificate, key = make_certificate(tmp_path / "cluster")
    wanted = AksCompute.provisioning_configuration(
        ssl_cname="localhost", ssl_cert_pem_file=certificate, ssl_key_pem_file=key
    )
    made = ComputeTarget.create(workspace, "aks-tls", wanted)
    made.wait_for_completion()
    return made


def test_a_cluster_with_tls_serves_its_services_with_its_certificate_until_tls_is_disabled(
    workspace: Workspace, cluster: AksCompute, emulator: RunningEmulator, tmp_path: Path
) -> None:
    from azureml.core import Model
    from azureml.core.compute.aks import AksUpdateConfiguration, SslConfiguration
    from azureml.core.webservice import AksWebservice

    certificate = str(tmp_path / "cluster" / "cert.pem")
    assert (cluster.ssl_configuration.cname, cluster.ssl_configuration.key) == ("localhost", None)
    service = Model.deploy(
        workspace,
        "on-tls",
        [register_model(workspace, "on-tls", 3)],
        inference_config(SCORE),
        AksWebservice.deploy_configuration(num_replicas=1, primary_key="one", secondary_key="two"),
        cluster,
    )
    service.wait_for_deployment()
    assert service.scoring_uri.startswith("https://localhost:")
    assert ask(service.scoring_uri, certificate, "two").json() == [3, 6]
    automatic = SslConfiguration(leaf_domain_label="shop")
    cluster.update(AksUpdateConfiguration(automatic))
    cluster.wait_for_completion()
    service.update_deployment_state()
    own = emulator.environment["REQUESTS_CA_BUNDLE"]
    assert service.scoring_uri.startswith("https://127.0.0.1:")
    assert ask(service.scoring_uri, own, "one").json() == [3, 6]
    cluster.update(AksUpdateConfiguration(SslConfiguration(status="Disabled")))
    cluster.wait_for_completion()
    service.update_deployment_state()
    assert service.scoring_uri.startswith(emulator.scoring_url)
    assert ask(service.scoring_uri, certificate, "one").json() == [3, 6]
    service.delete()
