"""What a workspace holds: runs, model versions and services, as a JSON object.

python -m tests.reliability.workspace_contents WORKSPACE
"""

from __future__ import annotations

import json
import os
import sys

from azureml.core import Model, Workspace


def main(name: str) -> None:
    workspace = Workspace.get(
        name, subscription_id=os.environ["SUBSCRIPTION_ID"], resource_group=os.environ["RESOURCE_GROUP"]
    )
    services = workspace.webservices.values()
    contents = {
        "runs": {
            run.id: run.get_status() for experiment in workspace.experiments.values() for run in experiment.get_runs()
        },
        "stages": {str(model.version): model.tags.get("stage") for model in Model.list(workspace)},
        "services": {service.name: service.state for service in services},
        "served": {
            service.name: [model.id for one in _serving(service) for model in one.models or ()] for service in services
        },
    }
    print(json.dumps(contents))


def _serving(service: object) -> list[object]:
    """The service itself, or the versions of an AksEndpoint."""
    return list(getattr(service, "versions", {}).values()) or [service]


if __name__ == "__main__":
    main(sys.argv[1])
