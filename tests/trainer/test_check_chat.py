"""What of a spec the prepare pod reads to know whether a chat template is needed."""

from rewriter_contract import wire
from rewriter_trainer.check_chat import chat_message
from tests.builders import make_spec


def resolved(**prompt: object) -> str:
    """The spec's text as the operator writes it into a prepare order."""
    return wire.dumps(make_spec(**{"model.prompt": prompt}).to_api())


def test_a_spec_with_chat_is_rendered_with_its_own_template() -> None:
    assert chat_message(resolved(template="Rewrite: {query}\n{}", chat=True)) == "Rewrite: red shoes\n{}"
    assert chat_message(resolved(chat=True)) == "red shoes"


def test_a_spec_without_chat_needs_no_template() -> None:
    assert chat_message(resolved(template="query: {query}\nrewrite:")) is None
    assert chat_message("{}") is None
