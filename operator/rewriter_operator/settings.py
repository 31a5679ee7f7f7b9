"""The operator's own settings: environment variables into one frozen value, checked once at start."""

import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from rewriter_operator.workloads.installation import Installation


class SettingsInvalid(ValueError):
    """A variable is missing or makes no sense; the message names it and the remedy."""


@dataclass(frozen=True)
class Settings:
    """How this operator runs."""

    namespace: str
    """The one namespace that it watches."""
    installation: Installation
    workers: int = 16
    """Passes at once. A pass mostly waits for the API server, so there are many more than it has cores."""
    metrics_port: int = 9090
    probe_port: int = 8081
    log_format: str = "json"
    pod: str = ""
    """Name and uid of the pod: who holds the lease."""
    lease_name: str = "rewriter-operator"
    lease_seconds: int = 15


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings.

    Raises:
        SettingsInvalid: naming the variable.
    """
    secrets = tuple(name for name in environment.get("PULL_SECRETS", "").split(",") if name)
    installation = Installation(
        trainer_image=_required(environment, "TRAINER_IMAGE"),
        sampler_image=_required(environment, "SAMPLER_IMAGE"),
        pull_policy=environment.get("PULL_POLICY", "IfNotPresent"),
        pull_secrets=secrets,
    )
    return Settings(
        namespace=_required(environment, "WATCH_NAMESPACE"),
        installation=installation,
        workers=_integer(environment, "WORKERS", 16, 1, 64),
        metrics_port=_integer(environment, "METRICS_PORT", 9090, 1, 65535),
        probe_port=_integer(environment, "PROBE_PORT", 8081, 1, 65535),
        log_format=environment.get("LOG_FORMAT", "json"),
        pod=_pod(environment),
        lease_name=environment.get("LEASE_NAME", "rewriter-operator"),
        lease_seconds=_integer(environment, "LEASE_SECONDS", 15, 3, 300),
    )


def _pod(environment: Mapping[str, str]) -> str:
    """A uid that nothing else has: without one from Kubernetes, no process takes another for its own former life."""
    name = environment.get("POD_NAME") or socket.gethostname()
    return f"{name}_{environment.get('POD_UID') or secrets.token_hex(8)}"


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "").strip()
    if not value:
        raise SettingsInvalid(f"{name} is not set; set it in the operator's Deployment (manifests/base/operator.yaml)")
    return value


def _integer(environment: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = environment.get(name, str(default))
    if not text.isdigit() or not low <= int(text) <= high:
        raise SettingsInvalid(f"{name}: got {text!r}; must be a whole number from {low} to {high}")
    return int(text)
