"""Replicas start in a fraction of a second: forked from a process that has imported what they import.

Most of what a replica does until it is ready is to import the inference server and the entry script's packages. The
first replica of a scoring environment does all of it and notes what it has imported (``gunicorn_settings``). A fork
server (as :mod:`multiprocessing` has one) then imports the same, and the next replicas are copies of it that go on as
any replica does: gunicorn, the inference server, the entry script's ``init()``.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emulator.child_processes import Process, spawn, terminate

log = logging.getLogger("emulator.services")

LOADED_MODULES = "EMULATOR_LOADED_MODULES"
"""Tells gunicorn_settings where to note what was imported; the entry script does not see it."""
_PROGRAM = Path(__file__).with_name("fork_server_process.py")
_MOST_BYTES = 1 << 16
_GRACE_SECONDS = 0.5
_PATIENCE_SECONDS = 20.0
# What differs between replicas of one environment. A package that reads it while it is imported is none of those that a
# fork server imports.
_OF_ONE_REPLICA = frozenset(
    ("AML_APP_ROOT", "AZUREML_MODEL_DIR", "AZUREML_ENTRY_SCRIPT", "AZUREML_SOURCE_DIRECTORY", "SERVICE_NAME")
)


class ForkedProcess:
    """A process whose end is told by the fork server that is its parent."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def returncode(self) -> int | None:
        return self._code.result() if self._code.done() else None

    async def wait(self) -> int:
        return await asyncio.shield(self._code)

    def end(self, code: int) -> None:
        if not self._code.done():
            self._code.set_result(code)


class ForkServer:
    """Starts the replicas of one scoring environment.

    Args:
        python: the environment's interpreter.
        variables: of the replicas, as far as they are the same for all.
        modules: the file that says what to import.
        output: gets what the fork server itself prints.
    """

    def __init__(self, python: Path, variables: Mapping[str, str], modules: Path, output: Path) -> None:
        self._python = python
        self._variables = dict(variables)
        self._modules = modules
        self._output = output
        self._start: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._control: socket.socket | None = None
        self._ready: asyncio.Future[None] | None = None
        self._asked: deque[asyncio.Future[ForkedProcess]] = deque()
        self._children: dict[int, ForkedProcess] = {}
        self._unfit = sys.platform != "linux"

    async def launch(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        directory: Path,
        output: Path,
        listener: socket.socket,
    ) -> Process:
        """Start gunicorn: as a copy of the fork server if there is one, else as a program.

        Args:
            arguments: of gunicorn, without the address to listen on.
            environment: all variables of the process.
            directory: in which it works.
            output: gets what it prints.
            listener: the socket that it shall listen on.

        Raises:
            OSError: the program cannot be started.
        """
        whole = {**environment, LOADED_MODULES: str(self._modules)}
        request = {
            "arguments": list(arguments),
            "environment": whole,
            "directory": str(directory),
            "log": str(output),
        }
        self.warm_up()
        if self._ready is not None:
            try:
                return await asyncio.wait_for(self._fork(request, listener), _PATIENCE_SECONDS)
            except (OSError, asyncio.TimeoutError) as error:
                log.warning("the fork server of %s does not answer: %r", self._python, error)
        return await spawn(
            [str(self._python), "-m", "gunicorn", *arguments, "--bind", f"fd://{listener.fileno()}"],
            env=whole,
            cwd=directory,
            stdout=output,
            pass_fds=(listener.fileno(),),
        )

    async def _fork(self, request: dict[str, Any], listener: socket.socket) -> ForkedProcess:
        if self._ready is not None:
            await asyncio.shield(self._ready)
        if self._control is None:
            raise BrokenPipeError("it has ended")
        Path(request["log"]).parent.mkdir(parents=True, exist_ok=True)
        socket.send_fds(self._control, [json.dumps(request).encode()], [listener.fileno()])
        asked: asyncio.Future[ForkedProcess] = asyncio.get_running_loop().create_future()
        self._asked.append(asked)
        return await asked

    def warm_up(self) -> None:
        """Have a fork server from now on, if a replica has noted what it has imported."""
        if self._ready is None and not self._unfit and self._modules.is_file():
            self._ready = asyncio.get_running_loop().create_future()
            self._start = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End the fork server, and with it what it has forked."""
        if self._start is not None:
            self._start.cancel()
            await asyncio.gather(self._start, return_exceptions=True)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        control, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with control:
            control.setblocking(False)
            try:
                with other:
                    self._process = await spawn(
                        [str(self._python), str(_PROGRAM), str(other.fileno()), str(self._modules)],
                        env=self._variables,
                        cwd=self._output.parent,
                        stdout=self._output,
                        pass_fds=(other.fileno(),),
                    )
                self._control = control
                loop.add_reader(control, self._read, control)
                code = await self._process.wait()
                log.info("the fork server of %s has ended (%s)", self._python, code)
                self._unfit = code != 0 and not self._children
            except OSError as error:
                log.warning("no fork server of %s: %s", self._python, error)
                self._unfit = True
            finally:
                loop.remove_reader(control)
                self._forget()
                if self._process is not None:
                    await terminate(self._process, _GRACE_SECONDS)

    def _read(self, control: socket.socket) -> None:
        try:
            message = control.recv(_MOST_BYTES)
        except OSError:
            message = b""
        if not message:
            asyncio.get_running_loop().remove_reader(control)
            return
        told = json.loads(message)
        if "started" in told:
            child = self._children[told["started"]] = ForkedProcess(told["started"])
            asked = self._asked.popleft()
            if asked.done():  # nobody waits for it any more
                os.kill(child.pid, signal.SIGKILL)
            else:
                asked.set_result(child)
        elif "ended" in told:
            self._children.pop(told["ended"]).end(told["code"])
        elif self._ready is not None:
            self._ready.set_result(None)

    def _forget(self) -> None:
        self._control = None
        ready, self._ready = self._ready, None
        if ready is not None and not ready.done():
            ready.set_result(None)
        for child in self._children.values():
            child.end(-signal.SIGTERM)  # which the kernel sends to each of them
        self._children.clear()
        while self._asked:
            asked = self._asked.popleft()
            if not asked.done():
                asked.set_exception(BrokenPipeError("it has ended"))


class ForkServers:
    """One for each environment and its variables.

    Args:
        directory: for lists of modules and for logs.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._servers: dict[str, ForkServer] = {}

    def of(self, python: Path, environment: Mapping[str, str]) -> ForkServer:
        """
        Args:
            python: of the scoring environment.
            environment: all variables of a replica.
        """
        variables = {name: value for name, value in environment.items() if name not in _OF_ONE_REPLICA}
        key = hashlib.sha256(json.dumps([str(python), sorted(variables.items())]).encode()).hexdigest()[:16]
        if key not in self._servers:
            modules, output = self._directory / f"{key}.modules.json", self._directory / f"{key}.log"
            self._directory.mkdir(parents=True, exist_ok=True)
            self._servers[key] = ForkServer(python, variables, modules, output)
        return self._servers[key]

    async def stop(self) -> None:
        await asyncio.gather(*(server.stop() for server in self._servers.values()))
