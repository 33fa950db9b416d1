"""What a fresh emulator has: its one subscription, and the workspace in it. Imports nothing, so that commands answer at
once."""

SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
DEFAULT_RESOURCE_GROUP = "mlops"
DEFAULT_WORKSPACE = "mlops"
DEFAULT_LOCATION = "local"
