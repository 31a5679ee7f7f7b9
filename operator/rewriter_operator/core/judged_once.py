"""The gate's report on evidence that was judged before.

A report is made, put on the volume, and made again a pass later, when it is seen to be there; to judge thousands of
queries takes seconds each time. Told by a digest of all that the judge is given, so that no evidence is kept for it.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

from rewriter_contract.messages import EvidenceRows
from rewriter_contract.reports import GateReport, GateSettings, Judged
from rewriter_operator.core.gate import judge

REPORTS: Final = 8
"""That are kept, newest last."""

_reports: Final[dict[str, GateReport]] = {}


@dataclass(frozen=True)
class Case:
    """All that the judge is given."""

    candidate: EvidenceRows
    incumbent: EvidenceRows
    settings: GateSettings
    judged: Judged

    @property
    def digest(self) -> str:
        return hashlib.sha256(repr(self).encode()).hexdigest()  # exact for numbers, and for those that are none


def report_on(case: Case) -> GateReport:
    """What `judge` says; of the newest cases, what it said."""
    key = case.digest
    report = _reports.pop(key, None) or judge(case.candidate, case.incumbent, case.settings, case.judged)
    _reports[key] = report
    for older in list(_reports)[:-REPORTS]:
        _reports.pop(older, None)
    return report
