"""What pods answer over real HTTP: a long answer arrives whole, one that is too long is no answer at all."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import aiohttp
import pytest

from rewriter_contract.agent import Route, serve
from rewriter_operator.cluster import agents
from rewriter_operator.cluster.agents import Agents

TOKEN = "secret"


@dataclass(frozen=True)
class Rows:
    """Something long."""

    text: str


@pytest.fixture
def pod(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rows]:
    """A pod whose /v1/rows are three million letters."""
    rows = Rows("r" * 3_000_000)
    server = serve(0, TOKEN, [Route("GET", "/v1/rows", lambda _match, _body: rows)], "127.0.0.1")
    monkeypatch.setattr(agents, "PORT", server.server_address[1])
    yield rows
    server.shutdown()
    server.server_close()


def fetched() -> Rows | int | None:
    async def ask() -> Rows | int | None:
        async with aiohttp.ClientSession() as session:
            return await Agents(session, 1).get(Rows, "127.0.0.1", TOKEN, "/v1/rows", 20.0)

    return asyncio.run(ask())


def test_an_answer_that_comes_in_many_pieces_is_read_to_its_end(pod: Rows) -> None:
    assert fetched() == pod


def test_an_answer_above_the_limit_is_none(pod: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents, "MAX_ANSWER_BYTES", len(pod.text) - 1)
    assert fetched() is None
