"""Who may score: keys, or tokens of the service's own (``get_token``, AKS with ``token_auth_enabled``)."""

from __future__ import annotations

import hmac
import time
from dataclasses import dataclass, field

import jwt

_TOKEN_SECONDS = 24 * 3600
_REFRESH_SECONDS = 12 * 3600  # a token is good for twelve hours after it should have been refreshed, as on Azure


@dataclass(frozen=True)
class Access:
    """How the callers of one service prove that they may.

    Attributes:
        audience: workspace id and name of the service: a token of another service is not one for this.
        keys: that open the service; ``None`` when key authentication is off.
        token_key: signs its tokens; ``None`` when token authentication is off.
    """

    audience: str
    keys: tuple[str, str] | None = field(repr=False)
    token_key: str | None = field(repr=False)

    def allows(self, authorization: str | None) -> bool:
        """Whether a request with this Authorization header may pass."""
        if self.keys is None and self.token_key is None:
            return True
        scheme, _, credential = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not credential:
            return False
        if self.keys is not None:
            return any(hmac.compare_digest(credential.encode(), key.encode()) for key in self.keys)
        try:
            jwt.decode(
                credential,
                self.token_key or "",
                algorithms=["HS256"],
                audience=self.audience,
                options={"require": ["exp", "aud"]},
            )
        except jwt.PyJWTError:
            return False
        return True


@dataclass(frozen=True)
class ServiceToken:
    """A token that opens one service. Times are seconds since the epoch."""

    value: str = field(repr=False)
    refresh_after: int
    expires: int


def issue_token(audience: str, token_key: str) -> ServiceToken:
    now = int(time.time())
    expires = now + _TOKEN_SECONDS
    value = jwt.encode({"aud": audience, "iat": now, "exp": expires}, token_key, algorithm="HS256")
    return ServiceToken(value, now + _REFRESH_SECONDS, expires)
