"""Who may score."""

from __future__ import annotations

import time

import jwt
import pytest

from emulator.services.access import Access, issue_token

pytestmark = pytest.mark.unit

SECRET = "a secret of thirty-two characters"


def test_a_token_opens_its_own_service_until_it_expires() -> None:
    mine, other = Access("ws/mine", None, SECRET), Access("ws/other", None, SECRET)
    token = issue_token("ws/mine", SECRET)
    assert mine.allows(f"Bearer {token.value}")
    assert not other.allows(f"Bearer {token.value}")
    assert time.time() < token.refresh_after < token.expires
    expired = jwt.encode({"aud": "ws/mine", "exp": int(time.time()) - 1}, SECRET, algorithm="HS256")
    assert not mine.allows(f"Bearer {expired}")


def test_a_service_without_authentication_is_open() -> None:
    assert Access("ws/open", None, None).allows(None)


def test_secrets_are_not_in_a_repr() -> None:
    access = Access("ws/mine", ("primary", "secondary"), SECRET)
    assert "primary" not in repr(access)
    assert "primary" not in repr(issue_token("ws/mine", SECRET))
    assert SECRET not in repr(access)
