"""Bodies between the programs: what is odd is refused with the path of the field."""

from dataclasses import dataclass, field
from enum import StrEnum

import pytest

from rewriter_contract import wire
from rewriter_contract.messages import LoadState, ServingStats, WorkReport, WorkState


class Colour(StrEnum):
    RED = "Red"


@dataclass(frozen=True)
class Inner:
    learning_rate: float
    colour: Colour = Colour.RED


@dataclass(frozen=True)
class Outer:
    name: str
    parts: tuple[Inner, ...] = ()
    by_name: dict[str, Inner] = field(default_factory=dict)
    maybe: Inner | None = None


VALUE = Outer("a", (Inner(0.5), Inner(1.0)), {"x": Inner(2.0)}, Inner(3.0))


def test_what_is_written_reads_back_the_same() -> None:
    assert wire.loads(Outer, wire.dumps(VALUE)) == VALUE


@dataclass(frozen=True)
class Nothing:
    """A body without a field is one, too."""


def test_a_dataclass_without_fields_is_an_empty_object() -> None:
    assert wire.dumps([Nothing()]) == "[{}]"
    assert wire.loads(Nothing, "{}") == Nothing()


def test_equal_values_have_equal_text_and_camel_case() -> None:
    assert wire.dumps(Inner(0.5)) == '{"colour":"Red","learningRate":0.5}'


def test_none_is_left_out_and_comes_back_as_none() -> None:
    assert "maybe" not in wire.to_wire(Outer("a"))
    assert wire.from_wire(Outer, {"name": "a"}).maybe is None


def test_a_whole_number_is_a_float_where_one_is_meant() -> None:
    assert wire.from_wire(Inner, {"learningRate": 1}) == Inner(1.0)


@pytest.mark.parametrize(
    "data, says",
    [
        pytest.param({"name": "a", "nmae": 1}, "body.nmae: unknown field", id="misspelt"),
        pytest.param({}, "body.name: required field is missing", id="missing"),
        pytest.param({"name": 5}, "body.name: got int '5'; must be str", id="wrong-type"),
        pytest.param({"name": None}, "body.name: got NoneType", id="null"),
        pytest.param({"name": "a", "parts": {}}, "body.parts: got dict", id="object-for-list"),
        pytest.param({"name": "a", "parts": [{"learningRate": 1}, {}]}, "body.parts[1].learningRate", id="in-list"),
        pytest.param({"name": "a", "byName": {"x": {"learningRate": "1"}}}, "body.byName.x.learningRate", id="in-map"),
        pytest.param({"name": "a", "maybe": {"learningRate": True}}, "must be float", id="bool-is-no-number"),
        pytest.param({"name": "a", "maybe": {"learningRate": 1, "colour": "Blue"}}, "must be one of Red", id="enum"),
        pytest.param([], "body: got list", id="no-object"),
    ],
)
def test_a_refusal_names_the_path_of_the_field(data: object, says: str) -> None:
    with pytest.raises(wire.WireError) as refusal:
        wire.from_wire(Outer, data)
    assert says in str(refusal.value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_compares_with_nothing_is_refused(number: str) -> None:
    with pytest.raises(wire.WireError, match="finite"):
        wire.loads(Inner, f'{{"learningRate": {number}}}')
    with pytest.raises(wire.WireError, match="finite"):
        wire.loads(WorkReport, f'{{"state": "Done", "metrics": {{"loss": {number}}}}}')


def test_nan_is_never_written() -> None:
    with pytest.raises(ValueError, match=r"NaN|JSON"):
        wire.dumps(Inner(float("nan")))


def test_text_that_is_no_json_is_refused() -> None:
    with pytest.raises(wire.WireError, match="body: not JSON"):
        wire.loads(Outer, b"<html>")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"learningRate": 1' + "0" * 400 + "}"], ids=["deep", "huge"])
def test_json_that_python_cannot_hold_is_refused_like_any_other(text: str) -> None:
    with pytest.raises(wire.WireError):
        wire.loads(Inner, text)


def test_every_work_state_travels() -> None:
    for state in WorkState:
        assert wire.loads(WorkReport, wire.dumps(WorkReport(state))).state is state


def test_a_pod_from_before_it_told_its_order_is_read() -> None:
    text = '{"bootId":"b","revision":"r0001","state":"Ready","stages":{}}'
    assert wire.loads(ServingStats, text) == ServingStats("b", "r0001", LoadState.READY, None, {})


def test_a_body_is_known_by_its_text_whatever_version_reads_it() -> None:
    text = wire.dumps(VALUE)
    assert wire.digest(text) == wire.digest(text) != wire.digest(text + " ")
