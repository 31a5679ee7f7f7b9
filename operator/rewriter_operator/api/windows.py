"""`spec.rollout.windows` and `freezes`: when shares may rise. What follows from them is core/windows.py."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from rewriter_operator.api.model import SpecModel, rules
from rewriter_operator.api.value_rules import matching, sentence

TimeZone = Annotated[
    str,
    StringConstraints(max_length=64),
    matching(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", "must be an IANA time zone, e.g. Europe/Berlin"),
]

TimeOfDay = Annotated[
    str,
    StringConstraints(max_length=5),
    matching(r"([01][0-9]|2[0-3]):[0-5][0-9]", "must be hours and minutes from 00:00 to 23:59, e.g. 09:30"),
]

Moment = Annotated[
    str,
    StringConstraints(max_length=20),
    matching(
        r"20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z",
        "must be a time in UTC, e.g. 2026-12-20T00:00:00Z",
    ),
]
"""A time in UTC to the second. Its text sorts as the time does."""


class Day(StrEnum):
    """Days of the week, in the order of `datetime.weekday()`."""

    MON = "Mon"
    TUE = "Tue"
    WED = "Wed"
    THU = "Thu"
    FRI = "Fri"
    SAT = "Sat"
    SUN = "Sun"


class Window(SpecModel):
    """Hours of the week in which shares may rise, e.g. while the people are at work who would notice."""

    days: Annotated[
        list[Annotated[Day, Field(strict=False)]],
        Field(min_length=1, max_length=7, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = list(Day)
    """Days on which the window opens."""
    from_: Annotated[TimeOfDay, Field(alias="from")]
    """When it opens, e.g. 09:00."""
    to: TimeOfDay
    """When it closes, e.g. 16:00; at or before `from`, it closes on the next day."""
    time_zone: TimeZone = "UTC"
    """IANA time zone of the days and hours, e.g. Europe/Berlin."""


class Freeze(SpecModel):
    """A time in which no share rises and nothing is promoted, e.g. the weeks before Christmas."""

    from_: Annotated[Moment, Field(alias="from")]
    """First second, in UTC, e.g. 2026-11-23T00:00:00Z."""
    to: Moment
    """First second after it, in UTC."""


FREEZE_RULES = rules(
    sentence(
        "self.from < self.to", "must be later than from", shown="self.to, self.from", got="%s, from is %s", path=".to"
    )
)
