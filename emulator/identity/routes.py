"""Microsoft Entra ID (as AD FS, which MSAL reaches without asking login.microsoftonline.com): tokens for secrets."""

from __future__ import annotations

import hmac
import os
import time
import uuid
from dataclasses import dataclass
from typing import Any

import jwt
from aiohttp import web

from emulator.errors import ServiceError, StartupError
from emulator.routing import Request, Route, answer
from emulator.service import Service

TENANT = "adfs"
_TOKEN_SECONDS_VARIABLE = "AZUREML_EMULATOR_TOKEN_SECONDS"  # noqa: S105 - a name, no secret
_TOKEN_SECONDS = 3600
_RUN_TOKEN_SECONDS = 30 * 24 * 3600  # a training run may be long, and nothing refreshes its token


@dataclass(frozen=True)
class Principal:
    """Who a token speaks for: the one service principal, or a run of it."""

    object_id: str
    name: str


class IdentityService(Service):
    """Issues bearer tokens to the service principal of this emulator and verifies them for every other service."""

    async def start(self) -> None:
        text = os.environ.get(_TOKEN_SECONDS_VARIABLE, str(_TOKEN_SECONDS))
        if not text.isdecimal() or int(text) < 1:
            raise StartupError(f"{_TOKEN_SECONDS_VARIABLE} is '{text}', and must be a whole number of seconds above 0.")
        self._token_seconds = int(text)

    @property
    def client_id(self) -> str:
        return self.state.fact("client_id", lambda: str(uuid.uuid4()))

    @property
    def client_secret(self) -> str:
        return self.state.secret("client_secret")

    @property
    def object_id(self) -> str:
        return self.state.fact("principal_object_id", lambda: str(uuid.uuid4()))

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/adfs/.well-known/openid-configuration", self.configuration, open=True),
            Route("POST", "/adfs/oauth2/token", self.token, open=True),
            Route("POST", "/adfs/oauth2/v2.0/token", self.token, open=True),
        ]

    async def configuration(self, _: Request) -> web.Response:
        base = f"{self.emulator.url}/adfs"
        return answer(
            {
                "issuer": base,
                "authorization_endpoint": f"{base}/oauth2/authorize",
                "token_endpoint": f"{base}/oauth2/token",
                "response_types_supported": ["code", "token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["HS256"],
            }
        )

    async def token(self, request: Request) -> web.Response:
        form = await request.http.post()
        if form.get("grant_type") != "client_credentials":
            return _refusal(
                400, "unsupported_grant_type", "The emulator knows one service principal, with a secret, and no users."
            )
        same_id = _same(str(form.get("client_id", "")), self.client_id)
        same_secret = _same(str(form.get("client_secret", "")), self.client_secret)
        if not (same_id and same_secret):
            return _refusal(
                401,
                "invalid_client",
                'The client id or secret is not this emulator\'s: run `eval "$(python -m emulator env)"` again.',
            )
        token = self.issue(self._token_seconds, aud=str(form.get("scope") or form.get("resource") or self.emulator.url))
        return answer({"access_token": token, "expires_in": self._token_seconds, "token_type": "Bearer"})

    def issue(self, seconds: int, **claims: Any) -> str:
        now = int(time.time())
        payload = {
            "iss": f"{self.emulator.url}/adfs",
            "tid": TENANT,
            "oid": self.object_id,
            "appid": self.client_id,
            "name": "Azure ML emulator",
            "iat": now,
            "nbf": now,
            "exp": now + seconds,
            **claims,
        }
        return jwt.encode(payload, self.state.secret("token_signing_key"), algorithm="HS256")

    def issue_run_token(self, run_id: str) -> tuple[str, int]:
        """A token for the process of a run, and when it expires (seconds since the epoch)."""
        token = self.issue(_RUN_TOKEN_SECONDS, run_id=run_id)
        return token, int(time.time()) + _RUN_TOKEN_SECONDS

    def verify(self, authorization: str | None) -> Principal:
        """Who sent this request.

        Raises:
            ServiceError: 401 when there is no token, or it is not ours, or it has expired.
        """
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise ServiceError(
                401, "AuthenticationFailed", "The request has no bearer token in its Authorization header."
            )
        try:
            claims = jwt.decode(
                token,
                self.state.secret("token_signing_key"),
                algorithms=["HS256"],
                options={"verify_aud": False, "require": ["exp", "oid"]},
            )
        except jwt.PyJWTError as error:
            raise ServiceError(
                401, "AuthenticationFailed", f"The bearer token is not valid: {error}. Log in again."
            ) from error
        return Principal(object_id=claims["oid"], name=claims.get("name", ""))


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())


def _refusal(status: int, error: str, description: str) -> web.Response:
    return answer({"error": error, "error_description": description}, status=status)
