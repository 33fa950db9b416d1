"""The `compute_target` section: where the model is trained, and the AKS clusters that serve it."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from settings.section import Count, Matching, Mistake, Section, Text

_NOT_RESERVED = r"(?!(?:amlcompute|local|containerinstance)$)"
# https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules#microsoftmachinelearningservices
ClusterName = Annotated[
    str,
    Matching(
        rf"{_NOT_RESERVED}[A-Za-z][A-Za-z0-9-]{{1,30}}[A-Za-z0-9]",
        "must be 3 to 32 letters, digits or dashes, start with a letter, and not be reserved (amlcompute, local)",
    ),
]
ComputeName = Annotated[
    str,
    Matching(
        rf"{_NOT_RESERVED}[A-Za-z][A-Za-z0-9-]{{0,14}}[A-Za-z0-9]",
        "must be 2 to 16 letters, digits or dashes, start with a letter, and not be reserved (amlcompute, local)",
    ),
]
SshPort = Annotated[int, Field(ge=1, le=65535)]


class AmlComputeSettings(Section):
    """A managed cluster, azureml.core.compute.AmlCompute."""

    name: ClusterName = Field("train-cluster", description="Name of the cluster.", examples=["train-cluster"])
    vm_size: Text = Field("STANDARD_D2_V2", description="Size of its nodes.", examples=["STANDARD_D2_V2"])
    vm_priority: Literal["dedicated", "lowpriority"] = Field(
        "dedicated", description="Low priority is cheaper and may be taken away.", examples=["lowpriority"]
    )
    min_nodes: int = Field(0, ge=0, description="Nodes that are kept when there is nothing to do.", examples=[0])
    max_nodes: int = Field(4, ge=1, description="Nodes, and so runs, at a time.", examples=[4])
    idle_seconds_before_scaledown: Count | None = Field(
        None, description="Seconds until an idle node is given back; null is Azure's 1800.", examples=[300]
    )
    vnet_resource_group_name: Text | None = Field(
        None, description="Resource group of the virtual network.", examples=["network"]
    )
    vnet_name: Text | None = Field(None, description="Virtual network of the nodes.", examples=["mlops-vnet"])
    subnet_name: Text | None = Field(None, description="Subnet of the nodes.", examples=["training"])
    admin_username: Text | None = Field(None, description="Administrator of the nodes.", examples=["azureuser"])
    admin_user_password: SecretStr | None = Field(
        None, description="Password of the administrator; take it from the environment.", examples=["${ADMIN_PASSWORD}"]
    )
    admin_user_ssh_key: SecretStr | None = Field(
        None, description="SSH key of the administrator; take it from the environment.", examples=["${ADMIN_SSH_KEY}"]
    )
    tags: dict[Text, str] = Field({}, description="Tags of the cluster.", examples=[{"team": "risk"}])
    description: Text | None = Field(
        None, description="What the cluster is for.", examples=["Training of ridge models"]
    )

    def mistakes(self) -> Iterator[Mistake]:
        if self.min_nodes > self.max_nodes:
            yield Mistake(("min_nodes",), f"must be at most max_nodes ({self.max_nodes})", (("max_nodes",),))
        yield from all_or_none(self, "vnet_resource_group_name", "vnet_name", "subnet_name")
        secret = self.admin_user_password or self.admin_user_ssh_key
        if self.admin_username and not secret:
            yield Mistake(("admin_username",), "needs admin_user_password or admin_user_ssh_key")
        if secret and not self.admin_username:
            yield Mistake(("admin_username",), "is required with admin_user_password or admin_user_ssh_key")


class DsvmSettings(Section):
    """A Data Science Virtual Machine, azureml.core.compute.DsvmCompute."""

    name: ComputeName = Field("train-dsvm", description="Name of the machine.", examples=["train-dsvm"])
    vm_size: Text | None = Field(None, description="Its size; null is Azure's default.", examples=["Standard_DS3_v2"])
    location: Text | None = Field(None, description="Its region; null is the workspace's.", examples=["westeurope"])
    ssh_port: SshPort = Field(22, description="Its SSH port.", examples=[22])


class RemoteComputeSettings(Section):
    """A machine of your own, azureml.core.compute.RemoteCompute."""

    name: ComputeName = Field("train-vm", description="Name of the compute.", examples=["train-vm"])
    use_ssh_auth: bool = Field(False, description="Log in with a key instead of a password.", examples=[True])
    address: Text | None = Field(None, description="Host name or address.", examples=["vm.contoso.com"])
    username: Text | None = Field(None, description="User that runs the training.", examples=["azureuser"])
    password: SecretStr | None = Field(
        None, description="Password of the user; take it from the environment.", examples=["${VM_PASSWORD}"]
    )
    ssh_port: SshPort = Field(22, description="SSH port.", examples=[22])
    private_key_file: Text | None = Field(None, description="File of the SSH key.", examples=["~/.ssh/id_rsa"])
    private_key_passphrase: SecretStr | None = Field(
        None, description="Passphrase of the SSH key; take it from the environment.", examples=["${KEY_PASSPHRASE}"]
    )


class TrainingComputeSettings(Section):
    """The kinds of training compute; one of them is used."""

    recreate_on_change: bool = Field(
        False,
        description="Delete a compute target, and make it anew, when the settings want what Azure cannot change: its "
        "size, priority, network or address. Runs on it are lost.",
        examples=[False],
    )

    amlcompute: AmlComputeSettings = Field(
        default_factory=AmlComputeSettings, description="A managed cluster.", examples=[{"name": "train-cluster"}]
    )
    dsvm: DsvmSettings = Field(
        default_factory=DsvmSettings, description="A Data Science Virtual Machine.", examples=[{"name": "train-dsvm"}]
    )
    remotecompute: RemoteComputeSettings = Field(
        default_factory=RemoteComputeSettings, description="A machine of your own.", examples=[{"name": "train-vm"}]
    )


class AciSettings(Section):
    """Azure Container Instances need no compute target: there is nothing to choose."""


class _AksClusterSettings(Section):
    name: ComputeName = Field("aks", description="Name of the cluster.", examples=["aks"])
    agent_count: int | None = Field(None, ge=1, description="Nodes; null is Azure's 3.", examples=[3])
    vm_size: Text | None = Field(
        None, description="Size of the nodes; null is Azure's Standard_D3_v2.", examples=["Standard_D4s_v3"]
    )
    ssl_cname: Text | None = Field(None, description="Host name of the certificate.", examples=["models.contoso.com"])
    ssl_cert_pem_file: Text | None = Field(None, description="File of the certificate.", examples=["tls/cert.pem"])
    ssl_key_pem_file: Text | None = Field(None, description="File of the certificate's key.", examples=["tls/key.pem"])
    location: Text | None = Field(None, description="Region; null is the workspace's.", examples=["westeurope"])
    vnet_resourcegroup_name: Text | None = Field(
        None, description="Resource group of the virtual network.", examples=["network"]
    )
    vnet_name: Text | None = Field(None, description="Virtual network of the cluster.", examples=["mlops-vnet"])
    subnet_name: Text | None = Field(None, description="Subnet of the cluster.", examples=["serving"])
    service_cidr: Text | None = Field(
        None, description="Addresses of the cluster's services.", examples=["10.0.0.0/16"]
    )
    dns_service_ip: Text | None = Field(None, description="Address of the cluster's DNS.", examples=["10.0.0.10"])
    docker_bridge_cidr: Text | None = Field(
        None, description="Addresses of Docker's bridge.", examples=["172.17.0.1/16"]
    )

    def mistakes(self) -> Iterator[Mistake]:
        yield from all_or_none(self, "ssl_cname", "ssl_cert_pem_file", "ssl_key_pem_file")
        network = ("vnet_resourcegroup_name", "vnet_name", "subnet_name")
        yield from all_or_none(self, *network, "service_cidr", "dns_service_ip", "docker_bridge_cidr")


class AksTestSettings(_AksClusterSettings):
    """The cluster of the test stage, azureml.core.compute.AksCompute with purpose DEV_TEST."""

    name: ComputeName = Field("aks-test", description="Name of the cluster.", examples=["aks-test"])


class AksProdSettings(_AksClusterSettings):
    """The cluster of production, azureml.core.compute.AksCompute with purpose FAST_PROD: at least 12 virtual CPUs."""

    name: ComputeName = Field("aks-prod", description="Name of the cluster.", examples=["aks-prod"])


class ServingComputeSettings(Section):
    """The compute of each stage."""

    aci_dev: AciSettings = Field(default_factory=AciSettings, description="Dev, on ACI.", examples=[{}])
    aks_test: AksTestSettings = Field(
        default_factory=AksTestSettings, description="Test, on AKS.", examples=[{"name": "aks-test", "agent_count": 1}]
    )
    aks_prod: AksProdSettings = Field(
        default_factory=AksProdSettings,
        description="Production, on AKS.",
        examples=[{"name": "aks-prod", "agent_count": 3}],
    )

    def mistakes(self) -> Iterator[Mistake]:
        if self.aks_test.name == self.aks_prod.name:
            rule = "must not be the name of aks_test: the clusters differ in purpose"
            yield Mistake(("aks_prod", "name"), rule, (("aks_test", "name"),))


class ComputeTargetSettings(Section):
    """Where the model is trained and served."""

    compute_target_to_use_for_training: Literal["amlcompute", "dsvm", "remotecompute"] = Field(
        "amlcompute", description="The kind of training compute that is used.", examples=["amlcompute"]
    )
    training: TrainingComputeSettings = Field(
        default_factory=TrainingComputeSettings, description="Training compute.", examples=[{"amlcompute": {}}]
    )
    deployment: ServingComputeSettings = Field(
        default_factory=ServingComputeSettings, description="Serving compute.", examples=[{"aci_dev": {}}]
    )

    def mistakes(self) -> Iterator[Mistake]:
        if self.compute_target_to_use_for_training != "remotecompute":
            return
        remote = self.training.remotecompute
        login = "private_key_file" if remote.use_ssh_auth else "password"
        for name in ("address", "username", login):
            if getattr(remote, name) is None:
                yield Mistake(("training", "remotecompute", name), "is required to attach the remote compute")
        if remote.username is not None and remote.username == remote.address:
            at = ("training", "remotecompute", "username")
            yield Mistake(
                at, "must be the user who logs in, not the address", (("training", "remotecompute", "address"),)
            )

    @property
    def nodes_at_a_time(self) -> tuple[int, str]:
        """How many nodes the training compute has at most, and the option that says so."""
        if self.compute_target_to_use_for_training == "amlcompute":
            return self.training.amlcompute.max_nodes, "compute_target.training.amlcompute.max_nodes"
        return 1, f"{self.compute_target_to_use_for_training}, which is one machine"


def all_or_none(section: Section, *names: str) -> Iterator[Mistake]:
    """The options of `names` that are missing while others of them are given."""
    missing = [name for name in names if getattr(section, name) is None]
    if len(missing) < len(names):
        for name in missing:
            given = next(name for name in names if name not in missing)
            yield Mistake((name,), f"is required with {given}")
