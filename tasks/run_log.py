"""The logs of a run: followed while it goes on, and their end when it has failed.

Azure: https://learn.microsoft.com/azure/machine-learning/how-to-log-view-metrics#view-and-download-log-files-for-a-run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tasks.progress import report_line

if TYPE_CHECKING:
    from azureml.core import Run

_LOG_LINES = 20
_SCRIPT_LOG = re.compile(r"driver_log|std_log|mpi_log")
_BUILD_LOG = re.compile(r"image_build")
_PROCESS = re.compile(r"\b(rank|worker|parameter server|process) (\d+)\b")


class FollowedLogs:
    """Shows the lines of a run's logs as they come, each once; of several logs, with the log's name."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._seen: dict[str, int] = {}

    def show_new_lines(self) -> None:
        """Read on in every log. A line that is not finished yet is left for the next time."""
        import requests

        addresses = log_addresses(self._run)
        for name, address in addresses.items():
            seen = self._seen.get(name, 0)
            answer = requests.get(address, headers={"Range": f"bytes={seen}-"}, timeout=30)
            if not answer.ok:
                continue  # 416: nothing new. A log that cannot be read is no reason to stop watching the run.
            content = answer.content if answer.status_code == 206 else answer.content[seen:]
            finished = content[: content.rfind(b"\n") + 1]
            self._seen[name] = seen + len(finished)
            prefix = f"{name.rpartition('/')[2].removesuffix('.txt')}: " if len(addresses) > 1 else ""
            for line in finished.decode("utf-8", errors="replace").splitlines():
                report_line(f"{prefix}{line}")


def log_addresses(run: Run) -> dict[str, str]:
    """The logs of the image's build and of the script's processes, by name, each with a signed address."""
    files = run.get_details().get("logFiles") or {}
    return {name: files[name] for name in sorted(files) if _SCRIPT_LOG.search(name) or _BUILD_LOG.search(name)}


def was_started(run: Run) -> bool:
    """Whether a process of the run has written a log: if not, it ended before, as when its image cannot be built."""
    return any(_SCRIPT_LOG.search(name) for name in log_addresses(run))


def log_tail(run: Run) -> str | None:
    """The end of the log that says most: of the process that failed first, or the image build's when none was started.

    Returns:
        its last lines; None when there is no log, or none that says anything.
    """
    import requests

    error = (run.get_details().get("error") or {}).get("error") or {}
    addresses = log_addresses(run)
    for name in most_telling(addresses, str(error.get("message") or "")):
        answer = requests.get(addresses[name], timeout=30)
        lines = answer.text.splitlines() if answer.ok else []
        if lines:
            return "\n".join(lines[-_LOG_LINES:])
    return None


def most_telling(names: Iterable[str], message: str) -> list[str]:
    """Names of logs, first the one of the process that the run's error names, then the script's, then the build's."""
    process = _PROCESS.search(message.partition("\n")[0])

    def rank(name: str) -> tuple[int, str]:
        if process is not None and _is_log_of(name, process[1], int(process[2])):
            return 0, name
        return (1, name) if _SCRIPT_LOG.search(name) else (2, name)

    return sorted(names, key=rank)


def _is_log_of(name: str, kind: str, number: int) -> bool:
    numbers = re.findall(r"\d+", name.rpartition("/")[2])
    return bool(numbers) and int(numbers[-1]) == number and ("_ps" in name) == (kind == "parameter server")
