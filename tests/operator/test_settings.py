"""The operator's own settings."""

import pytest

from rewriter_operator.settings import SettingsInvalid, from_environment

WHOLE = {"WATCH_NAMESPACE": "search", "TRAINER_IMAGE": "trainer:1", "SAMPLER_IMAGE": "sampler:1"}


def test_the_least_that_is_needed_is_enough() -> None:
    settings = from_environment(WHOLE)
    assert (settings.namespace, settings.workers, settings.installation.pull_policy) == ("search", 8, "IfNotPresent")


@pytest.mark.parametrize("name", WHOLE)
def test_a_variable_that_is_missing_is_named(name: str) -> None:
    with pytest.raises(SettingsInvalid, match=f"{name} is not set"):
        from_environment({key: value for key, value in WHOLE.items() if key != name})


@pytest.mark.parametrize("value", ["0", "-1", "many", "65", "8.5", ""])
def test_a_number_out_of_range_is_refused(value: str) -> None:
    with pytest.raises(SettingsInvalid, match=r"WORKERS: got .* whole number from 1 to 64"):
        from_environment({**WHOLE, "WORKERS": value})


def test_pull_secrets_are_a_list() -> None:
    assert from_environment({**WHOLE, "PULL_SECRETS": "a,,b"}).installation.pull_secrets == ("a", "b")
