"""The operator's own settings."""

import pytest

from rewriter_operator.settings import SettingsInvalid, from_environment

WHOLE = {"WATCH_NAMESPACE": "search", "TRAINER_IMAGE": "trainer:1", "SAMPLER_IMAGE": "sampler:1"}


def test_the_least_that_is_needed_is_enough() -> None:
    settings = from_environment(WHOLE)
    assert (settings.namespace, settings.workers, settings.installation.pull_policy) == ("search", 16, "IfNotPresent")


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


def test_the_pod_is_told_apart_from_every_other_process() -> None:
    known = from_environment({**WHOLE, "POD_NAME": "operator-a", "POD_UID": "1234"})
    assert known.pod == "operator-a_1234"
    assert from_environment(WHOLE).pod != from_environment(WHOLE).pod, "without a uid nobody is one's former life"
    assert known.lease_seconds == 15
    with pytest.raises(SettingsInvalid, match="LEASE_SECONDS: got '2'"):
        from_environment({**WHOLE, "LEASE_SECONDS": "2"})
