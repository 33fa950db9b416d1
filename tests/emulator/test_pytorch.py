"""torch.distributed with a real PyTorch, in an interpreter that the user manages: `make test-pytorch` installs one and
names it in PYTORCH_PYTHON."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.emulator.submitting import until

if TYPE_CHECKING:
    from azureml.core import Run, Workspace

pytestmark = pytest.mark.pytorch


def test_ranks_reduce_a_tensor_with_gloo(workspace: Workspace, submit: Callable[..., Run]) -> None:
    from azureml.core import Environment
    from azureml.core.compute import AmlCompute, ComputeTarget
    from azureml.core.runconfig import PyTorchConfiguration

    configuration = AmlCompute.provisioning_configuration(vm_size="STANDARD_D2_V2", max_nodes=2)
    ComputeTarget.create(workspace, "two-nodes", configuration)
    environment = Environment("pytorch")
    environment.python.user_managed_dependencies = True
    environment.python.interpreter_path = os.environ["PYTORCH_PYTHON"]
    run = submit(
        """
        import torch
        import torch.distributed as dist
        dist.init_process_group("gloo")
        value = torch.tensor([float(dist.get_rank() + 1)])
        dist.all_reduce(value)
        print("world", dist.get_world_size(), "sum", value.item())
        dist.destroy_process_group()
        """,
        compute_target="two-nodes",
        environment=environment,
        distributed_job_config=PyTorchConfiguration("Gloo", process_count=4, node_count=2),
    )
    assert until(run) == "Completed", run.get_details()["error"]
    logs = run.get_details_with_logs()["logFiles"]
    for rank in range(4):
        assert "world 4 sum 10.0" in logs[f"user_logs/std_log_process_{rank:02d}.txt"]
