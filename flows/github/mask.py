"""Have GitHub mask the client secret in AZURE_CREDENTIALS: ``python -m flows.github.mask``.

GitHub masks a secret as the whole text that it is. A value inside that text has to be named:
https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands#masking-a-value-in-a-log
"""

from __future__ import annotations

import json
import os
import sys


def client_secret(credentials: str) -> str | None:
    """``clientSecret`` of a service principal's JSON; None when there is none to read."""
    try:
        principal = json.loads(credentials)
    except ValueError:
        return None
    secret = principal.get("clientSecret") if isinstance(principal, dict) else None
    return secret if isinstance(secret, str) and secret else None


def main() -> int:
    secret = client_secret(os.environ.get("AZURE_CREDENTIALS", ""))
    if secret is None:
        print(
            "::error::The secret AZURE_CREDENTIALS is not the JSON of a service principal with clientId, clientSecret, "
            "tenantId and subscriptionId: set it again, as docs/github.md says.",
            file=sys.stderr,
        )
        return 1
    print(f"::add-mask::{secret}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
