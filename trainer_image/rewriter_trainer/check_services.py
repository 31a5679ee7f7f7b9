"""Asks the services that a cycle needs whether they are healthy. Standard library only; no proxy, no redirect."""

import json
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPException
from typing import Final
from urllib.parse import urlsplit

from rewriter_contract.messages import Problem
from rewriter_contract.timed_http import TimedConnection

TIMEOUT_SECONDS: Final = 5.0
MAX_ANSWER_BYTES: Final = 64 * 1024

NAMED: Final = '{"model": "name@digest"}'
LISTED: Final = '{"data": [{"id": "name@digest"}]}'
REASONS: Final = {"relevance": "RelevanceServiceUnreachable", "search": "SearchServiceUnreachable"}


@dataclass(frozen=True)
class ServicesReport:
    """Which services answer."""

    problems: tuple[Problem, ...]
    relevance_model: str
    """`model` of the relevance service's health answer; empty only beside a problem."""


def check_services(services: dict[str, str], health_path: str, models_path: str | None = None) -> ServicesReport:
    """GET `url + health_path` of every service; a whole answer with 200 within TIMEOUT_SECONDS is healthy.

    The relevance service must say there which model it is: the cycle's rewards are told apart by that name. One of
    vLLM's kind says it at `models_path`, as the first of a list.
    """
    problems, relevance_model = [], ""
    for role, base in services.items():
        listed = models_path if role == "relevance" else None
        url = base.rstrip("/") + (listed or health_path)
        try:
            answer = _get(url)
        except (OSError, HTTPException, ValueError) as error:
            reason = REASONS.get(role, "ServiceUnreachable")
            problems.append(Problem(reason, f"{role} service: GET {url}: {_words(error)}; start it or change its URL"))
            continue
        if role == "relevance":
            relevance_model = _first_model(answer) if listed else _model(answer)
            problems += [] if relevance_model else [_unnamed(url, answer, LISTED if listed else NAMED)]
    return ServicesReport(tuple(problems), relevance_model)


def _get(url: str) -> bytes:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError("not an http or https URL")
    connection = TimedConnection(parts)
    connection.start(TIMEOUT_SECONDS)
    with closing(connection):
        connection.request("GET", parts.path or "/")
        with connection.getresponse() as answer:
            if answer.status != 200:
                raise ValueError(f"status {answer.status}, not 200")
            return answer.read(MAX_ANSWER_BYTES)


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no whole answer within {TIMEOUT_SECONDS:.0f} s"
    return str(error) or type(error).__name__


def _model(answer: bytes) -> str:
    try:
        data = json.loads(answer)
    except (ValueError, RecursionError):
        return ""
    name = data.get("model") if isinstance(data, dict) else None
    return name if isinstance(name, str) and name.strip() else ""


def _first_model(answer: bytes) -> str:
    try:
        name = json.loads(answer)["data"][0]["id"]
    except (ValueError, RecursionError, LookupError, TypeError):
        return ""
    return name if isinstance(name, str) and name.strip() else ""


def _unnamed(url: str, answer: bytes, wanted: str) -> Problem:
    got = answer[:100].decode(errors="replace")
    text = (
        f"relevance service: GET {url}: got {got!r}, which names no model; answer {wanted} with the `model` of its "
        "scores, so that one model scores a whole cycle"
    )
    return Problem("RelevanceModelUnnamed", text)
