"""gunicorn's settings for a replica, read by gunicorn in the scoring environment.

A file and not flags: gunicorn ignores settings here that its version does not know, and stops at such flags.
"""

import json
import os
import sys
from pathlib import Path

workers = int(os.environ.get("WORKER_COUNT", "1"))  # as in an Azure ML container
keepalive = 30  # seconds; longer than the router keeps idle connections, so that it never writes to a closed one
timeout = 300  # seconds until a worker that is still importing is given up, as azmlinfsrv has it
graceful_timeout = 5
control_socket_disable = True
errorlog = "-"

_loaded_modules = Path(os.environ.pop("EMULATOR_LOADED_MODULES"))  # fork_server.LOADED_MODULES


def post_worker_init(_: object) -> None:
    """Note what the replica has imported of its environment, for the fork server of the next ones."""
    # Not azureml's, which read the replica's variables while they are imported; not the entry script's. Attributes are
    # not asked for: some modules are placeholders that import something when they are.
    loaded = [
        name
        for name, module in list(sys.modules.items())
        if not name.startswith(("azureml", "__"))
        and str(getattr(module, "__dict__", {}).get("__file__")).startswith((sys.prefix, sys.base_prefix))
    ]
    known = json.loads(_loaded_modules.read_text()) if _loaded_modules.exists() else []
    if not set(loaded) <= set(known):
        temporary = _loaded_modules.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(list(dict.fromkeys([*known, *loaded]))))
        temporary.replace(_loaded_modules)
