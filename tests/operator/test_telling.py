"""Events of a pass: in their order, beside what else it writes, and never in its way."""

import asyncio
from typing import Any

import pytest

from rewriter_operator.cluster.act import Hands
from rewriter_operator.core.decision import Note
from rewriter_operator.errors import Retry
from rewriter_operator.telling import Telling

LIVE = {"metadata": {"name": "shop"}}
NOTES = (Note("StepApproved", "r0002/finerank/1"), Note("ShareSet", "finerank: 10 % -> 100 %"))
LATER = Note("FullShare", "every stage")


class Posting(Hands):
    """Posts each Event only when it is let."""

    def __init__(self) -> None:
        self.posted: list[str] = []
        self.let = asyncio.Event()
        self.failures: list[Exception] = []

    async def tell(self, live: dict[str, Any], note: Note) -> None:
        await self.let.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.posted.append(note.reason)


def test_a_pass_goes_on_while_events_are_posted_and_ends_after_them_in_their_order() -> None:
    async def story() -> tuple[list[str], list[str]]:
        hands = Posting()
        async with Telling(hands) as telling:
            telling.say(LIVE, NOTES)
            await asyncio.sleep(0)
            telling.say(LIVE, [LATER])
            await asyncio.sleep(0)
            meanwhile = list(hands.posted)
            hands.let.set()
        return meanwhile, hands.posted

    assert asyncio.run(story()) == ([], ["StepApproved", "ShareSet", "FullShare"])


async def told_despite(failure: Exception, hands: Posting) -> None:
    hands.failures = [failure]
    hands.let.set()
    async with Telling(hands) as telling:
        telling.say(LIVE, NOTES)


def test_an_event_that_is_refused_is_logged_and_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> list[str]:
        hands = Posting()
        await told_despite(Retry("POST events: 403"), hands)
        return hands.posted

    assert asyncio.run(story()) == ["ShareSet"]
    assert "shop: event StepApproved not written: POST events: 403" in caplog.text


def test_a_bug_in_telling_is_one_of_the_pass() -> None:
    async def story() -> None:
        await told_despite(KeyError("a bug"), Posting())

    with pytest.raises(KeyError, match="a bug"):
        asyncio.run(story())


def test_a_pass_that_fails_still_tells_what_it_did() -> None:
    async def story(hands: Posting) -> None:
        async with Telling(hands) as telling:
            telling.say(LIVE, NOTES)
            hands.let.set()
            raise Retry("PUT: 409")

    async def both() -> list[str]:
        hands = Posting()
        with pytest.raises(Retry):
            await story(hands)
        return hands.posted

    assert asyncio.run(both()) == ["StepApproved", "ShareSet"]


def test_a_pass_that_is_cancelled_waits_for_no_event() -> None:
    async def story() -> list[str]:
        hands = Posting()

        async def one_pass() -> None:
            async with Telling(hands) as telling:
                telling.say(LIVE, NOTES)
                await asyncio.sleep(60)

        running = asyncio.create_task(one_pass())
        await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.wait_for(asyncio.gather(running, return_exceptions=True), 5)
        return hands.posted

    assert asyncio.run(story()) == []


def test_a_pass_does_not_wait_long_for_a_slow_api_server_and_the_next_ones_events_come_after_what_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rewriter_operator.telling.PATIENCE_SECONDS", 0.05)

    async def story() -> tuple[list[str], list[str]]:
        hands = Posting()
        async with Telling(hands) as first:
            first.say(LIVE, NOTES)
        at_its_end = list(hands.posted)
        async with Telling(hands, first) as second:
            second.say(LIVE, [LATER])
            hands.let.set()
        return at_its_end, hands.posted

    assert asyncio.run(story()) == ([], ["StepApproved", "ShareSet", "FullShare"])


def test_what_is_left_is_posted_by_nobody_once_another_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rewriter_operator.telling.PATIENCE_SECONDS", 0.05)

    async def story() -> list[str]:
        hands = Posting()
        async with Telling(hands) as telling:
            telling.say(LIVE, NOTES)
        telling.cancel()
        hands.let.set()
        await asyncio.sleep(0.05)
        return hands.posted

    assert asyncio.run(story()) == []
