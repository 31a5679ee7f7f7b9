"""May a share rise now? From the spec's windows and freezes and a time; never from memory.

Taking a candidate back is not asked about here: that is allowed at any time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from rewriter_operator.api.release import Rollout
from rewriter_operator.api.windows import Day, Freeze, Window
from rewriter_operator.core.schedule import ScheduleInvalid, zone_of

DAYS_AROUND = 8
"""Windows that open so many days before or after a moment are looked at: every window opens once a week."""


@dataclass(frozen=True)
class _Span:
    start: float
    end: float


def closed(rollout: Rollout, now: float) -> str | None:
    """Why no share may rise at `now`; None when it may. What cannot be read is closed, and says so."""
    try:
        return _closed(rollout, now)
    except ScheduleInvalid as error:
        return str(error)


def check(rollout: Rollout, now: float) -> None:
    """Refuse windows and freezes that cannot be carried out.

    Raises:
        ScheduleInvalid: with field, value and remedy.
    """
    _closed(rollout, now)


def _closed(rollout: Rollout, now: float) -> str | None:
    frozen = _over(now, [_frozen(freeze, index) for index, freeze in enumerate(rollout.freezes)])
    spans = [span for index, window in enumerate(rollout.windows) for span in _hours(window, index, now)]
    if frozen:
        return f"frozen until {_shown(frozen)} (spec.rollout.freezes)"
    if not rollout.windows or _over(now, spans):
        return None
    following = min(span.start for span in spans if span.start > now)
    return f"the next window opens at {_shown(following)} (spec.rollout.windows)"


def _over(now: float, spans: list[_Span]) -> float | None:
    """When the last of the spans that hold `now`, or follow these without a gap, is over; None outside of all."""
    end: float | None = None
    for span in sorted(spans, key=lambda span: span.start):
        if span.start <= (now if end is None else end) and span.end > (now if end is None else end):
            end = span.end
    return end


def _hours(window: Window, index: int, now: float) -> Iterator[_Span]:
    zone = zone_of(window.time_zone, f"spec.rollout.windows[{index}].timeZone")
    today = datetime.fromtimestamp(now, zone).date()
    opens, closes = time.fromisoformat(window.from_), time.fromisoformat(window.to)
    for offset in range(-DAYS_AROUND, DAYS_AROUND + 1):
        day = today + timedelta(days=offset)
        if list(Day)[day.weekday()] in window.days:
            end = day + timedelta(days=1 if closes <= opens else 0)
            yield _Span(
                datetime.combine(day, opens, zone).timestamp(),
                datetime.combine(end, closes, zone).timestamp(),
            )


def _frozen(freeze: Freeze, index: int) -> _Span:
    field = f"spec.rollout.freezes[{index}]"
    return _Span(_unix(freeze.from_, f"{field}.from"), _unix(freeze.to, f"{field}.to"))


def _unix(moment: str, field: str) -> float:
    try:
        return datetime.fromisoformat(moment).timestamp()
    except ValueError as error:  # a day that its month does not have
        raise ScheduleInvalid(f"{field}: got {moment!r}; must be a day that there is ({error})") from error


def _shown(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
