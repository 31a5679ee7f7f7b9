"""The prepare pod over good and bad inputs. Only the import of the model needs torch."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rewriter_contract import env, volume, wire
from rewriter_contract.messages import PrepareOrder, PrepareResult, Problem, PromotionRecord, WeightsRef
from rewriter_contract.weights import verify
from rewriter_trainer import prepare as prepare_pod
from rewriter_trainer import termination, trained_record

from . import builders

DOCUMENTS = [{"_id": f"d{i}", "title": f"title {i}", "text": f"text {i}"} for i in range(4)]
TRAIN = [{"id": f"t{i}", "query": f"train query {i}", "positives": ["d0"], "negatives": ["d1", "d2"]} for i in range(3)]
GATE = [{"id": f"g{i}", "query": f"gate query {i}", "positives": ["d0"], "labels": {"d3": 2}} for i in range(2)]


UNNAMED = {
    "/silent/healthz": b"",
    "/plain/healthz": b"ok",
    "/nameless/healthz": b'{"status": "ok"}',
    "/blank/healthz": b'{"model": " "}',
    "/number/healthz": b'{"model": 7}',
    "/list/healthz": b'["relevance-7"]',
}
"""Health answers that do not say which model it is."""


class _Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status = {"/ok/healthz": 200, "/moved/healthz": 302, **dict.fromkeys(UNNAMED, 200)}.get(self.path, 503)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/ok/healthz")
        self.end_headers()
        if status == 200:
            self.wfile.write(UNNAMED.get(self.path, b'{"status": "ok", "model": "relevance-7"}'))

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def services() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Health)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A volume on which everything is there (the model's tensors are only good enough for the first checks)."""
    jsonl(tmp_path / "data/corpus.jsonl", DOCUMENTS)
    jsonl(tmp_path / "data/train.jsonl", TRAIN)
    jsonl(tmp_path / "data/gate.jsonl", GATE)
    model = tmp_path / "base/model"
    model.mkdir(parents=True)
    (model / "config.json").write_text('{"model_type": "llama"}')
    (model / "model.safetensors").write_bytes(b"\2\0\0\0\0\0\0\0{}")
    (model / "tokenizer.json").write_text("{}")
    return tmp_path


def jsonl(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def order(services: str, **changes: object) -> PrepareOrder:
    made = PrepareOrder(
        cycle=3,
        model_path="base/model",
        dtype="float32",
        data_files={"corpus": "data/corpus.jsonl", "train": "data/train.jsonl", "gate": "data/gate.jsonl"},
        services={"relevance": f"{services}/ok", "search": f"{services}/ok"},
        health_path="/healthz",
        resolved_spec='{"seed":1}',
        seed=1,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def checked(root: Path, order: PrepareOrder, monkeypatch: pytest.MonkeyPatch) -> PrepareResult:
    """The result of everything but the import, which is left out so that torch is not loaded."""
    monkeypatch.setattr(prepare_pod, "_import", lambda *_: (WeightsRef("base-x", "0"), []))
    return prepare_pod.prepare(root, order, "pod")


def append(path: str, line: str | bytes) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        with (root / path).open("ab") as file:
            file.write((line.encode() if isinstance(line, str) else line) + b"\n")

    return change


def prepend(path: str, start: bytes) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        (root / path).write_bytes(start + (root / path).read_bytes())

    return change


def write(path: str, text: str = "") -> Callable[[Path], None]:
    def change(root: Path) -> None:
        (root / path).write_text(text)

    return change


def remove(path: str) -> Callable[[Path], None]:
    return lambda root: (root / path).unlink()


def link(path: str, target: str) -> Callable[[Path], None]:
    return lambda root: (root / path).symlink_to(target)


BAD = [
    (remove("base/model/config.json"), "ModelIncomplete", "config.json is missing"),
    (remove("base/model/model.safetensors"), "ModelIncomplete", "no *.safetensors file"),
    (remove("base/model/tokenizer.json"), "ModelIncomplete", "no tokenizer"),
    (write("base/model/config.json", "{"), "ModelIncomplete", "config.json is not JSON"),
    (write("base/model/config.json", '{"auto_map": {}}'), "ModelUnsafe", "auto_map"),
    (write("base/model/pytorch_model.bin", "x"), "ModelUnsafe", "pytorch_model.bin may hold code"),
    (link("base/model/chat_template.jinja", "/etc/hostname"), "ModelUnsafe", "leaves the volume"),
    (remove("data/train.jsonl"), "DataFileMissing", "data file train: data/train.jsonl is not on the volume"),
    (write("data/gate.jsonl", "\n"), "DataFileInvalid", "data/gate.jsonl: line 1: the file has no rows"),
    (append("data/train.jsonl", "{oops"), "DataFileInvalid", "data/train.jsonl: line 4: not JSON"),
    (append("data/train.jsonl", b'{"id": "\xff"}'), "DataFileInvalid", "line 4: not UTF-8 at byte 8"),
    (
        prepend("data/corpus.jsonl", b"\xef\xbb\xbf"),
        "DataFileInvalid",
        "data/corpus.jsonl: line 1: begins with a byte order mark (EF BB BF); save the file as UTF-8 without one",
    ),
    (
        append("data/train.jsonl", rb'{"id": "x", "query": "caf\ud83d shoes"}'),
        "DataFileInvalid",
        r"data/train.jsonl: line 4: holds \ud83d alone, half of a character; write the whole one, or remove it",
    ),
    (
        append("data/train.jsonl", "[" * 100_000),
        "DataFileInvalid",
        "line 4: not JSON (maximum recursion depth exceeded",
    ),
    (append("data/train.jsonl", '{"id": "x"}'), "DataFileInvalid", "line 4: row.query: required field is missing"),
    (append("data/train.jsonl", '{"id": "x", "query": "q", "pos": []}'), "DataFileInvalid", "row.pos: unknown field"),
    (append("data/train.jsonl", '{"id": "t0", "query": "q"}'), "DataFileInvalid", "id 't0' is there twice"),
    (append("data/train.jsonl", '{"id": "x", "query": "  "}'), "DataFileInvalid", "query of 'x' is empty"),
    (append("data/train.jsonl", json.dumps({"id": "x", "query": "q" * 2049})), "DataFileInvalid", "2049 characters"),
    (
        append("data/train.jsonl", '{"id": "x", "query": "q", "negatives": ["d9"]}'),
        "UnknownDocuments",
        "line 4: d9 not in the corpus",
    ),
    (
        append("data/gate.jsonl", '{"id": "x", "query": "q", "labels": {"d8": 1}}'),
        "UnknownDocuments",
        "line 3: d8 not in the corpus",
    ),
    (append("data/corpus.jsonl", '{"_id": "d0", "title": "", "text": ""}'), "DataFileInvalid", "'d0' is there twice"),
    (append("data/corpus.jsonl", '{"_id": 7, "title": ""}'), "DataFileInvalid", "line 5: _id, text must be text"),
    (
        append("data/train.jsonl", '{"id": "x", "query": "GATE  query\\u200b 1"}'),
        "TrainGateOverlap",
        "1 queries are in both train and gate (train id = gate id): x = g1",
    ),
    (write("promoted.json", "{}"), "PromotionRecordInvalid", "required field is missing"),
]


@pytest.mark.parametrize(
    ("query", "reason", "shared"),
    [
        ("TRAIN query 1", "TrainValidationOverlap", "both train and validation"),
        ("gate query 1", "ValidationGateOverlap", "both validation and gate"),
    ],
)
def test_a_query_that_chooses_the_phase_neither_trains_nor_judges(
    root: Path, services: str, monkeypatch: pytest.MonkeyPatch, query: str, reason: str, shared: str
) -> None:
    (root / "data/validation.jsonl").write_text(json.dumps({"id": "v1", "query": query}) + "\n")
    plain = order(services)
    with_validation = replace(plain, data_files={**plain.data_files, "validation": "data/validation.jsonl"})
    (problem,) = checked(root, with_validation, monkeypatch).problems
    assert problem.reason == reason
    assert shared in problem.message


def learnt(root: Path, cycle: int, base: str, *queries: str) -> str:
    """Cycle `cycle` trained one phase on `queries`, from `base`; the version that it published."""
    version = volume.weights_version(cycle, 1)
    trained = builders.order(WeightsRef(base, "0"), out_version=version)
    trained_record.record(root, cycle, trained, queries, "pod")
    return version


def serves(root: Path, *versions: str) -> None:
    stages = {f"stage{index}": WeightsRef(version, "0") for index, version in enumerate(versions)}
    (root / volume.PROMOTED).write_text(wire.dumps(PromotionRecord("shop", 2, stages)))


@pytest.mark.parametrize("role", ["gate", "validation"])
def test_a_held_out_query_that_an_earlier_cycle_of_the_line_trained_on_is_refused_with_id_and_weights(
    root: Path, services: str, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    first = learnt(root, 1, "base-0123456789ab", "Held  OUT 1", "held out 2", "another")
    serves(root, learnt(root, 2, first, "held out 3"))
    rows = [{"id": f"h{index}", "query": f"held out {index}"} for index in range(4)]
    jsonl(root / "data/held.jsonl", rows)
    plain = order(services)
    asked = replace(plain, data_files={**plain.data_files, role: "data/held.jsonl"})
    (problem,) = checked(root, asked, monkeypatch).problems
    assert problem.reason == f"Lineage{role.title()}Overlap"
    assert f"3 queries of {role} " in problem.message
    assert "h1 = r0001-p01, h2 = r0001-p01, h3 = r0002-p01; remove them from" in problem.message
    assert not (root / volume.spec_file(3)).exists()


def test_what_the_weights_that_serve_do_not_descend_from_may_be_asked(
    root: Path, services: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rejected cycle, one that never published, and the line of a base model that was left behind."""
    first = learnt(root, 1, "base-0123456789ab", "another")
    learnt(root, 2, first, "gate query 0", "gate query 1")
    assert not checked(root, order(services), monkeypatch).problems, "nothing serves"
    serves(root, first)
    assert not checked(root, order(services), monkeypatch).problems
    serves(root, first, "r0002-p01")
    assert checked(root, order(services), monkeypatch).problems, "one stage of two is enough"
    serves(root, learnt(root, 4, "base-ba9876543210", "another"))
    assert not checked(root, order(services), monkeypatch).problems


def test_weights_from_before_there_were_records_stop_nobody(
    root: Path, services: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt(root, 1, "base-0123456789ab", "gate query 0")
    serves(root, "r0002-p04")
    assert not checked(root, order(services), monkeypatch).problems


def test_a_damaged_record_of_the_line_is_a_problem_and_never_taken_for_an_empty_one(
    root: Path, services: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    serves(root, learnt(root, 1, "base-0123456789ab", "gate query 0"))
    (root / volume.trained_file(1)).write_text('{"phases": [')
    (problem,) = checked(root, order(services), monkeypatch).problems
    assert problem.reason == "TrainedRecordInvalid"
    assert "restore trained/0001.json, or remove it" in problem.message


def test_sound_inputs_are_prepared_and_the_spec_is_written(
    root: Path, services: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = checked(root, order(services), monkeypatch)
    assert result.problems == ()
    assert (result.train_queries, result.gate_queries, result.relevance_model) == (3, 2, "relevance-7")
    assert set(result.data_digests) == {"corpus", "train", "gate"}
    assert (root / volume.spec_file(3)).read_text() == '{"seed":1}'
    assert result.last_cycle == 3
    assert checked(root, order(services), monkeypatch) == result


@pytest.mark.parametrize(("damage", "reason", "words"), BAD, ids=[f"{case[1]}: {case[2][:40]}" for case in BAD])
def test_a_bad_input_is_a_problem_with_reason_place_and_remedy(
    root: Path,
    services: str,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Path], None],
    reason: str,
    words: str,
) -> None:
    damage(root)
    result = checked(root, order(services), monkeypatch)
    assert [problem.reason for problem in result.problems] == [reason]
    assert words in result.problems[0].message
    assert result.base is None and not (root / volume.spec_file(3)).exists()


def test_all_problems_are_told_at_once(root: Path, services: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "data/train.jsonl").unlink()
    (root / "base/model/config.json").unlink()
    bad = replace(order(services), services={"relevance": f"{services}/ill", "search": "http://127.0.0.1:9"})
    reasons = [problem.reason for problem in checked(root, bad, monkeypatch).problems]
    assert reasons == ["ModelIncomplete", "DataFileMissing", "RelevanceServiceUnreachable", "SearchServiceUnreachable"]


@pytest.mark.parametrize(
    ("url", "words"),
    [("{services}/ill", "status 503"), ("{services}/moved", "status 302"), ("ftp://x", "not an http or https URL")],
)
def test_a_service_must_answer_200_itself(
    root: Path, services: str, monkeypatch: pytest.MonkeyPatch, url: str, words: str
) -> None:
    bad = replace(order(services), services={"relevance": url.format(services=services)})
    (problem,) = checked(root, bad, monkeypatch).problems
    assert problem.reason == "RelevanceServiceUnreachable" and words in problem.message


@pytest.mark.parametrize("path", UNNAMED)
def test_a_relevance_service_that_does_not_say_which_model_it_is_is_refused(
    root: Path, services: str, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    base = f"{services}{path.removesuffix('/healthz')}"
    bad = replace(order(services), services={"relevance": base, "search": base})
    (problem,) = checked(root, bad, monkeypatch).problems
    assert problem.reason == "RelevanceModelUnnamed"
    assert f"got {UNNAMED[path].decode()!r}" in problem.message and '{"model": "name@digest"}' in problem.message


@pytest.mark.parametrize("changes", [{"model_path": "../other"}, {"data_files": {"corpus": "/etc/passwd"}}])
def test_a_path_that_leaves_the_volume_is_a_problem(
    root: Path, services: str, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    (problem,) = checked(root, order(services, **changes), monkeypatch).problems
    assert "leaves the volume root" in problem.message


def test_a_spec_never_changes_once_its_cycle_has_it(root: Path, services: str, monkeypatch: pytest.MonkeyPatch) -> None:
    checked(root, order(services), monkeypatch)
    (problem,) = checked(root, order(services, resolved_spec='{"seed":2}'), monkeypatch).problems
    assert problem.reason == "SpecChanged"
    assert (root / volume.spec_file(3)).read_text() == '{"seed":1}'


def test_a_release_created_again_over_its_volume_finds_what_was_promoted(
    root: Path, services: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted = PromotionRecord("shop", 7, {"recall": WeightsRef("r0007-p02", "ab")})
    (root / volume.PROMOTED).write_text(wire.dumps(promoted))
    (root / "cycles/0009").mkdir(parents=True)
    result = checked(root, order(services, cycle=0), monkeypatch)
    assert (result.promoted, result.last_cycle) == (promoted, 9)


def test_the_answer_always_fits_the_termination_message() -> None:
    many = PrepareResult(problems=tuple(Problem(f"Reason{i}", "ü" * 2000) for i in range(30)))
    fitted = termination.fit(many)
    assert len(wire.dumps(fitted).encode()) <= termination.MAX_BYTES
    assert fitted.problems[0].reason == "Reason0" and fitted.problems[-1].reason == "MoreProblems"
    history = tuple(WeightsRef(f"r{i:04d}-p01", "0" * 64) for i in range(100))
    long = PrepareResult(promoted=PromotionRecord("shop", 7, {}, history))
    fitted = termination.fit(long)
    assert len(wire.dumps(fitted).encode()) <= termination.MAX_BYTES
    assert fitted.promoted and fitted.promoted.history == history[: len(fitted.promoted.history)]


@pytest.mark.ml
def test_the_base_model_is_imported_once_as_a_weight_set_that_verifies(
    root: Path, services: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    from .tiny_model import make_model

    make_model(root / "base/model")
    (root / "base/model/README.md").write_text("not part of a weight set")
    log = tmp_path / "termination-log"
    for name, value in {
        env.PREPARE: wire.dumps(order(services)),
        env.VOLUME_ROOT: str(root),
        env.POD_UID: "pod",
        termination.LOG_VARIABLE: str(log),
    }.items():
        monkeypatch.setenv(name, value)
    answers = []
    for _ in range(2):
        assert prepare_pod.main() == 0
        answers.append(wire.loads(PrepareResult, log.read_bytes()))
    assert answers[0] == answers[1] and answers[0].problems == ()
    base = answers[0].base
    assert base is not None and base.version.startswith("base-")
    manifest = verify(root / volume.weights_dir(base.version), base.digest)
    assert "README.md" not in {entry.name for entry in manifest.files}
    assert len(manifest.canary.logprobs) == len(manifest.canary.token_ids) - 1 > 10


@pytest.mark.ml
def test_a_model_that_cannot_be_loaded_is_a_problem(root: Path, services: str) -> None:
    pytest.importorskip("torch")
    (problem,) = prepare_pod.prepare(root, order(services), "pod").problems
    assert problem.reason == "ModelInvalid"
    assert not list((root / "weights").glob("*"))


CHAT = '{"model": {"prompt": {"template": "Rewrite: {query}", "chat": true}}}'
TURNS = "{% for message in messages %}<{{ message.role }}>{{ message.content }}{% endfor %}<model>"


@pytest.mark.ml
@pytest.mark.parametrize(
    ("template", "reason", "words"),
    [
        (None, "ChatTemplateMissing", "spec.model.prompt.chat is true, and the tokenizer of base/model has no chat"),
        ("{% for %}", "ChatTemplateInvalid", "does not render one message of a user (TemplateSyntaxError: "),
        ("{{ raise_exception('only systems speak') }}", "ChatTemplateInvalid", "only systems speak"),
        ("<model>", "ChatTemplateInvalid", "leaves out what the user says: it makes '<model>' of 'Rewrite: red shoes'"),
    ],
)
def test_a_chat_template_that_a_sampler_could_not_use_is_a_problem(
    root: Path, services: str, template: str | None, reason: str, words: str
) -> None:
    pytest.importorskip("torch")
    from .tiny_model import make_model

    make_model(root / "base/model")
    if template is not None:
        (root / "base/model/chat_template.jinja").write_text(template)
    (problem,) = prepare_pod.prepare(root, order(services, resolved_spec=CHAT), "pod").problems
    assert problem.reason == reason
    assert words in problem.message and "chat_template.jinja" in problem.message
    assert not list((root / "weights").glob("*")) and not (root / volume.spec_file(3)).exists()


@pytest.mark.ml
def test_rows_that_are_not_finite_are_found_in_every_kind_of_tensor() -> None:
    torch = pytest.importorskip("torch")
    from rewriter_trainer.finite import rows_not_finite

    for value in (float("nan"), float("inf"), -float("inf")):
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            tensor = torch.ones(9, 3, 2, dtype=dtype)
            assert rows_not_finite(tensor) == []
            tensor[4, 1, 1] = tensor[7, 0, 0] = value
            assert rows_not_finite(tensor) == [4, 7]
    assert rows_not_finite(torch.tensor([1.0, float("nan")]).to(torch.float8_e4m3fn)) == [1]
    assert rows_not_finite(torch.tensor(float("inf"))) == [0]
    assert rows_not_finite(torch.zeros(0, 4)) == rows_not_finite(torch.ones(3, dtype=torch.int64)) == []


@pytest.mark.ml
def test_a_chat_template_is_asked_for_only_where_the_spec_does(root: Path, services: str) -> None:
    pytest.importorskip("torch")
    from .tiny_model import make_model

    make_model(root / "base/model")
    assert prepare_pod.prepare(root, order(services), "pod").problems == ()
    (root / "base/model/chat_template.jinja").write_text(TURNS)
    assert prepare_pod.prepare(root, order(services, cycle=4, resolved_spec=CHAT), "pod").problems == ()


@pytest.mark.ml
@pytest.mark.parametrize(
    ("name", "rows", "value", "words"),
    [
        ("model.embed_tokens.weight", [370], "nan", "embed_tokens.weight [375, 64] holds NaN or infinite numbers"),
        ("model.embed_tokens.weight", [370], "-inf", "in row 370;"),
        ("model.embed_tokens.weight", range(360, 368), "nan", "in rows 360, 361, 362, 363, 364 and 3 more;"),
        ("model.norm.weight", [63], "inf", "model.norm.weight [64] holds NaN or infinite numbers in row 63;"),
    ],
)
def test_a_number_that_is_not_finite_is_found_where_no_text_leads(
    root: Path, services: str, name: str, rows: Sequence[int], value: str, words: str
) -> None:
    pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    from rewriter_trainer import canary

    from .tiny_model import make_model

    model = root / "base/model"
    make_model(model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    tensors = load_file(model / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    tensors[name][list(rows)] = float(value)
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    if name == "model.embed_tokens.weight":
        token_ids = canary.token_ids_of(model)
        assert canary.measure(model, "float32", token_ids), "its text has none of these tokens"
    (problem,) = prepare_pod.prepare(root, order(services), "pod").problems
    assert problem.reason == "ModelInvalid"
    assert problem.message.startswith("base/model: WorkFailed: model.safetensors: ") and words in problem.message
    assert not list((root / "weights").glob("*"))
