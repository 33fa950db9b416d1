"""Training by the settings: each option shows its effect in a run, through the tasks and the unmodified SDK."""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from settings.compute_target import ComputeTargetSettings
from settings.deployment import DeploymentSettings, ModelSettings
from settings.experiment import ExperimentSettings
from settings.loading import load
from settings.workspace import WorkspaceSettings, WorkspaceTarget, resolve_workspace
from tasks.environment import register_training_environment
from tasks.errors import ComputeError, EnvironmentBuildError, TrainingError
from tasks.progress import listening
from tasks.resume import find_former_run
from tasks.run_log import log_tail
from tasks.training import submit_training, wait_for_training
from tasks.training_compute import ensure_training_compute
from tasks.tuning import best_run, submit_tuning, wait_for_tuning
from tasks.values import Origin, ReadyCompute, TrainedRun
from tests.conftest import RunningEmulator
from tests.ssh_machine import PASSPHRASE, PASSWORD, USER, Machine, password_server, sshd

if TYPE_CHECKING:
    from azureml.core import Run, Workspace

pytestmark = pytest.mark.emulator

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
HERE = {"user_managed": True, "interpreter_path": sys.executable}
SEE = """
    import json, os, sys
    from pathlib import Path
    Path("outputs").mkdir(exist_ok=True)
    Path("outputs/seen.json").write_text(json.dumps({"arguments": sys.argv[1:], "variables": dict(os.environ)}))
"""
SUM = """
    import json, os, socket
    def listen(port, others):
        server = socket.create_server(("127.0.0.1", port))
        connections = [server.accept()[0] for _ in range(others)]
        return connections, [int(each.makefile().readline()) for each in connections]
    def send(host, port, number):
        while True:
            try:
                connection = socket.create_connection((host, port), timeout=30)
                break
            except ConnectionRefusedError:
                pass
        connection.sendall(f"{number}\\n".encode())
        return connection
"""


@pytest.fixture(scope="module")
def target(workspace: Workspace) -> WorkspaceTarget:
    return resolve_workspace(WorkspaceSettings(), os.environ)


@pytest.fixture
def cluster(target: WorkspaceTarget) -> ReadyCompute:
    return ensure(target, amlcompute={"name": "training", "max_nodes": 3})


def ensure(target: WorkspaceTarget, kind: str = "amlcompute", **training: Any) -> ReadyCompute:
    settings = ComputeTargetSettings.model_validate({"compute_target_to_use_for_training": kind, "training": training})
    return ensure_training_compute(target, settings, minutes=2)


class Trainer:
    """Trains with the text of a script and options of ``experiment``, in a directory of its own."""

    def __init__(self, target: WorkspaceTarget, compute: ReadyCompute) -> None:
        self.target, self.compute = target, compute
        self.model = ModelSettings.model_validate(
            {"name": "ridge", "path": "outputs/ridge.pkl", "evaluation_parameters": _METRICS}
        )

    def __call__(self, script: str, former: str | None = None, **options: Any) -> TrainedRun:
        experiment = self.experiment(script, **options)
        environment = register_training_environment(self.target, experiment)
        own = Origin(flow_run_id=str(uuid.uuid4()), fresh=True)  # no test takes the run of another
        run = submit_training(self.target, experiment, self.model, self.compute, environment, own, former)
        return wait_for_training(self.target, experiment, self.compute, environment, run.run_id, 3, own.flow_run_id)

    def experiment(self, script: str, **options: Any) -> ExperimentSettings:
        Path("source").mkdir(exist_ok=True)
        entry = Path("source", str(options.get("entry_script", "train.py")))
        entry.write_text(textwrap.dedent(script))
        return ExperimentSettings.model_validate({"name": "options", "source_directory": "source", **options})


_METRICS = {"smaller_is_better": ("mse",), "larger_is_better": ()}


@pytest.fixture
def train(target: WorkspaceTarget, cluster: ReadyCompute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    monkeypatch.chdir(tmp_path)
    return Trainer(target, cluster)


def run_of(workspace: Workspace, trained: TrainedRun) -> Run:
    from azureml.core import Run

    return Run.get(workspace, trained.run_id)


def seen_by(workspace: Workspace, trained: TrainedRun, name: str = "outputs/seen.json") -> Any:
    run_of(workspace, trained).download_file(name, "seen.json")
    return json.loads(Path("seen.json").read_text())


def test_arguments_variables_tags_and_the_model_reach_the_script(workspace: Workspace, train: Trainer) -> None:
    trained = train(
        SEE,
        **HERE,
        entry_script="fit.py",
        script_parameters={"--alpha": 0.5, "--fast": None},
        environment_variables={"GREETING": "hello"},
        run_tags={"team": "risk"},
    )

    seen = seen_by(workspace, trained)
    assert seen["arguments"] == ["--alpha", "0.5", "--fast"]
    assert {name: seen["variables"][name] for name in ("GREETING", "MODEL_NAME", "MODEL_FILE")} == {
        "GREETING": "hello",
        "MODEL_NAME": "ridge",
        "MODEL_FILE": "outputs/ridge.pkl",
    }
    assert run_of(workspace, trained).tags["team"] == "risk"
    assert run_of(workspace, trained).experiment.name == "options"


def test_user_managed_python_is_the_one_that_is_named(workspace: Workspace, train: Trainer) -> None:
    import_nothing = 'import json, sys; from pathlib import Path; Path("outputs").mkdir(exist_ok=True)\n'
    script = import_nothing + 'Path("outputs/seen.json").write_text(json.dumps(sys.executable))'

    assert seen_by(workspace, train(script, **HERE)) == sys.executable
    with pytest.raises(EnvironmentBuildError, match=r"no-such-python.*Correct experiment.interpreter_path"):
        train(script, user_managed=True, interpreter_path="/no-such-python")


def test_torch_processes_find_each_other(workspace: Workspace, train: Trainer) -> None:
    script = textwrap.dedent(SUM) + textwrap.dedent("""
        from azureml.core import Run
        rank, size, port = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "MASTER_PORT"))
        if rank == 0:
            _, numbers = listen(port, size - 1)
            Run.get_context(allow_offline=False).log("sum", 1 + sum(numbers))
        else:
            send(os.environ["MASTER_ADDR"], port, rank + 1)
    """)
    two_by_two = {"backend_config": "gloo", "node_count": 2, "gloo": {"process_count_per_node": 2}}

    assert train(script, **HERE, distributed_training=two_by_two).metrics == {"sum": 10.0}


def test_workers_reach_their_parameter_server(train: Trainer) -> None:
    script = textwrap.dedent(SUM) + textwrap.dedent("""
        from azureml.core import Run
        config = json.loads(os.environ["TF_CONFIG"])
        cluster, task = config["cluster"], config["task"]
        host, port = cluster["ps"][0].split(":")
        if task["type"] == "ps":
            connections, numbers = listen(int(port), len(cluster["worker"]))
            for connection in connections:
                connection.sendall(f"{sum(numbers)}\\n".encode())
        else:
            answer = send(host, int(port), task["index"] + 1).makefile().readline()
            if task["index"] == 0:
                Run.get_context(allow_offline=False).log("sum", int(answer))
    """)
    three = {"worker_count": 3, "parameter_server_count": 1}

    trained = train(
        script,
        **HERE,
        distributed_training={"backend_config": "parameter_server", "node_count": 2, "parameter_server": three},
    )

    assert trained.metrics == {"sum": 6.0}


def test_mpi_ranks_reduce_a_number_in_the_environment_of_a_conda_file(workspace: Workspace, train: Trainer) -> None:
    Path("source").mkdir()
    Path("source/conda.yml").write_text(f"dependencies:\n- python={PYTHON}\n- pip:\n  - mpi4py\n  - mpich\n")
    script = """
        from mpi4py import MPI
        print("sum", MPI.COMM_WORLD.allreduce(MPI.COMM_WORLD.rank + 1))
    """
    trained = train(
        script,
        dependencies={"conda_dependencies_file": "conda.yml"},
        distributed_training={"backend_config": "mpi", "node_count": 2, "mpi": {"process_count_per_node": 2}},
    )

    logs = run_of(workspace, trained).get_details_with_logs()["logFiles"]
    assert [logs[f"user_logs/std_log_process_0{rank}.txt"].strip() for rank in range(4)] == ["sum 10"] * 4


def test_nccl_without_a_gpu_is_refused_in_one_sentence(train: Trainer) -> None:
    with pytest.raises(TrainingError) as refused:
        train("pass", **HERE, distributed_training={"backend_config": "nccl", "nccl": {"process_count_per_node": 2}})

    assert "GPU" in refused.value.message
    assert "\n" not in refused.value.message


def test_the_log_of_the_rank_that_failed_is_in_the_error(train: Trainer) -> None:
    script = """
        import os, time
        print("I am rank", os.environ["RANK"], flush=True)
        if os.environ["RANK"] == "1":
            raise ValueError("no shard for me")
        time.sleep(60)
    """
    with pytest.raises(TrainingError) as failed:
        train(script, **HERE, distributed_training={"backend_config": "gloo", "gloo": {"process_count_per_node": 3}})

    assert failed.value.log_tail is not None
    assert "I am rank 1" in failed.value.log_tail
    assert "no shard for me" in failed.value.log_tail


def test_data_comes_from_local_paths_datastores_and_data_sets(workspace: Workspace, train: Trainer) -> None:
    from azureml.core import Dataset

    Path("data").mkdir()
    datastore = workspace.get_default_datastore()
    for number in (1, 2):
        Path("data/cars.csv").write_text(f"speed\n{number}\n")
        Dataset.File.upload_directory("data", (datastore, f"cars/{number}"), overwrite=True, show_progress=False)
        Dataset.File.from_files((datastore, f"cars/{number}")).register(
            workspace, "training-cars", create_new_version=True
        )
    script = """
        import argparse, json, os
        from pathlib import Path
        parser = argparse.ArgumentParser()
        names = ("folder", "file", "store", "set", "made")
        for name in names:
            parser.add_argument(f"--{name}", type=Path)
        given = vars(parser.parse_args())
        (given.pop("made") / "answer.txt").write_text("42")
        Path("outputs").mkdir(exist_ok=True)
        Path("outputs/seen.json").write_text(json.dumps({
            "read": {name: (path / "cars.csv" if path.is_dir() else path).read_text() for name, path in given.items()},
            "store": os.environ["AZUREML_DATAREFERENCE_store"] == str(given["store"]),
            "set": os.environ["set"] == str(given["set"]),
            "placed": str(given["folder"].resolve().relative_to(Path.cwd())),
        }))
    """
    made = f"made/{uuid.uuid4().hex}"
    trained = train(
        script,
        **HERE,
        data_references={
            "folder": {"local_path": "data", "mode": "download", "pathOnCompute": "placed/here", "overwrite": True},
            "file": {"local_path": "data/cars.csv", "mode": "download"},
            "store": {"dataStoreName": "workspaceblobstore", "pathOnDataStore": "cars/2", "mode": "mount"},
            "set": {"dataset": {"name": "training-cars", "version": 1}, "mode": "download"},
            "made": {"pathOnDataStore": made, "mode": "upload"},
        },
    )

    assert seen_by(workspace, trained) == {
        "read": {"folder": "speed\n2\n", "file": "speed\n2\n", "store": "speed\n2\n", "set": "speed\n1\n"},
        "store": True,
        "set": True,
        "placed": "placed/here",
    }
    datastore.download("back", prefix=made, show_progress=False)
    assert Path("back", made, "answer.txt").read_text() == "42"


def test_a_tuning_by_the_settings_brings_its_best_child(workspace: Workspace, train: Trainer) -> None:
    script = """
        import sys
        from azureml.core import Run
        Run.get_context(allow_offline=False).log("auc", float(sys.argv[sys.argv.index("--x") + 1]))
    """
    sampling = {
        "use_hyperparameter_sampling": True,
        "method": "grid",
        "parameters": {"--x": {"distribution": "choice", "parameters": {"options": (0.25, 0.75, 0.5)}}},
        "primary_metric_name": "auc",
        "primary_metric_goal": "max",
        "max_total_runs": 3,
    }
    experiment = train.experiment(script, **HERE, hyperparameter_sampling=sampling)
    environment = register_training_environment(train.target, experiment)
    own = Origin(flow_run_id=str(uuid.uuid4()), fresh=True)

    run = submit_tuning(train.target, experiment, train.model, train.compute, environment, own)
    tuning = wait_for_tuning(train.target, experiment, run.run_id, 3, own.flow_run_id)
    best = best_run(train.target, experiment, train.compute, environment, tuning)

    assert (tuning.method, len(tuning.trials)) == ("grid", 3)
    assert best.hyperparameters == {"--x": 0.75}
    assert best.metrics == {"auc": 0.75}


def test_a_data_set_that_is_not_registered_is_named(train: Trainer) -> None:
    with pytest.raises(TrainingError, match=r"Could not get data set 'nothing'.*data_references\.cars\.dataset"):
        train(SEE, **HERE, data_references={"cars": {"dataset": {"name": "nothing"}}})


def test_the_outputs_of_a_former_run_are_handed_on(
    workspace: Workspace, target: WorkspaceTarget, train: Trainer
) -> None:
    first = train(
        'import pathlib; pathlib.Path("outputs").mkdir(); pathlib.Path("outputs/w.txt").write_text("7")', **HERE
    )
    resumed = {
        "resume_from_state": True,
        "run_id": first.run_id,
        "data_reference_name": "weights",
        "datapath_compute_binding": {"mode": "download", "path_on_compute": "former", "overwrite": True},
    }
    settings = train.experiment("", **HERE, resume_state=resumed).resume_state
    script = """
        import json, os, sys
        from pathlib import Path
        from azureml.core import Run
        assert sys.argv[1:] == ["--resume-from", os.environ["AZUREML_DATAREFERENCE_weights"]]
        assert Path(sys.argv[2]).resolve() == Path("former").resolve()
        Run.get_context(allow_offline=False).log("weight", int(Path(sys.argv[2], "w.txt").read_text()) + 1)
    """

    former = find_former_run(target, settings, load(environment={}).deployment)
    assert former == first.run_id
    assert train(script, former, **HERE, resume_state=resumed).metrics == {"weight": 8.0}


def test_without_a_model_in_production_there_is_nothing_to_resume(target: WorkspaceTarget) -> None:
    deployment: DeploymentSettings = load(
        overrides=(f"deployment.prod_deployment.name=p{uuid.uuid4().hex[:8]}", "deployment.model.name=nobody"),
        environment={},
    ).deployment

    assert find_former_run(target, ExperimentSettings().resume_state, deployment) is None


def test_a_run_that_takes_too_long_is_cancelled_and_says_so(train: Trainer) -> None:
    with pytest.raises(TrainingError) as cancelled:
        train('import time; print("at work", flush=True); time.sleep(60)', **HERE, max_run_duration_seconds=1)

    assert "was cancelled after its limit of 1 seconds" in cancelled.value.message
    assert "experiment.max_run_duration_seconds" in cancelled.value.next_step


def test_lines_of_the_log_are_shown_as_they_come(train: Trainer) -> None:
    script = """
        import time
        from pathlib import Path
        print("first", flush=True)
        while not Path(%r).exists():
            time.sleep(0.05)
        print("second")
    """
    seen_first = Path("seen_first").resolve()
    lines: list[str] = []

    def hear(line: str) -> None:
        lines.append(line)
        if line == "first":
            seen_first.touch()  # the run goes on only when its first line was shown

    states: list[str] = []
    with listening(states.append, line_listener=hear):
        train(script % str(seen_first), **HERE)

    assert lines == ["first", "second"]
    assert states[-1] == "Completed"


def test_watched_directories_are_kept_and_outputs_unless_they_are_not_collected(
    workspace: Workspace, train: Trainer
) -> None:
    script = """
        from pathlib import Path
        for name in ("outputs", "logs", "plots"):
            Path(name).mkdir(exist_ok=True)
            Path(name, "a.txt").write_text(name)
    """

    def files(trained: TrainedRun) -> set[str]:
        return {name for name in run_of(workspace, trained).get_file_names() if name.endswith("a.txt")}

    watched = {"directoriesToWatch": ("logs", "plots")}
    assert files(train(script, **HERE, history=watched)) == {"outputs/a.txt", "logs/a.txt", "plots/a.txt"}
    assert files(train(script, **HERE, history={"output_collection": False})) == {"logs/a.txt"}


def test_the_datastore_of_the_source_directory_is_kept_with_the_run(workspace: Workspace, train: Trainer) -> None:
    trained = train(SEE, **HERE, source_directory_datastore="workspaceblobstore")

    assert run_of(workspace, trained).get_details()["runDefinition"]["sourceDirectoryDataStore"] == "workspaceblobstore"


def test_image_and_its_settings_are_kept_and_the_registrys_password_is_not(
    emulator: RunningEmulator, workspace: Workspace, train: Trainer
) -> None:
    from azureml.core import Environment

    password = uuid.uuid4().hex
    registry = {"address": "contoso.azurecr.io", "username": "contoso", "password": password}
    trained = train(
        SEE,
        **HERE,
        docker={
            "use_docker": True,
            "shm_size": "3g",
            "custom_image": "contoso.azurecr.io/training:3",
            "custom_image_registry_details": registry,
        },
    )

    run = run_of(workspace, trained)
    definition = run.get_details()["runDefinition"]
    assert (definition["docker"]["useDocker"], definition["docker"]["shmSize"]) == (True, "3g")
    image = Environment.get(workspace, trained.environment_name, trained.environment_version).docker
    assert image.base_image == "contoso.azurecr.io/training:3"
    assert image.base_image_registry.address == "contoso.azurecr.io"
    assert image.base_image_registry.username == "contoso"
    for file in emulator.state_directory.rglob("*"):
        if file.is_file() and "environments" not in file.relative_to(emulator.state_directory).parts:
            assert password.encode() not in file.read_bytes(), file


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packages of the frameworks' names without anything in them: the real ones have up to two gigabytes."""
    directory = tmp_path_factory.mktemp("wheels")
    for package in ("scikit-learn", "torch", "tensorflow", "chainer"):
        name, metadata = package.replace("-", "_"), f"Metadata-Version: 2.1\nName: {package}\nVersion: 99.1\n"
        with zipfile.ZipFile(directory / f"{name}-99.1-py3-none-any.whl", "w") as wheel:
            folder = f"{name}-99.1.dist-info"
            wheel.writestr(f"{folder}/METADATA", metadata)
            wheel.writestr(f"{folder}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{folder}/RECORD", "")
    return directory


def without_the_sdk(wheels: Path) -> dict[str, Any]:
    """Packages of an environment that is built within a second."""
    Path("source").mkdir(exist_ok=True)
    file = f"dependencies:\n- python={PYTHON}\n- pip:\n  - --find-links {wheels}\n"
    Path("source/conda.yml").write_text(file)
    return {"conda_dependencies_file": "conda.yml"}


@pytest.mark.parametrize(
    ("framework", "package"),
    [("sklearn", "scikit-learn"), ("pytorch", "torch"), ("tensorflow", "tensorflow"), ("chainer", "chainer")],
)
def test_each_framework_is_installed_at_its_version(
    framework: str, package: str, workspace: Workspace, train: Trainer, wheels: Path
) -> None:
    trained = train(
        f'from importlib.metadata import version; print(version("{package}"))',
        dependencies=without_the_sdk(wheels),
        framework={"name": framework, framework: {"framework_version": "99.1"}},
    )

    assert str(log_tail(run_of(workspace, trained))).strip() == "99.1"


def test_packages_of_every_kind_are_installed(workspace: Workspace, train: Trainer, wheels: Path) -> None:
    Path("source").mkdir()
    Path("source/requirements.txt").write_text("# by hand\ntorch==99.1  # a stand-in\n")
    script = """
        from importlib.metadata import version
        from azureml.core import Run
        versions = {version(name) for name in ("chainer", "torch", "tensorflow")}
        Run.get_context(allow_offline=False).log("versions", len(versions))
    """
    trained = train(
        script,
        dependencies={
            "conda_packages": ("chainer=99.1",),
            "pip_packages": (f"--find-links {wheels}", "tensorflow==99.1"),
            "pip_requirements_file": "requirements.txt",
        },
    )

    assert trained.metrics == {"versions": 1.0}


def test_a_version_that_cannot_be_installed_is_an_error_that_names_its_option(train: Trainer, wheels: Path) -> None:
    with pytest.raises(EnvironmentBuildError) as failed:
        train(
            "pass",
            dependencies=without_the_sdk(wheels),
            framework={"name": "chainer", "chainer": {"framework_version": "98.7"}},
        )

    assert "experiment.framework.chainer.framework_version" in failed.value.next_step
    assert "chainer==98.7" in str(failed.value.log_tail)


def test_the_same_content_makes_no_new_version_and_can_be_used_by_name(
    target: WorkspaceTarget, train: Trainer, wheels: Path
) -> None:
    name = f"mine-{uuid.uuid4().hex[:8]}"
    packages = without_the_sdk(wheels)
    first, again = (
        register_training_environment(target, train.experiment("pass", dependencies=packages, environment_name=name))
        for _ in range(2)
    )
    changed = train.experiment("pass", environment_name=name, **HERE)
    second = register_training_environment(target, changed)
    by_name = train("pass", use_custom_environment=True, environment_name=name, environment_version=first.version)

    assert first == again
    assert second.version != first.version
    assert (by_name.environment_name, by_name.environment_version) == (name, first.version)
    with pytest.raises(EnvironmentBuildError, match=r"Could not use environment 'nothing'.*Register it"):
        train("pass", use_custom_environment=True, environment_name="nothing")


def test_a_source_directory_that_is_too_large_is_refused_before_anything_is_sent(train: Trainer) -> None:
    Path("source").mkdir()
    with Path("source/huge.bin").open("wb") as huge:
        huge.truncate(301 * 1024 * 1024)

    with pytest.raises(TrainingError, match=r"2 files of 301 MB in all, and Azure ML takes 2000 files of 300 MB"):
        train(SEE, **HERE)
    Path("source/.amlignore").write_text("*.bin\n")
    assert train(SEE, **HERE).run_id


def test_a_cluster_is_created_changed_and_made_anew_only_when_allowed(
    workspace: Workspace, target: WorkspaceTarget
) -> None:
    from azureml.core.compute import AmlCompute

    name = f"c-{uuid.uuid4().hex[:8]}"
    wanted: dict[str, Any] = {
        "name": name,
        "vm_size": "STANDARD_D2_V2",
        "vm_priority": "lowpriority",
        "max_nodes": 2,
        "vnet_resource_group_name": "network",
        "vnet_name": "mlops-vnet",
        "subnet_name": "training",
        "admin_username": "azureuser",
        "admin_user_password": "Hunter2!Hunter2!",
        "admin_user_ssh_key": "ssh-ed25519 AAAA",
        "tags": {"team": "risk"},
        "description": "for ridges",
    }
    scaled = {**wanted, "min_nodes": 1, "max_nodes": 4, "idle_seconds_before_scaledown": "90"}
    larger = {**scaled, "vm_size": "STANDARD_D3_V2"}

    created = ensure(target, amlcompute=wanted)
    found = AmlCompute(workspace, name)
    assert created.created
    assert (found.vm_size, found.vm_priority.lower(), found.subnet_name) == (
        "STANDARD_D2_V2",
        "lowpriority",
        "training",
    )
    assert (found.admin_username, found.tags, found.description) == ("azureuser", {"team": "risk"}, "for ridges")
    assert ensure(target, amlcompute=wanted) == created.model_copy(update={"created": False})

    changes = ensure(target, amlcompute=scaled).changes
    assert [change.partition(" ")[0] for change in changes] == [
        "min_nodes",
        "max_nodes",
        "idle_seconds_before_scaledown",
    ]
    limits = AmlCompute(workspace, name).scale_settings
    assert (limits.minimum_node_count, limits.maximum_node_count) == (1, 4)
    assert limits.idle_seconds_before_scaledown == 90

    with pytest.raises(ComputeError, match=r"vm_size STANDARD_D2_V2, the settings want STANDARD_D3_V2"):
        ensure(target, amlcompute=larger)
    anew = ensure(target, amlcompute=larger, recreate_on_change=True)
    assert anew.created
    assert anew.changes == ("made anew: vm_size from STANDARD_D2_V2 to STANDARD_D3_V2",)
    assert AmlCompute(workspace, name).vm_size == "STANDARD_D3_V2"


def test_a_name_that_is_taken_by_another_kind_is_an_error(target: WorkspaceTarget, cluster: ReadyCompute) -> None:
    with pytest.raises(ComputeError, match="'training' is of type AmlCompute, the settings want VirtualMachine"):
        ensure(target, "dsvm", dsvm={"name": "training"})


def test_a_run_goes_to_a_data_science_virtual_machine(
    workspace: Workspace, target: WorkspaceTarget, train: Trainer
) -> None:
    from azureml.core.compute import ComputeTarget

    wanted = {"name": "dsvm", "vm_size": "Standard_DS3_v2", "location": "local", "ssh_port": 22}
    train.compute = ensure(target, "dsvm", dsvm=wanted)

    trained = train(SEE, **HERE)

    assert trained.compute_target == "dsvm"
    found = ComputeTarget(workspace, "dsvm")
    assert (type(found).__name__, found.vm_size, int(found.ssh_port)) == ("DsvmCompute", "Standard_DS3_v2", 22)
    assert ensure(target, "dsvm", dsvm=wanted).created is False


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with sshd(tmp_path_factory.mktemp("sshd")) as machine:
        yield machine


def with_key(machine: Machine, **options: Any) -> dict[str, Any]:
    return {
        "name": "vm",
        "use_ssh_auth": True,
        "address": "127.0.0.1",
        "username": machine.user,
        "ssh_port": machine.port,
        "private_key_file": str(machine.key),
        "private_key_passphrase": PASSPHRASE,
        **options,
    }


def test_a_run_logs_in_to_an_attached_machine_with_a_key(
    workspace: Workspace, target: WorkspaceTarget, train: Trainer, machine: Machine
) -> None:
    train.compute = ensure(target, "remotecompute", remotecompute=with_key(machine))

    seen = seen_by(workspace, train(SEE, **HERE))

    assert seen["variables"]["SSH_CONNECTION"].startswith("127.0.0.1")
    assert ensure(target, "remotecompute", remotecompute=with_key(machine)).created is False
    with pytest.raises(ComputeError, match=r"ssh_port \d+, the settings want 9; Azure cannot change it"):
        ensure(target, "remotecompute", remotecompute=with_key(machine, ssh_port=9))


def test_a_password_opens_a_machine_and_a_wrong_one_is_an_error_that_can_be_mended(target: WorkspaceTarget) -> None:
    with password_server() as port:
        wanted = {"name": "by-password", "address": "127.0.0.1", "username": USER, "ssh_port": port}
        wrong, right = ({**wanted, "password": password} for password in ("guess", PASSWORD))

        with pytest.raises(ComputeError) as refused:
            ensure(target, "remotecompute", remotecompute=wrong)
        assert re.match(r"Could not attach compute target 'by-password'", refused.value.message)
        assert "guess" not in str(refused.value)
        assert ensure(target, "remotecompute", remotecompute=right).created
