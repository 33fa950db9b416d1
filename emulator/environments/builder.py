"""Builds environments with uv: one virtual environment for each content that was ever asked for."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import uv

from emulator import child_processes
from emulator.environments.conda import CondaSpecificationError, split
from emulator.state import Record, write_atomically

_TAIL_LINES = 40
_GRACE_SECONDS = 2.0
_BUILT = "built.json"  # written last: without it, a directory is what an interrupted build has left
# CondaDependencies.create() writes both into every definition. It is PyPI under its old name: the registry that uv uses
# anyway, or one that a machine with a mirror of its own does not reach.
_SDK_BOILERPLATE = frozenset(
    {
        "--find-links https://pypi.python.org/simple/index.html",
        "--extra-index-url https://pypi.python.org/simple",
    }
)
_UNREACHABLE = ("error sending request", "client error (Connect)", "dns error", "tcp connect error")
# Of the emulator's own virtual environment, which uv would otherwise take for the one to install into.
_NOT_INHERITED = frozenset({"VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "CONDA_PREFIX"})


class EnvironmentBuildError(Exception):
    """An environment cannot be built.

    Attributes:
        message: what failed, why and what to do next.
        log_tail: the end of the build log; empty when there is none.
    """

    def __init__(self, message: str, log_tail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.log_tail = log_tail


class _BuildFailure(Exception):  # noqa: N818 - becomes an EnvironmentBuildError of each environment with this content
    """A build has failed; ``str()`` says why and what to do next."""


@dataclass(frozen=True)
class Recipe:
    """What of a definition makes a difference to what is installed; not its name, version or variables.

    Attributes:
        python: the version in pip's terms, for example ``==3.11.*``; ``None`` takes the emulator's own.
        requirements: lines of a requirements file.
    """

    python: str | None
    requirements: tuple[str, ...]

    @property
    def key(self) -> str:
        content = json.dumps([self.python_request, sorted(self.requirements)])
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @property
    def python_request(self) -> str:
        """In uv's terms: a version, or a range."""
        if self.python is None:
            return f"{sys.version_info.major}.{sys.version_info.minor}"
        exact = self.python.removeprefix("==").removesuffix(".*")
        return self.python if any(sign in exact for sign in "<>!~,=") else exact


def recipe_of(definition: Record) -> Recipe:
    """The recipe of an environment's definition, as the SDK sends it.

    Raises:
        EnvironmentBuildError: it asks for something that is not built here, or cannot be read.
    """
    name = definition.get("name") or "(unnamed)"
    if (definition.get("docker") or {}).get("baseDockerfile"):
        raise EnvironmentBuildError(
            f"Environment '{name}' has a Dockerfile of its own, which the emulator does not build: "
            "use conda and pip dependencies, or run this on Azure."
        )
    conda = (definition.get("python") or {}).get("condaDependencies") or {}
    try:
        python, requirements = split(conda.get("dependencies") or [])
    except CondaSpecificationError as error:
        raise EnvironmentBuildError(f"Environment '{name}' cannot be built: {error}") from error
    return Recipe(python, tuple(line for line in requirements if line not in _SDK_BOILERPLATE))


class EnvironmentBuilder:
    """Keeps environments in a directory, each below its recipe's key, with the log of its build beside it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._builds: dict[str, asyncio.Task[Path]] = {}

    async def ensure(self, definition: Record, log: Path) -> Path:
        """The Python interpreter of an environment, built first if it is not there.

        Asked for the same content twice at a time, it builds once. One whose build was interrupted is built anew.

        Args:
            definition: an environment as the SDK sends it (``python``, ``docker`` …).
            log: where the build log is to be read while it is written; not made when nothing had to be built.

        Raises:
            EnvironmentBuildError: it cannot be built.
        """
        name = definition.get("name") or "(unnamed)"
        python = definition.get("python") or {}
        if python.get("userManagedDependencies"):
            return _user_managed(name, python.get("interpreterPath") or "python")
        recipe = recipe_of(definition)
        environment = self._directory / recipe.key
        if (environment / _BUILT).exists():
            return environment / "bin" / "python"
        if recipe.key not in self._builds:
            self._new_log(recipe.key)
            task = asyncio.create_task(self._build(recipe, environment))
            self._builds[recipe.key] = task
            task.add_done_callback(lambda _: self._builds.pop(recipe.key))
        self._show(self._log(recipe.key), log)
        try:
            # Shielded: who asked may be canceled while somebody else waits for the same environment.
            return await asyncio.shield(self._builds[recipe.key])
        except _BuildFailure as failure:
            raise EnvironmentBuildError(
                f"Environment '{name}' cannot be built: {failure}",
                child_processes.tail(self._log(recipe.key), _TAIL_LINES),
            ) from failure

    async def stop(self) -> None:
        """End the builds that are going on."""
        builds = list(self._builds.values())
        for build in builds:
            build.cancel()
        await asyncio.gather(*builds, return_exceptions=True)

    def _log(self, key: str) -> Path:
        return self._directory / f"{key}.log"

    def _new_log(self, key: str) -> None:
        # A new file, not an emptied one: runs that a former build failed keep its log under a name of their own.
        self._log(key).unlink(missing_ok=True)
        self._log(key).touch()

    def _show(self, shared: Path, wanted: Path) -> None:
        # A second name of the same file: every run that waits for this build reads it live.
        wanted.parent.mkdir(parents=True, exist_ok=True)
        wanted.unlink(missing_ok=True)
        wanted.hardlink_to(shared)

    async def _build(self, recipe: Recipe, environment: Path) -> Path:
        output = self._log(recipe.key)
        program = _find_uv()
        await asyncio.to_thread(shutil.rmtree, environment, ignore_errors=True)
        try:
            base = await _find_python(program, recipe)
            make = [program, "venv", "--no-project", "--no-python-downloads", "--python", base, str(environment)]
            await self._run(make, output)
            interpreter = environment / "bin" / "python"
            if recipe.requirements:
                requirements = environment / "requirements.txt"
                write_atomically(requirements, "\n".join(recipe.requirements) + "\n")
                install = [program, "pip", "install", "--python", str(interpreter), "--requirement", str(requirements)]
                install.append("--compile-bytecode")  # once here, and not in each first start of a replica
                await self._run(install, output)
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, environment, ignore_errors=True)
            raise
        write_atomically(environment / _BUILT, json.dumps({"python": base, "requirements": recipe.requirements}))
        return interpreter

    async def _run(self, command: Sequence[str], output: Path) -> None:
        variables = {**_uv_environment(), "UV_NO_PROGRESS": "1", "NO_COLOR": "1"}
        process = await child_processes.spawn(command, env=variables, cwd=self._directory, stdout=output)
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            await child_processes.terminate(process, _GRACE_SECONDS)
            raise
        if code != 0:
            raise _BuildFailure(_reason(command, code, output.read_text(errors="replace")))


def _reason(command: Sequence[str], code: int, output: str) -> str:
    step = f"`uv {' '.join(command[1:3])}`" if command[1] == "pip" else f"`uv {command[1]}`"
    if any(sign in output for sign in _UNREACHABLE):
        return (
            f"{step} could not reach the package registry. Check the network, or name a registry that this machine "
            "reaches in UV_INDEX_URL before the emulator is started."
        )
    return f"{step} ended with exit code {code}. Its log says which package and why: change the dependencies."


def _uv_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}


def _find_uv() -> str:
    try:
        return uv.find_uv_bin()
    except FileNotFoundError as error:
        raise _BuildFailure(
            "the program uv is missing. Install the Python package uv where the emulator is installed."
        ) from error


async def _ask_uv(*command: str) -> tuple[int, str]:
    # The emulator's own interpreter counts, although it may be nowhere on PATH.
    own = {"VIRTUAL_ENV": sys.prefix} if sys.prefix != sys.base_prefix else {}
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**_uv_environment(), **own},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode().strip()


async def _find_python(program: str, recipe: Recipe) -> str:
    """The interpreter to build from, among those that are on this machine."""
    request = recipe.python_request
    code, path = await _ask_uv(program, "python", "find", "--no-project", "--no-python-downloads", request)
    if code == 0:
        return path
    _, listed = await _ask_uv(program, "python", "list", "--only-installed", "--output-format", "json")
    versions = sorted({entry["version"] for entry in json.loads(listed or "[]")})
    raise _BuildFailure(
        f"it asks for Python {request}, which this machine does not have. It has: {', '.join(versions) or 'none'}. "
        "Install that version, or change the environment's python dependency."
    )


def _user_managed(name: str, interpreter: str) -> Path:
    found = shutil.which(interpreter)
    if found is None:
        raise EnvironmentBuildError(
            f"Environment '{name}' has user-managed dependencies and names the interpreter '{interpreter}', which is "
            "not on this machine: set environment.python.interpreter_path to one that is."
        )
    return Path(found)
