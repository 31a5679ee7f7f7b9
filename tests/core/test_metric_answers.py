"""Whatever a metrics service answers: a finite number of a reasonable size, a verdict, or unknown with a reason."""

import json
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rewriter_operator.core.metric_answers import LATE_SECONDS, MAX_VALUE, of_prometheus, of_web_hook
from rewriter_operator.core.world import MetricAnswer
from tests.examples import examples

NOW = 1000.0

WORDS = st.sampled_from(["1", "NaN", "Inf", "1e400", "-1e13", "vector", "scalar", "success", "Pass", "Fail", "\x1b[2J"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=5) | st.just(10**500)
KEYS = st.sampled_from(["value", "verdict", "reason", "result", "resultType", "metric"])
ANY = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))
SAMPLES = st.lists(st.just(NOW) | SCALARS | ANY, max_size=3)
RESULTS = SAMPLES | st.lists(st.fixed_dictionaries({"value": SAMPLES}), max_size=3) | ANY
ANSWERS = ANY | st.fixed_dictionaries(
    {
        "status": st.just("success") | SCALARS,
        "data": ANY | st.fixed_dictionaries({"resultType": WORDS, "result": RESULTS}),
    },
    optional={"error": ANY, "warnings": ANY},
)
BODIES = ANSWERS.map(lambda told: json.dumps(told).encode()) | st.binary(max_size=20)


def check(answer: MetricAnswer) -> None:
    assert answer.asked_at == NOW
    if answer.value is None and answer.passes is None:
        assert answer.reason and len(answer.reason) < 256
    assert answer.value is None or (math.isfinite(answer.value) and abs(answer.value) <= MAX_VALUE)
    assert answer.value is None or answer.passes is None
    assert answer.reason.isprintable()


@examples(300)
@given(st.sampled_from([200, 200, 204, 503]), BODIES)
def test_no_answer_raises_or_becomes_a_number_that_it_is_not(status: int, body: bytes) -> None:
    for answer in (of_prometheus(status, body, NOW, NOW), of_web_hook(status, body, NOW)):
        check(answer)
        assert status == 200 or (answer.value is None and answer.passes is None)


@examples(100)
@given(st.floats(-1e12, 1e12), st.floats(-LATE_SECONDS, LATE_SECONDS))
def test_every_number_that_can_be_one_is_read_as_it_is(number: float, age: float) -> None:
    def body(value: Any) -> bytes:
        told = {"status": "success", "data": {"resultType": "scalar", "result": [0, value]}}
        return json.dumps(told).encode()

    assert of_prometheus(200, body(repr(number)), NOW, age) == MetricAnswer(NOW, value=number)
    assert of_web_hook(200, json.dumps({"value": number}).encode(), NOW) == MetricAnswer(NOW, value=number)
