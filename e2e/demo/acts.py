"""The acts. Each plays one story on the cluster and claims what must be true of it.

A claim that is false ends the act with a sentence and the demo with exit code 1. The acts order nothing that a person
could not order by YAML, and read nothing but the API, the client's log and the gate's report.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from e2e.demo.census import Census, Look
from e2e.demo.install import NAMESPACE, Site
from e2e.demo.new_release import NewRelease, read_queries, wait_for_answers
from e2e.demo.profiles import EXPLOIT, Profile
from e2e.demo.recorder import Recorder, Seen
from e2e.demo.slowdown import slow_down
from e2e.demo.traffic import TIMEOUT_SECONDS, Request, Traffic, read_requests
from rewriter_contract.messages import STAGES

OUTCOME_PROMOTED: Final = "Promoted"
OUTCOME_REJECTED: Final = "Rejected"
OUTCOME_ROLLED_BACK: Final = "RolledBack"
HONEST: Final = "relevance"
"""Name of the Service in front of the relevance model."""
FLAWED: Final = "relevance-flawed"
"""Of the one in front of the same model with a planted flaw."""
ROLLOUT_STATES: Final = ("RollingOut", "Baking", "Promoting")
CHANGED_SECONDS: Final = 300
"""In which all pods of a release are to have changed revisions."""
AFTERWARDS_SECONDS: Final = 25
"""How long the client goes on after a cycle ended, so that what serves then is seen too."""


class ClaimFailed(AssertionError):
    """An act's claim is not true; the message is the sentence to print."""


class NotEarned(ClaimFailed):
    """The gate did not pass the candidate: an honest result of what the model learnt, not a defect of the release."""


@dataclass(frozen=True)
class Claim:
    """A statement about an act that was checked and held."""

    text: str


@dataclass
class Played:
    """What is known of one act."""

    number: int
    title: str
    release: str
    model: str
    started_at: float
    finished_at: float = 0.0
    claims: list[Claim] = field(default_factory=list)
    seen: Sequence[Seen] = ()
    requests: list[Request] = field(default_factory=list)
    cycle: int = 0
    record: dict[str, Any] = field(default_factory=dict)
    phases: list[dict[str, Any]] = field(default_factory=list)
    gate: dict[str, Any] = field(default_factory=dict)
    """The gate's report.json; empty when the cycle did not get that far."""
    failure: str = ""
    not_earned: bool = False
    """The failure is the gate's verdict, and nothing else went wrong."""

    def claim(self, holds: bool, text: str, otherwise: str = "") -> None:
        """Note a claim that holds.

        Raises:
            ClaimFailed: when it does not.
        """
        if not holds:
            raise ClaimFailed(f"act {self.number}: not so: {text}" + (f" ({otherwise})" if otherwise else ""))
        self.claims.append(Claim(text))


@dataclass(frozen=True)
class Stage:
    """What an act plays on: the site, a model, and where to write."""

    site: Site
    profile: Profile
    base: str
    """Directory of the profile's base model on the volume."""
    run: str
    """Names this run's directories on the volume."""
    out: Path
    watch: Callable[[Played, Recorder, Traffic], None]
    """Told of every act's recorder and client, for the live display."""


class Act:
    """One release under traffic, from creation on; a context manager that always stops the client."""

    def __init__(self, stage: Stage, played: Played, relevance: str) -> None:
        self._stage, self._played, self._relevance = stage, played, relevance

    def __enter__(self) -> "Act":
        stage, release = self._stage, self._played.release
        new = NewRelease(release, stage.profile, stage.base, stage.run, self._relevance)
        self.sub_path = new.sub_path
        new.create(stage.site)
        self.recorder = Recorder(stage.site.cluster, NAMESPACE, release)
        self._wait(lambda seen: bool(seen.status.get("serves")), 300, "the release serves its bootstrap")
        queries, gateway = read_queries(stage.site), new.gateway(stage.site)
        self.log = stage.out / f"requests-act{self._played.number}.jsonl"
        self.log.unlink(missing_ok=True)
        wait_for_answers(gateway, queries[0], release)
        self.traffic = Traffic(gateway, queries, self._rate, self.log)
        self.traffic.start()
        stage.watch(self._played, self.recorder, self.traffic)
        return self

    def __exit__(self, *_: object) -> None:
        self.traffic.stop()
        self.recorder.close()
        self.so_far()
        self._played.finished_at = time.time()

    def finish_cycle(self, number: int) -> None:
        """Wait for the end of a cycle and note what is known of it."""
        minutes = self._stage.profile.minutes
        seen = self._wait(lambda seen: seen.record(number) is not None, 60 * minutes, f"the end of cycle {number}")
        self.note(number, seen)
        time.sleep(AFTERWARDS_SECONDS)

    def so_far(self) -> None:
        """Note what was seen until now, for claims of an act that goes on."""
        self._played.seen = list(self.recorder.seen)
        self._played.requests = read_requests(self.log)

    def repair(self) -> None:
        """Ask another relevance model, as whoever repaired the flawed one would by YAML. A new cycle follows."""
        change = {"spec": {"reward": {"relevance": {"serviceName": HONEST}}}}
        name = self._played.release
        self._stage.site.kubectl("patch", "rewriterrelease", name, "--type=merge", f"--patch={json.dumps(change)}")

    def bring_back(self, revision: str) -> None:
        """Ask for an earlier revision, as a person would, and wait until it serves."""
        name = self._played.release
        self._stage.site.kubectl("annotate", "rewriterrelease", name, f"rewriter.dev/rollback-to={revision}")
        self._wait(lambda seen: seen.status.get("serves") == revision, 300, f"{revision} serves again")

    def note(self, number: int, seen: Seen) -> None:
        """Copy record, phases and gate report of a cycle."""
        played = self._played
        played.cycle, played.record = number, seen.record(number) or {}
        cycles = [past.cycle for past in self.recorder.seen if past.cycle.get("number") == number]
        played.phases = max((cycle.get("phases", []) for cycle in cycles), key=len, default=[])
        report = self._stage.site.volume / self.sub_path / f"cycles/{number:04d}/gate/report.json"
        played.gate = json.loads(report.read_text()) if report.exists() else {}

    def _rate(self) -> float:
        profile = self._stage.profile
        return profile.rollout_rate if self.recorder.last.state in ROLLOUT_STATES else profile.rate

    def _wait(self, until: Callable[[Seen], bool], seconds: float, what: str) -> Seen:
        return self.recorder.wait(until, seconds, what)


def play_promotion(stage: Stage, played: Played) -> None:
    """Act one: a cycle is trained, passes the gate on its merits, and is promoted stage by stage under traffic."""
    with Act(stage, played, HONEST) as act:
        act.finish_cycle(1)
    claim_promoted(played)


def claim_promoted(played: Played) -> None:
    """What must be true of a promotion."""
    outcome, verdict = played.record.get("outcome"), played.gate.get("verdict")
    failed = [request for request in played.requests if request.status != 200]
    text = f"0 of {len(played.requests)} requests failed from before the cycle until after it"
    played.claim(not failed, text, f"{len(failed)} failed, the first: {failed[0].problem}" if failed else "")
    if outcome == OUTCOME_REJECTED and verdict in ("Fail", "Inconclusive"):
        raise NotEarned(f"act {played.number}: the gate did not pass it ({verdict}: {played.gate.get('reason')})")
    played.claim(verdict == "Pass", f"the gate passed the candidate: {played.gate.get('reason')}", str(verdict))
    played.claim(outcome == OUTCOME_PROMOTED, "the cycle was promoted", f"{outcome}: {played.record.get('message')}")
    for name in STAGES:
        shares = sorted({seen.stage(name).get("share", 0) for seen in played.seen} - {0})
        played.claim(bool(shares) and shares[-1] == 100, f"{name} went through shares {shares}")
        for share in shares:
            observed = observed_share(played.seen, name, share)
            numbers = "nothing" if observed is None else f"{observed:.1f} %"
            played.claim(observed is not None, f"{name} at {share} % observed {numbers}")
        last = next((request for request in reversed(played.requests) if request.stage == name), None)
        answered = last.revision if last else "nobody"
        played.claim(answered == f"r{played.cycle:04d}", f"{name} is served by r{played.cycle:04d}", answered)


def observed_share(seen: Sequence[Seen], stage: str, share: int) -> float | None:
    """The last share that the operator saw in `stage` while it wanted `share`."""
    observed = [one.stage(stage).get("observedShare") for one in seen if one.stage(stage).get("share") == share]
    return next((float(value) for value in reversed(observed) if value is not None), None)


def play_rejection(stage: Stage, played: Played) -> None:
    """Act two: the reward has a flaw; the model learns to exploit it, and the gate lets no request reach it."""
    with Act(_exploiting(stage), played, FLAWED) as act:
        act.finish_cycle(1)
    claim_rejected(played)


def play_repair(stage: Stage, played: Played) -> None:
    """Act four, played when asked for: act two, then the flaw is repaired, and the next cycle is promoted."""
    with Act(_exploiting(stage), played, FLAWED) as act:
        act.finish_cycle(1)
        act.so_far()
        claim_rejected(played)
        act.repair()
        act.finish_cycle(2)
    claim_promoted(played)


def _exploiting(stage: Stage) -> Stage:
    profile = replace(stage.profile, phases=EXPLOIT.phases, learning_rate=EXPLOIT.learning_rate)
    return replace(stage, profile=profile)


def claim_rejected(played: Played) -> None:
    """What must be true of a rejection."""
    reward: dict[str, Any] = next(
        (found for found in played.gate.get("findings", []) if found["name"] == "RewardGain"), {}
    )
    gain = reward.get("difference")
    text = f"by its own flawed reward the candidate is better: log R {gain:+.3f}" if gain is not None else "reward rose"
    played.claim(gain is not None and gain > 0, text, reward.get("message", "no gate report"))
    verdict = played.gate.get("verdict")
    played.claim(verdict == "Fail", f"the gate refused it: {played.gate.get('reason')}", f"verdict {verdict}")
    outcome = played.record.get("outcome")
    played.claim(outcome == OUTCOME_REJECTED, "the cycle was rejected", str(outcome))
    candidate = f"r{played.cycle:04d}"
    reached = sum(request.revision == candidate for request in played.requests)
    played.claim(not reached, f"none of {len(played.requests)} requests reached {candidate}", f"{reached} did")
    shares = {seen.stage(name).get("share", 0) for seen in played.seen for name in STAGES}
    played.claim(shares <= {0}, "its share was 0 in every stage all the time", f"shares {sorted(shares)}")


def play_rollback(stage: Stage, played: Played) -> None:
    """Act three: a candidate that passed the gate turns slow in finerank, and is taken back by the operator itself."""
    with Act(stage, played, HONEST) as act:
        minutes = stage.profile.minutes
        what = "finerank gives the candidate a share"
        started = act.recorder.wait(
            lambda seen: seen.stage("finerank").get("share", 0) > 0 or seen.record(1) is not None, 60 * minutes, what
        )
        if started.record(1) is None:
            slow_down(stage.site, f"{played.release}-r0001")
        act.finish_cycle(1)
    claim_rolled_back(played)


def claim_rolled_back(played: Played) -> None:
    """What must be true of a rollback."""
    verdict, outcome = played.gate.get("verdict"), played.record.get("outcome")
    played.claim(verdict == "Pass", "the gate passed the candidate", f"{verdict}: {played.gate.get('reason')}")
    message = played.record.get("message", "")
    text = f"the operator rolled back by itself: {message}"
    played.claim(outcome == OUTCOME_ROLLED_BACK, text, f"{outcome}: {message}")
    finerank = [seen.stage("finerank").get("share", 0) for seen in played.seen]
    played.claim(max(finerank) > 0 and finerank[-1] == 0, f"finerank went from {max(finerank)} % back to 0 %")
    others = {seen.stage(name).get("share", 0) for seen in played.seen for name in ("rawrank", "recall")}
    played.claim(others <= {0}, "rawrank and recall never saw the candidate", f"shares {sorted(others)}")
    untouched = [request for request in played.requests if request.stage != "finerank"]
    failed = [request for request in untouched if request.status != 200]
    text = f"0 of {len(untouched)} requests of the other stages failed"
    played.claim(not failed, text, f"{len(failed)} failed, the first: {failed[0].problem}" if failed else "")
    back = max((seen.at for seen in played.seen if seen.stage("finerank").get("share", 0) > 0), default=0.0)
    after = [request for request in played.requests if request.at > back + TIMEOUT_SECONDS]
    wrong = [request for request in after if request.status != 200 or request.revision == f"r{played.cycle:04d}"]
    text = f"afterwards the incumbent answered all {len(after)} requests"
    played.claim(bool(after) and not wrong, text, f"{len(wrong)} it did not")


def play_in_place(stage: Stage, played: Played) -> None:
    """Act five, played when asked for: a promotion, and the base model brought back, by the two pods that there are."""
    with Act(stage, played, HONEST) as act:
        census = Census(stage.site, played.release)
        try:
            _all_serve(census, stage.profile.replicas, "0")
            first = census.now()
            act.finish_cycle(1)
            act.so_far()
            claim_promoted(played)
            _all_serve(census, stage.profile.replicas, "1")
            act.bring_back("r0000")
            _all_serve(census, stage.profile.replicas, "0")
            time.sleep(AFTERWARDS_SECONDS)
        finally:
            census.close()
    claim_in_place(played, first, [*census.looks, census.now()])


def _all_serve(census: Census, replicas: int, revision: str) -> None:
    """Wait until all pods do."""
    end = time.monotonic() + CHANGED_SECONDS
    while (found := list(census.now().revisions.values())) != [revision] * replicas:
        if time.monotonic() > end:
            raise ClaimFailed(f"not all pods serve revision {revision} after {CHANGED_SECONDS} s: {found}")
        time.sleep(1)


def claim_in_place(played: Played, first: Look, looks: Sequence[Look]) -> None:
    """What must be true of pods that changed revisions."""
    failed = [request for request in played.requests if request.status != 200]
    text = f"0 of {len(played.requests)} requests failed until the base model was back"
    played.claim(not failed, text, f"{len(failed)} failed, the first: {failed[0].problem}" if failed else "")
    pods = {uid for look in looks for uid in look.revisions}
    text = (
        f"the {len(first.revisions)} serving pods of the beginning were all that there ever were, in {len(looks)} looks"
    )
    played.claim(pods == first.revisions.keys(), text, f"{len(pods)} were seen")
    played.claim({look.restarts for look in looks} == {0}, "none of them restarted")
    served = {tuple(sorted(look.revisions.values())) for look in looks}
    played.claim(("0", "1") in served, "each revision had one of them while both served", str(sorted(served)))
    for name in STAGES:
        last = next((request.revision for request in reversed(played.requests) if request.stage == name), "nobody")
        played.claim(last == "r0000", f"{name} is served by the base model again", last)


ACTS: Final = {1: play_promotion, 2: play_rejection, 3: play_rollback, 4: play_repair, 5: play_in_place}
USUAL: Final = (1, 2, 3)
"""What is played unless something else is asked for."""


def new_act(number: int, model: str) -> Played:
    """An act that is about to begin, played by a model."""
    title, release = {
        1: ("trained, judged, promoted under traffic", "shop"),
        2: ("a flawed reward is exploited, and refused", "shop-flawed"),
        3: ("slow in finerank, rolled back", "shop-slow"),
        4: ("a flawed reward is repaired, and the next cycle promoted", "shop-repaired"),
        5: ("promoted and brought back by the pods that there are", "shop-in-place"),
    }[number]
    return Played(number, title, release, model, time.time())
