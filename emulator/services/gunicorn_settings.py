"""gunicorn's settings for a replica, read by gunicorn in the scoring environment.

A file and not flags: gunicorn ignores settings here that its version does not know, and stops at such flags.
"""

import os

workers = int(os.environ.get("WORKER_COUNT", "1"))  # as in an Azure ML container
keepalive = 30  # seconds; longer than the router keeps idle connections, so that it never writes to a closed one
timeout = 300  # seconds until a worker that is still importing is given up, as azmlinfsrv has it
graceful_timeout = 5
control_socket_disable = True
errorlog = "-"
