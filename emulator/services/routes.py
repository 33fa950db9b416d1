"""Services."""

from __future__ import annotations

from emulator.service import Service


class ServicesService(Service):
    """Services."""

    def scoring_app(self):  # type: ignore[no-untyped-def]
        from aiohttp import web

        return web.Application()
