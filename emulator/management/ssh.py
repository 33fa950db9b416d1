"""Logging in to attached machines by SSH, as Azure ML does with the account that a user gives it."""

from __future__ import annotations

import asyncio

import asyncssh
from pydantic import BaseModel, ConfigDict, SecretStr

_CONNECT_SECONDS = 15.0


class Account(BaseModel):
    """``administratorAccount`` of a virtual machine: a user with a password, or with a private key."""

    model_config = ConfigDict(frozen=True)

    username: str
    password: SecretStr | None = None
    private_key: SecretStr | None = None
    passphrase: SecretStr | None = None


class LoginError(Exception):
    """A machine cannot be logged in to; ``str()`` says which one, why and what to do."""


def _keys(account: Account, machine: str) -> list[asyncssh.SSHKey]:
    if account.private_key is None:
        return []
    passphrase = account.passphrase.get_secret_value() if account.passphrase else None
    try:
        return [asyncssh.import_private_key(account.private_key.get_secret_value(), passphrase)]
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        raise LoginError(
            f"The private key for {machine} cannot be read: {error}. Give a private key file in OpenSSH or PEM format, "
            "and its passphrase."
        ) from error


async def connect(address: str, port: int, account: Account) -> asyncssh.SSHClientConnection:
    """A connection to a machine, logged in. Its host key is taken as it is: Azure ML is not told one.

    Raises:
        LoginError: it cannot be reached, or does not take the account.
    """
    machine = f"{account.username}@{address}:{port}"
    with_what = "private key" if account.private_key else "password"
    try:
        return await asyncssh.connect(
            address,
            port,
            username=account.username,
            password=account.password.get_secret_value() if account.password else None,
            client_keys=_keys(account, machine) or None,
            agent_path=None,
            known_hosts=None,
            config=None,
            connect_timeout=_CONNECT_SECONDS,
            login_timeout=_CONNECT_SECONDS,
        )
    except asyncssh.PermissionDenied as error:
        raise LoginError(
            f"SSH login to {machine} was refused: it does not take this {with_what}. Check the user and the "
            f"{with_what}."
        ) from error
    except (OSError, asyncio.TimeoutError, asyncssh.Error) as error:
        raise LoginError(
            f"{machine} cannot be reached by SSH: {error or type(error).__name__}. Check address and port, and that an "
            "SSH server listens there."
        ) from error
