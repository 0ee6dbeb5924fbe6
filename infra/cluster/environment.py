"""Sets Ray's environment variables. Import it before Ray, which reads them once when it loads."""

from __future__ import annotations

import os
from pathlib import Path

TOKEN_FILE = Path.home() / ".ray" / "auth_token"
_PATIENCE = {
    # The default timeouts are too short for a loaded machine.
    "RAY_agent_register_timeout_ms": "600000",
    "RAY_worker_register_timeout_seconds": "600",
    "RAY_gcs_server_request_timeout_seconds": "120",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def _use_token() -> None:
    """Enable token authentication if there is a token; clusters require one by default."""
    if (
        "RAY_AUTH_TOKEN" in os.environ
        or Path(os.environ.get("RAY_AUTH_TOKEN_PATH", TOKEN_FILE)).exists()
    ):
        os.environ.setdefault("RAY_AUTH_MODE", "token")


for _name, _value in _PATIENCE.items():
    os.environ.setdefault(_name, _value)
_use_token()
