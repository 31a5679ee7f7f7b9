"""`kubectl rewriter VERB ...`: reads the command line and does what it says.

Exit codes: 0 done, 1 refused (the sentence is on standard error), 2 the command line is wrong.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.api.revision import RewriterRevisionSpec
from rewriter_operator.api.status import CyclePlan, RewriterReleaseStatus
from rewriter_operator.cli import lint, page, planning, revisions, screen
from rewriter_operator.cli.asking import ASKED_ANNOTATION, Ask, Refusal, Wish, ask, asked
from rewriter_operator.cli.cluster import Changed, Cluster, connect
from rewriter_operator.cli.reading import revision_of, world_of
from rewriter_operator.cli.tree import Branch, gate_branch, tree
from rewriter_operator.core.decision import revision_name
from rewriter_operator.core.world import World

TRIES: Final = 5
"""A release that rolls out is written every few seconds."""

WATCH_SECONDS: Final = 300

_WISHES: Final = {
    "approve": ("approve a pause that waits for a person", "STAGE", "the stage, where several wait"),
    "abort": ("end the running cycle; its candidate's traffic is taken back first", "CYCLE", "only if this one runs"),
    "run": ("start a cycle now, or when the running one is over", "", ""),
    "retry": ("start a cycle after one that was not promoted", "", ""),
    "rollback-to": ("serve an earlier revision again, in every stage, at once", "REVISION", "e.g. r0005"),
}


def main(arguments: list[str] | None = None) -> int:
    """The entry point."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.does(options) or 0)
    except Refusal as refusal:
        print(f"error: {refusal}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kubectl rewriter", description="Look at RewriterReleases, and ask for things."
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-n", "--namespace", help="default: that of the kubeconfig's context")
    common.add_argument("--context", help="context of the kubeconfig")
    common.add_argument("--kubeconfig", help="default: KUBECONFIG or ~/.kube/config")
    output = argparse.ArgumentParser(add_help=False)
    output.add_argument("-o", "--output", choices=("text", "json"), default="text")

    def verb(name: str, does: Callable[[Any], int | None], told: str, *parents: Any) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = verbs.add_parser(name, help=told, description=told, parents=list(parents))
        made.set_defaults(does=does, verb=name)
        return made

    verb("get", _get, "list releases", common, output).add_argument("name", nargs="?")
    for name, does, told in (
        ("status", _status, "a release as a tree: cycle, phases, gate, stages, history"),
        ("watch", _watch, "the same tree, live, until Ctrl-C"),
        ("history", _history, "every kept revision: verdict, outcome, what it serves"),
    ):
        verb(name, does, told, common, *((output,) if does is not _watch else ())).add_argument("name")
    for name, (told, target, meaning) in _WISHES.items():
        made = verb(name, _ask, told, common, output)
        made.add_argument("name")
        made.set_defaults(target="")
        if target:
            made.add_argument("target", metavar=target, help=meaning, nargs=None if name == "rollback-to" else "?")
        made.add_argument("--reason", default="", help="why; kept with your name in an annotation and an Event")
    compared = verb("diff", _diff, "how two revisions of a release differ", common, output)
    for word in ("name", "first", "second"):
        compared.add_argument(word)
    report = verb("report", _report, "the gate's report on a revision, the newest by default", common, output)
    report.add_argument("name")
    report.add_argument("revision", nargs="?", help="e.g. r0007")
    report.add_argument("--html", metavar="FILE", help="write the whole report, one page; `-` is standard output")
    foretold = verb("plan", _plan, "what a cycle will do, and what each step can tell", common, output)
    which = foretold.add_mutually_exclusive_group(required=True)
    which.add_argument("name", nargs="?", help="a release: its running cycle, else the next one")
    which.add_argument("-f", "--filename", metavar="FILE", help="of a file, without a cluster; `-` is standard input")
    linted = verb("lint", _lint, "what admission would refuse of a file; no cluster is needed", output)
    linted.add_argument("files", nargs="+", metavar="FILE", help="`-` is standard input")
    return parser


def _cluster(options: Any) -> Cluster:
    return connect(options.kubeconfig, options.context, options.namespace)


def _get(options: Any) -> None:
    cluster = _cluster(options)
    found = [cluster.release(options.name)] if options.name else cluster.releases()
    if options.output == "json":
        return screen.show_json(found)
    if not found:
        print(f"no releases in namespace {cluster.namespace}", file=sys.stderr)
        return None
    worlds = [world_of(live, []) for live in found]
    heading = ("NAME", "STATE", "CYCLE", "SERVES", "CANDIDATE SHARE", "READY", "MESSAGE")
    return screen.show_table(heading, (_row(world) for world in worlds))


def _row(world: World) -> tuple[str, ...]:
    status = world.status
    ready = next((item.status for item in status.conditions if item.type == "Ready"), "Unknown")
    cells = (world.release.name, status.state.value, str(status.last_cycle_number), status.serves, status.shares, ready)
    return (*(cell or "-" for cell in cells), status.message)


def _status(options: Any) -> None:
    cluster = _cluster(options)
    live = cluster.release(options.name)
    if options.output == "json":
        return screen.show_json(live.get("status", {}))
    return screen.show_tree(tree(world_of(live, cluster.revisions(options.name))))


def _watch(options: Any) -> None:
    cluster = _cluster(options)

    def seen() -> Iterator[Branch]:
        while True:  # the API server ends every watch after a while
            for live in cluster.watch(options.name, WATCH_SECONDS):
                yield tree(world_of(live, []))

    cluster.release(options.name)  # a watch of what is not there would wait without a word
    screen.show_live(seen())


def _history(options: Any) -> None:
    cluster = _cluster(options)
    live = cluster.release(options.name)
    found = [revision_of(item) for item in reversed(cluster.revisions(options.name))]
    if options.output == "json":
        return screen.show_json(
            {
                "cycles": live.get("status", {}).get("history", []),
                "revisions": [{"spec": spec.to_api(), "status": status.to_api()} for spec, status in found],
            }
        )
    cycles = world_of(live, []).status.history
    screen.show_table(
        ("CYCLE", "OUTCOME", "FINISHED", "MESSAGE"),
        [(str(item.number), item.outcome.value, item.finished_at, item.message) for item in cycles],
    )
    print()
    heading = ("REVISION", "VERDICT", "OUTCOME", "SERVES", "WEIGHTS", "SUMMARY")
    return screen.show_table(heading, [revisions.row(spec, status) for spec, status in found])


def _diff(options: Any) -> None:
    specs = _revision_specs(_cluster(options), options.name)
    first, second = (revisions.pick(specs, name) for name in (options.first, options.second))
    found = revisions.diff(specs[first], specs[second])
    if options.output == "json":
        return screen.show_json([vars(item) for item in found])
    if not found:
        print("no difference")
        return None
    return screen.show_table(
        ("", options.first, options.second), [(item.what, item.first, item.second) for item in found]
    )


def _report(options: Any) -> None:
    cluster = _cluster(options)
    world = world_of(cluster.release(options.name), [])
    specs = _revision_specs(cluster, options.name)
    judged = {number: spec for number, spec in specs.items() if spec.gate}
    if not judged:
        raise Refusal(
            f"report: no revision of {options.name} has been judged yet; the first gate's verdict makes a report "
            f"(kubectl rewriter watch {options.name})"
        )
    number = revisions.pick(judged, options.revision) if options.revision else max(judged)
    gate = judged[number].gate
    assert gate is not None
    if options.html:
        return _page(options, cluster, revision_name(number), gate.report)
    where = revisions.where_the_report_is(world, gate.report)
    if options.output == "json":
        return screen.show_json({**gate.to_api(), "where": where})
    screen.show_tree(gate_branch(gate))
    print(where)
    return None


def _page(options: Any, cluster: Cluster, revision: str, report: str) -> None:
    """Fetch first, write then: a file of the user's is never replaced by half a page."""
    readers = page.readers(cluster.pods(options.name))
    volume = world_of(cluster.release(options.name), []).spec.volume
    path = report.removesuffix("json") + "html"
    if not readers:
        raise Refusal(
            f"report: no running pod of {options.name} mounts the volume (only serving pods of a revision, and "
            f"those of a running cycle, do); mount claim {volume.claim_name} in a pod and read {volume.sub_path}/{path}"
        )
    given = (("--kubeconfig", options.kubeconfig), ("--context", options.context), ("-n", cluster.namespace))
    found = page.fetch(
        page.Kubectl(tuple(word for key, value in given if value for word in (key, value))), readers, path
    )
    if options.html == "-":
        sys.stdout.buffer.write(found)
        sys.stdout.buffer.flush()
        return
    try:
        Path(options.html).write_bytes(found)
    except OSError as error:
        raise Refusal(f"report: {options.html} cannot be written: {error.strerror}; name another file") from error
    print(f"the report of {revision} is in {options.html}, {len(found)} bytes")


def _revision_specs(cluster: Cluster, name: str) -> Mapping[int, RewriterRevisionSpec]:
    cluster.release(name)
    found = [revision_of(item)[0] for item in cluster.revisions(name)]
    return {spec.revision: spec for spec in found}


def _ask(options: Any) -> None:
    cluster = _cluster(options)
    now = datetime.now(UTC)
    wish = Wish(options.verb, options.target or "", now.strftime("%Y%m%dT%H%M%S.%fZ"))
    who, first = cluster.who(), ""
    for _ in range(TRIES):
        live = cluster.release(options.name)
        made = ask(world_of(live, cluster.revisions(options.name)), wish)
        if first not in ("", made.value):
            raise Refusal(f"{wish.verb}: the release moved on to {made.value}; look again and repeat")
        first, said = made.value, asked(wish, made, who, options.reason)
        try:
            cluster.annotate(live, {made.annotation: made.value, ASKED_ANNOTATION: said})
        except Changed:
            continue
        _tell(cluster, live, wish, said, now)
        return _done(options, made, said)
    raise Refusal(f"{wish.verb}: the release changed {TRIES} times while this was written; repeat")


def _tell(cluster: Cluster, live: Mapping[str, Any], wish: Wish, said: str, now: datetime) -> None:
    """An Event; who may not write one has still asked."""
    try:
        cluster.tell(live, "Asked", said, now)
    except (Refusal, Changed) as error:
        print(f"note: no Event was written for `{wish.verb}`: {error}", file=sys.stderr)


def _done(options: Any, made: Ask, said: str) -> None:
    if options.output == "json":
        screen.show_json({"annotation": made.annotation, "value": made.value, "asked": said, "then": made.then})
    else:
        print(f"{options.name}: {made.annotation}={made.value}: {made.then}")


def _plan(options: Any) -> None:
    if options.filename:
        text = lint.read(options.filename, sys.stdin.read() if options.filename == "-" else "")
        found = [_planned_file(place, body) for place, body in lint.releases(options.filename, text)]
    else:
        world = world_of(_cluster(options).release(options.name), [])
        found = [(options.name, planning.plan_of(world.spec, world.status))]
    if options.output == "json":
        return screen.show_json([plan.to_api() for _, plan in found] if options.filename else found[0][1].to_api())
    for name, plan in found:
        screen.show_tree(planning.plan_branch(name, plan))
    return None


def _planned_file(place: str, body: Mapping[str, Any]) -> tuple[str, CyclePlan]:
    wrong = lint.refusals(body)
    if wrong:
        raise Refusal(f"{place}: {wrong[0]}" + (f" (and {len(wrong) - 1} more: lint)" if wrong[1:] else ""))
    spec = RewriterReleaseSpec.model_validate(body["spec"])
    return str(body["metadata"]["name"]), planning.plan_of(spec, RewriterReleaseStatus())


def _lint(options: Any) -> int:
    standard_input = sys.stdin.read() if "-" in options.files else ""
    found = [item for path in options.files for item in lint.lint(path, lint.read(path, standard_input))]
    if options.output == "json":
        screen.show_json([vars(item) for item in found])
    else:
        for item in found:
            for refusal in item.refusals:
                print(f"{item.source}: {item.name}: {refusal}")
            if not item.refusals:
                print(f"{item.source}: {item.name}: ok")
    return int(any(item.refusals for item in found))


if __name__ == "__main__":
    sys.exit(main())
