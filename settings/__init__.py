"""What a user may choose: settings.json, the models that read it, its JSON schema and its reference page.

    settings = load()                   # settings/settings.json, checked as a whole
    settings.experiment.entry_script    # 'train.py'

Imported lazily: `import settings` costs nothing, pydantic comes with the first name that needs it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from settings.loading import Settings, load
    from settings.problems import Problem, SettingsError

__all__ = ["Problem", "Settings", "SettingsError", "load"]

_HOMES = {
    "Problem": "settings.problems",
    "Settings": "settings.loading",
    "SettingsError": "settings.problems",
    "load": "settings.loading",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
