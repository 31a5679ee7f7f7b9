"""What the answer of a metrics service says: a finite number, a web hook's verdict, or that it is unknown, and why.

Pure: bytes in, a value out. Whatever a service answers, nothing here raises, and nothing that is odd becomes a number:
not a number, infinite, huge, none, several, of another time, or a failure.
"""

import json
import math
import re
from typing import Any, Final

from rewriter_operator.core.world import MetricAnswer

MAX_VALUE: Final = 1e12
"""A number beyond it is a fault and no measurement, on whichever side of the bounds it is."""

LATE_SECONDS: Final = 120
"""A sample may be so much older, or newer, than the answer that it comes in."""

_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,400}(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,3})?")
_SHOWN: Final = 160


def of_prometheus(status: int, body: bytes, asked_at: float, answered_at: float) -> MetricAnswer:
    """The one sample of an instant query; `answered_at` by the clock of the server, which made the sample's time."""

    def unknown(reason: str) -> MetricAnswer:
        return MetricAnswer(asked_at, reason=reason)

    told = _object(body)
    if told is None:
        return unknown(f"answered {status} with no JSON object")
    if status != 200 or told.get("status") != "success":
        return unknown(f"answered {status}: {shown(told.get('error', 'no error is named'))}")
    if told.get("warnings"):  # of a Thanos or Mimir that reached only a part of the data, too
        return unknown(f"answered with a warning: {shown(told['warnings'])}")
    sample = _sample(told.get("data"))
    if isinstance(sample, str):
        return unknown(sample)
    try:
        at, text = sample
        age = answered_at - float(at)
    except (TypeError, ValueError, OverflowError):
        return unknown(f"answered with no sample of a time and a value: {shown(sample)}")
    if not isinstance(text, str) or not _NUMBER.fullmatch(text):
        return unknown(f"answered {shown(text)}, which is no finite number")
    if not abs(age) <= LATE_SECONDS:
        return unknown(f"answered with a sample that is {age:.0f} s old")
    return _value(float(text), asked_at)


def of_web_hook(status: int, body: bytes, asked_at: float) -> MetricAnswer:
    """Its value, or its verdict."""

    def unknown(reason: str) -> MetricAnswer:
        return MetricAnswer(asked_at, reason=reason)

    if status != 200:
        return unknown(f"answered {status}")
    told = _object(body)
    if told is None:
        return unknown("answered with no JSON object")
    why = shown(told["reason"]) if "reason" in told else ""
    match told:
        case {"value": _, "verdict": _}:
            return unknown("answered with a value and a verdict; it must be one of them")
        case {"value": bool(odd)}:
            return unknown(f"answered {shown(odd)}, which is no finite number")
        case {"value": int(value) | float(value)}:
            return _value(value, asked_at)
        case {"value": odd}:
            return unknown(f"answered {shown(odd)}, which is no finite number")
        case {"verdict": "Pass"}:
            return MetricAnswer(asked_at, passes=True, reason=why)
        case {"verdict": "Fail"}:
            return MetricAnswer(asked_at, passes=False, reason=why)
        case {"verdict": "Unknown"}:
            return unknown(why or "it says so itself")
        case {"verdict": odd}:
            return unknown(f"answered with the verdict {shown(odd)}; it must be Pass, Fail or Unknown")
    return unknown("answered with neither a value nor a verdict")


def of_refusal(status: int, said: str, asked_at: float, credentials: str) -> MetricAnswer:
    """401 or 403, with what there is to mend; `said`: its words; `credentials`: by name, empty where none were sent."""
    said = said and f" ({said})"
    mend = f"mend {credentials}, or what it may ask" if credentials else "set authorization, or the headers it wants"
    return MetricAnswer(asked_at, reason=f"answered {status}{said}; {mend}")


def words(body: bytes) -> str:
    """What a service says with a refusal, short and on one line; empty for a page."""
    text = body[: 2 * _SHOWN].decode(errors="replace")
    return "" if text.lstrip()[:1] in ("", "<") else shown(text)[:80]


def shown(value: Any) -> str:
    """Something of somebody else's, short and on one line."""
    text = value if isinstance(value, str) else repr(value)[: 2 * _SHOWN]
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text[: 2 * _SHOWN]).split())
    return line[:_SHOWN]


def _value(value: float, asked_at: float) -> MetricAnswer:
    """The number, where it can be one; whole numbers of JSON may be longer than any float."""
    if isinstance(value, float) and not math.isfinite(value):
        return MetricAnswer(asked_at, reason=f"answered {value}, which is no finite number")
    if abs(value) > MAX_VALUE:
        return MetricAnswer(asked_at, reason=f"answered a number beyond {MAX_VALUE:g}, which is no measurement")
    return MetricAnswer(asked_at, value=float(value))


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):  # the second: nested deeper than Python reads
        return None
    return told if isinstance(told, dict) else None


def _sample(data: Any) -> Any:
    """The sample of a scalar, or of a vector of one series; a text says why there is none."""
    match data:
        case {"resultType": "scalar", "result": sample}:
            return sample if isinstance(sample, list) else "answered with an odd scalar"
        case {"resultType": "vector", "result": []}:
            return "answered with no series"
        case {"resultType": "vector", "result": [{"value": [*sample]}]}:
            return sample
        case {"resultType": "vector", "result": [_, _, *more]}:
            return f"answered with {len(more) + 2} series; the query must give one, e.g. sum(...)"
        case {"resultType": kind}:
            return f"answered with {shown(kind)}, not with one number now"
    return "answered with no result"
