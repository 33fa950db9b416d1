"""Runs on a machine that is attached by SSH (``RemoteCompute``): all that they need is copied there, and what they
leave is fetched back."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shlex
import stat
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from emulator.environments.builder import Recipe
from emulator.execution.local_processes import Nodes, ProcessFailureError
from emulator.execution.process import WRAPPER
from emulator.management.ssh import Account, connect

_HOME = ".azureml-emulator"  # below the user's home directory
_GRACE_SECONDS = 5.0  # between SIGTERM and SIGKILL of a canceled run


class RemoteFailureError(Exception):
    """A run cannot be carried out on an attached machine; ``str()`` says why and what to do."""


@dataclass(frozen=True)
class ClientFiles:
    """What the SDK on the machine needs to reach the emulator: the cloud's metadata and the certificates."""

    cloud: Path
    bundle: Path
    port: int


@dataclass(frozen=True)
class RemoteRun:
    """A run's place on an attached machine: a copy of ``nodes.root``."""

    connection: asyncssh.SSHClientConnection
    sftp: asyncssh.SFTPClient
    nodes: Nodes
    root: str

    def there(self, text: str) -> str:
        """A path, or a text with paths, of this machine as one of that machine."""
        return text.replace(str(self.nodes.root), self.root).replace(str(WRAPPER), f"{self.root}/{WRAPPER.name}")


@asynccontextmanager
async def on_machine(
    address: str, port: int, account: Account, nodes: Nodes, run_id: str, client: ClientFiles
) -> AsyncIterator[RemoteRun]:
    """Log in and copy a run's directory there; remove it in the end.

    Raises:
        LoginError: the machine cannot be logged in to.
        RemoteFailureError: files cannot be copied.
    """
    async with await connect(address, port, account) as connection:
        home = str((await connection.run('printf %s "$HOME"', check=True)).stdout)
        root = f"{home}/{_HOME}/runs/{run_id}"
        try:
            async with connection.start_sftp_client() as sftp:
                await sftp.makedirs(root, exist_ok=True)
                await sftp.chmod(root, stat.S_IRWXU)
                for local in (*nodes.root.iterdir(), WRAPPER, client.cloud, client.bundle):
                    await sftp.put(local, f"{root}/{local.name}", recurse=True, follow_symlinks=True)
                # A machine that is this one reaches the emulator, which has the port, without being helped.
                with contextlib.suppress(asyncssh.ChannelListenError):
                    await connection.forward_remote_port("127.0.0.1", client.port, "127.0.0.1", client.port)
                yield RemoteRun(connection, sftp, nodes, root)
        except (OSError, asyncssh.Error) as error:
            raise RemoteFailureError(
                f"The connection to {account.username}@{address}:{port} failed: {error or type(error).__name__}. "
                "Check the machine and submit the run again."
            ) from error
        finally:
            await connection.run(f"rm -rf {shlex.quote(root)}")


_BUILD = """
set -e
if [ -e {directory}/ready ]; then exit 0; fi
python=$(command -v python{version} || command -v python3) || {{ echo "there is no python3" >&2; exit 3; }}
$python - <<'CHECK'
import sys
wanted = "{version}".split(".")
if [str(part) for part in sys.version_info[:len(wanted)]] != wanted:
    sys.exit("it asks for Python {version}, and the machine has " + sys.version.split()[0])
CHECK
rm -rf {directory}
$python -m venv {directory}
{directory}/bin/python -m pip install --quiet --disable-pip-version-check -r {requirements}
touch {directory}/ready
"""


async def make_environment(run: RemoteRun, name: str, recipe: Recipe, log: Path) -> str:
    """The interpreter of an environment on the machine, made with venv and pip unless it is there.

    Raises:
        RemoteFailureError: it cannot be made.
    """
    version = recipe.python_request if re.fullmatch(r"[\d.]+", recipe.python_request) else "3"
    directory = f"{run.root.partition(f'/{_HOME}/')[0]}/{_HOME}/environments/{recipe.key}"
    requirements = run.nodes.root / "requirements.txt"
    requirements.write_text("".join(f"{line}\n" for line in recipe.requirements))
    await run.sftp.put(requirements, f"{run.root}/{requirements.name}")
    script = _BUILD.format(
        directory=shlex.quote(directory),
        version=version,
        requirements=shlex.quote(f"{run.root}/{requirements.name}"),
    )
    done = await run.connection.run("bash -s", input=script, stderr=asyncssh.STDOUT)
    output = str(done.stdout or "")
    if output:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(output)
    if done.exit_status != 0:
        raise RemoteFailureError(
            f"Environment '{name}' cannot be made on the attached machine:\n{output.strip()}\n"
            "Install what is missing there, or use user-managed dependencies."
        )
    return f"{directory}/bin/python"


def run_script(run: RemoteRun, command: Sequence[str], variables: Mapping[str, str], client: ClientFiles) -> str:
    """The shell script that carries a run out on the machine. The variables are in it, and not on a command line,
    which others on the machine could read."""
    there = {
        **{name: run.there(value) for name, value in variables.items() if name != "PATH"},
        "ARM_CLOUD_METADATA_URL": f"file://{run.root}/{client.cloud.name}",
        "AZURE_CONFIG_DIR": f"{run.root}/azure",
        "REQUESTS_CA_BUNDLE": f"{run.root}/{client.bundle.name}",
        "SSL_CERT_FILE": f"{run.root}/{client.bundle.name}",
    }
    words = [run.there(word) for word in command]
    lines = [f"export {name}={shlex.quote(value)}" for name, value in there.items()]
    if words[0].startswith("/"):
        lines.append(f'export PATH={shlex.quote(words[0].rpartition("/")[0])}:"$PATH"')
    return "\n".join(
        [
            "#!/bin/bash",
            f"echo $$ > {shlex.quote(run.root)}/pid",
            *lines,
            f"cd {shlex.quote(run.root)}/node-0",
            f"exec {shlex.join(words)}\n",
        ]
    )


async def run_remotely(
    run: RemoteRun, command: Sequence[str], variables: Mapping[str, str], client: ClientFiles, log: str
) -> None:
    """Execute a command on the machine and wait for it; all that it has started ends with it.

    Args:
        run: its place there.
        command: what to execute; paths are this machine's.
        variables: of the process; paths are this machine's.
        client: what the SDK needs.
        log: name of the artifact that gets what is printed, while it is printed.

    Raises:
        ProcessFailureError: it did not end with 0.
        RemoteFailureError: the connection was lost.
    """
    script = run.nodes.root / "run.sh"
    script.write_text(run_script(run, command, variables, client))
    script.chmod(stat.S_IRWXU)
    await run.sftp.put(script, f"{run.root}/run.sh", preserve=True)
    output = run.nodes.log(log)
    output.parent.mkdir(parents=True, exist_ok=True)
    # A session of its own, so that its whole group can be ended.
    start = f"exec setsid --wait bash {shlex.quote(run.root)}/run.sh"
    try:
        process = await run.connection.create_process(
            start, stdin=asyncssh.DEVNULL, stdout=output, stderr=asyncssh.STDOUT
        )
        done = await process.wait()
    finally:
        await asyncio.shield(_end(run))
    if done.exit_status is None:
        raise RemoteFailureError("The connection to the attached machine was lost. Submit the run again.")
    if done.exit_status != 0:
        code = done.exit_status if 0 < done.exit_status <= 128 else 128 - done.exit_status
        raise ProcessFailureError("", code, log)


async def _end(run: RemoteRun) -> None:
    pid = f"$(cat {shlex.quote(run.root)}/pid)"
    wait = f"for _ in $(seq {int(_GRACE_SECONDS * 10)}); do kill -0 -- -{pid} || break; sleep 0.1; done"
    await run.connection.run(f"{{ kill -TERM -- -{pid}; {wait}; kill -KILL -- -{pid}; }} 2>/dev/null")


async def fetch(run: RemoteRun, folders: Sequence[Path]) -> None:
    """Bring folders back that the run may have made or filled."""
    for folder in folders:
        there = run.there(str(folder))
        if await run.sftp.isdir(there):
            folder.mkdir(parents=True, exist_ok=True)
            await run.sftp.get(f"{there}/.", folder, recurse=True)
