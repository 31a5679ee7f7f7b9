"""Reads a pod's environment variables, once, at start, for the three programs of this package.

A missing or malformed variable ends the program with one sentence: a pod that guesses would serve or sample something
that nobody asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rewriter_contract import env, wire
from rewriter_contract.messages import EngineConfig, ServingConfig, WeightsRef

DEFAULT_PORT = 8080

Config = TypeVar("Config")


class BadSettings(ValueError):
    """A variable is missing or malformed; the message names it."""


@dataclass(frozen=True)
class PodSettings:
    """What every pod of this package is told."""

    token: str
    port: int
    pod_uid: str
    release: str


def pod_settings(environ: Mapping[str, str]) -> PodSettings:
    """Token, port and names.

    Raises:
        BadSettings: when the token or pod uid is missing, or the port is not a TCP port.
    """
    return PodSettings(
        token=_required(environ, env.AGENT_TOKEN),
        port=_port(environ),
        pod_uid=_required(environ, env.POD_UID),
        release=environ.get(env.RELEASE, ""),
    )


def volume_root(environ: Mapping[str, str]) -> Path:
    """The release's directory on the shared volume.

    Raises:
        BadSettings: when the variable is missing or the directory is not there.
    """
    root = Path(_required(environ, env.VOLUME_ROOT))
    if not root.is_dir():
        raise BadSettings(f"{env.VOLUME_ROOT}: {root} is not a directory; mount the release's volume there")
    return root


def engine_config(environ: Mapping[str, str]) -> EngineConfig:
    """How to build the engine; BadSettings when it is missing or malformed."""
    return _config(environ, env.ENGINE, EngineConfig)


def weights_to_load(environ: Mapping[str, str]) -> WeightsRef | None:
    """What a sampler loads when it starts; None where it is to wait for an order; BadSettings when it is malformed."""
    return _config(environ, env.WEIGHTS, WeightsRef) if environ.get(env.WEIGHTS) else None


def serving_config(environ: Mapping[str, str]) -> ServingConfig:
    """What to serve; BadSettings when it is missing or malformed."""
    return _config(environ, env.SERVING, ServingConfig)


def serving_file(environ: Mapping[str, str]) -> Path | None:
    """Where it is written what to serve, in a pod that changes revisions; None in all others."""
    return Path(environ[env.SERVING_FILE]) if environ.get(env.SERVING_FILE) else None


def _config(environ: Mapping[str, str], name: str, kind: type[Config]) -> Config:
    try:
        return wire.loads(kind, _required(environ, name), name)
    except wire.WireError as error:
        raise BadSettings(str(error)) from error


def _required(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name, "")
    if not value:
        raise BadSettings(f"{name}: not set; the operator sets it in the pods that it starts")
    return value


def _port(environ: Mapping[str, str]) -> int:
    text = environ.get(env.AGENT_PORT, str(DEFAULT_PORT))
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise BadSettings(f"{env.AGENT_PORT}: got {text!r}; must be a TCP port")
    return int(text)
