"""A steady stream of requests to a service, from a process of its own, until it gets SIGTERM.

    SERVICE_KEY=... python -m tests.reliability.request_stream ADDRESS SAMPLE RESULT

RESULT is then a JSON list of [status, answer, how often]; a request without an answer has status 0 and the error.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path

import aiohttp

_CALLERS = 3
_PAUSE_SECONDS = 0.01


async def main(address: str, sample: Path, result: Path) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    headers = {"Authorization": f"Bearer {os.environ['SERVICE_KEY']}", "Content-Type": "application/json"}
    body, seen = sample.read_bytes(), Counter[tuple[int, str]]()

    async def call(session: aiohttp.ClientSession) -> None:
        while not ended.is_set():
            try:
                async with session.post(address, data=body) as answer:
                    seen[answer.status, (await answer.text()).strip()] += 1
            except (aiohttp.ClientError, asyncio.TimeoutError) as error:
                seen[0, repr(error)] += 1
            await asyncio.sleep(_PAUSE_SECONDS)

    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
        await asyncio.gather(*(call(session) for _ in range(_CALLERS)))
    result.write_text(json.dumps([[status, text, count] for (status, text), count in seen.items()]))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
