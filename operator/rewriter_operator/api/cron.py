"""What five cron fields may say, field by field, so that the API server refuses what could never be carried out.

Only what a form can tell: a date that no month has, or a range that runs backwards, is found by core/schedule.py.
"""

import re
from typing import Final

from rewriter_operator.api.value_rules import QUOTED, ValueRule

_STEP: Final = r"(/[1-9][0-9]?)?"
_HOUR: Final = r"([01]?[0-9]|2[0-3])"
_DAY: Final = r"(0?[1-9]|[12][0-9]|3[01])"
_MONTH: Final = r"(0?[1-9]|1[0-2]|(?i:JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC))"
_WEEKDAY: Final = r"([0-7]|(?i:SUN|MON|TUE|WED|THU|FRI|SAT))"

FIELDS: Final = (
    ("minute", "[0-5]?[0-9]", "one number from 0 to 59, because cycles are at least an hour apart"),
    ("hour", rf"(\*|{_HOUR}(-{_HOUR})?){_STEP}", "hours from 0 to 23, e.g. 3 or 1-5 or */6"),
    ("day of the month", rf"(L|LW|(\*|{_DAY}(-{_DAY})?){_STEP})", "days from 1 to 31, e.g. * or 1,15 or L"),
    ("month", rf"(\*|{_MONTH}(-{_MONTH})?){_STEP}", "months from 1 to 12, e.g. * or 1-6 or JAN"),
    (
        "day of the week",
        rf"([0-7]L|{_WEEKDAY}#[1-5]|(\*|{_WEEKDAY}(-{_WEEKDAY})?){_STEP})",
        "days from 0 to 7, e.g. 1 or MON-FRI or 5#2",
    ),
)
"""Name, form of one item of its list, what it must be."""


def _is_list_of(form: str) -> str:
    return rf"{form}(,{form})*"


def _field_rule(index: int) -> ValueRule:
    """A rule about one field; a schedule of another number of fields is another rule's business."""
    name, item, must = FIELDS[index]
    form = item if index == 0 else _is_list_of(item)
    compiled = re.compile(form)

    def holds(cron: str) -> bool:
        fields = cron.split(" ")
        return len(fields) != len(FIELDS) or compiled.fullmatch(fields[index]) is not None

    return ValueRule(
        f"self.split(' ').size() != 5 || self.split(' ')[{index}].matches(r'^({form})$')",
        holds,
        f"the {name} must be {must}",
        got=QUOTED,
    )


CRON_RULES: Final = (
    ValueRule(
        "self.split(' ').size() == 5 && self.split(' ').all(f, f.size() > 0)",
        lambda cron: len(cron.split(" ")) == len(FIELDS) and all(cron.split(" ")),
        "must be five fields with one blank between them: minute, hour, day of the month, month, day of the week; "
        "e.g. 0 3 * * 1 for Mondays at three",
        got=QUOTED,
    ),
    *(_field_rule(index) for index in range(len(FIELDS))),
)
