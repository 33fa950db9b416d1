"""A promoting run and its deployments on a Prefect server of the tests' own, as in ``tests/flow``."""

from tests.flow.conftest import checkout, prefect_server

__all__ = ["checkout", "prefect_server"]
