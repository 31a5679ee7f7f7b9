"""Starts the package's programs as real processes and calls them over HTTP."""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from rewriter_contract import env, wire
from tests.ports import free_port

TOKEN = "a-token-of-the-test"


@dataclass(frozen=True)
class HttpAnswer:
    """One answer."""

    status: int
    text: str
    headers: Mapping[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Program:
    """A running program."""

    process: "subprocess.Popen[bytes]"
    port: int
    log: IO[bytes]

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str = TOKEN,
        headers: Mapping[str, str] | None = None,
        raw: bytes | None = None,
    ) -> HttpAnswer:
        """Call the program; any HTTP status is an answer."""
        data = raw if raw is not None else (wire.dumps(body).encode() if body is not None else None)
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, method=method)
        request.add_header("Authorization", f"Bearer {token}")
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return HttpAnswer(response.status, response.read().decode(), dict(response.headers))
        except urllib.error.HTTPError as error:
            with error:
                return HttpAnswer(error.code, error.read().decode(), dict(error.headers))
        except OSError as error:
            self.check_alive(error)
            raise

    def check_alive(self, because: Exception | None = None) -> None:
        """Fail with the program's log when it has ended."""
        time.sleep(0.2 if because else 0)  # a connection breaks a moment before the process is gone
        if self.process.poll() is not None:
            raise AssertionError(f"the program ended with {self.process.returncode}:\n{self.output()}") from because

    def wait_for(self, path: str, status: int = 200, seconds: float = 180.0) -> float:
        """Wait until a GET answers with `status`; returns how long that took."""
        started = time.monotonic()
        while time.monotonic() < started + seconds:
            try:
                if self.call("GET", path).status == status:
                    return time.monotonic() - started
            except OSError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"{path} did not answer {status} within {seconds} s:\n{self.output()}")

    def output(self) -> str:
        """What the program has logged so far."""
        self.log.seek(0)
        return self.log.read().decode(errors="replace")[-6000:]


@contextmanager
def running(module: str, variables: Mapping[str, str] | None = None) -> Iterator[Program]:
    """`python -m module`, ended when the block ends."""
    port = free_port()
    environ = {
        **os.environ,
        env.AGENT_TOKEN: TOKEN,
        env.AGENT_PORT: str(port),
        env.POD_UID: "pod-uid",
        **(variables or {}),
    }
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([sys.executable, "-m", module], env=environ, stdout=log, stderr=log)
        try:
            yield Program(process, port, log)
        finally:
            process.kill()
            process.wait()
