"""Execution: takes submitted runs, queues them for their compute target and carries them out."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from functools import partial
from pathlib import Path

from aiohttp import web

from emulator import child_processes
from emulator.client_environment import client_environment
from emulator.environments.builder import EnvironmentBuildError
from emulator.errors import ServiceError, bad_request
from emulator.execution.nodes import NodePool
from emulator.execution.process import RunContext, command_line, failure_sentence, process_environment
from emulator.execution.submission import RunConfiguration, parse_configuration
from emulator.history.store import Run, error_response
from emulator.management.store import Workspace
from emulator.routing import Request, Route, answer
from emulator.service import Service
from emulator.state import Record, utc_now
