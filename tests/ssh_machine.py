"""Machines to log in to: a real sshd on loopback, and a server that takes a password."""

from __future__ import annotations

import asyncio
import getpass
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncssh

PASSPHRASE = "open sesame"
USER, PASSWORD = "ada", "correct horse"


@dataclass(frozen=True)
class Machine:
    """An SSH server, and a key that it takes. ``home`` is where its user is at home."""

    port: int
    key: Path
    home: Path
    user: str = getpass.getuser()


@contextmanager
def sshd(directory: Path) -> Iterator[Machine]:
    """OpenSSH's own server, which takes the key that is made for it."""
    home = directory / "home"
    home.mkdir()
    for name, passphrase in (("host", ""), ("user", PASSPHRASE)):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(directory / name)]
        subprocess.run(command, check=True)
    machine = Machine(_free_port(), directory / "user", home)
    (directory / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {machine.port}\nHostKey {directory}/host\nPidFile none\n"
        f"AuthorizedKeysFile {directory}/user.pub\nStrictModes no\nPermitRootLogin yes\nUsePAM no\n"
        f"Subsystem sftp internal-sftp\nSetEnv HOME={home}\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # which Debian's service makes when it starts
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", str(directory / "sshd_config")], stderr=log)
    while "Server listening" not in (directory / "log").read_text():
        assert server.poll() is None, (directory / "log").read_text()
        time.sleep(0.05)
    yield machine
    server.terminate()
    server.wait()


@contextmanager
def password_server() -> Iterator[int]:
    """The port of a server that takes a password: sshd would need a user of this machine for it."""

    class Server(asyncssh.SSHServer):
        def begin_auth(self, username: str) -> bool:
            return True

        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password: str) -> bool:
            return (username, password) == (USER, PASSWORD)

    loop = asyncio.new_event_loop()
    key = asyncssh.generate_private_key("ssh-ed25519")
    server = loop.run_until_complete(asyncssh.create_server(Server, "127.0.0.1", 0, server_host_keys=[key]))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield server.get_port()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
