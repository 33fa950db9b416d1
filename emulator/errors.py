"""The two kinds of failure that the emulator knows.

Exception
├── ServiceError     a request cannot be met: becomes an answer in Azure's error shape
└── StartupError     the emulator cannot start or be reached: becomes one sentence on the terminal
"""

from __future__ import annotations

from typing import Any


class StartupError(Exception):
    """The emulator cannot start, stop or be found; ``str()`` says why and what to do next."""


class ServiceError(Exception):
    """A request that an Azure ML service would refuse.

    Args:
        status: HTTP status code.
        code: Azure's short error code, for example ``ResourceNotFound``.
        message: what failed, on which resource and what to do next.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    def payload(self) -> dict[str, Any]:
        """The JSON body. Azure Resource Manager clients read ``error``, the model management client the flat keys;
        ``details`` must be a list, or the SDK's own ``str(ServiceException)`` raises TypeError."""
        flat = {"code": self.code, "message": self.message, "details": []}
        return {"error": {**flat, "innerError": None}, "statusCode": self.status, **flat, "correlation": {}}


def not_found(kind: str, name: str, where: str = "this workspace") -> ServiceError:
    """404 in Azure's words for a resource ``name`` of ``kind`` that is not there."""
    return ServiceError(404, "ResourceNotFound", f"{kind} '{name}' was not found in {where}.")


def not_emulated(what: str) -> ServiceError:
    """501 for what Azure can do and the emulator cannot: it names it and never pretends."""
    return ServiceError(
        501,
        "NotEmulated",
        f"The emulator does not implement {what}. What it implements is listed in emulator/README.md.",
    )


def bad_request(message: str) -> ServiceError:
    """400 for a body or parameter that the service does not accept."""
    return ServiceError(400, "BadRequest", message)
