"""The demo's manifests are what the operator and the API server read: complete, restricted, no bar lowered."""

import json
import re
from dataclasses import asdict

import pytest
import yaml

from e2e.demo.install import MANIFESTS, render
from e2e.demo.profiles import PROFILES, Profile
from e2e.demo.tiny_prompt import TEMPLATE
from rewriter_operator.api.release import RewriterReleaseSpec


class AsKubectl(yaml.SafeLoader):
    """PyYAML takes 1e-05 for a text; kubectl's reader, like YAML 1.2, for a number."""


AsKubectl.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("0123456789")
)


def release(profile: Profile) -> RewriterReleaseSpec:
    values = asdict(profile) | {"template": json.dumps(profile.template)}
    names = {"name": "shop", "sub_path": "demo/runs/1/shop", "relevance": "relevance", "host": "shop.example"}
    return RewriterReleaseSpec.model_validate(yaml.load(render("release.yaml", **values, **names), AsKubectl)["spec"])


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.model)
def test_the_release_is_valid_and_says_all_that_the_profile_says(profile: Profile) -> None:
    spec = release(profile)
    assert spec.training.phases == profile.phases
    assert spec.training.optimizer.learning_rate == profile.learning_rate
    assert spec.model.prompt.template == profile.template
    assert spec.serving.max_tokens == profile.max_tokens


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.model)
def test_the_demo_never_lowers_the_gates_bar(profile: Profile) -> None:
    assert release(profile).gate.checks == []
    assert release(profile).gate.model_dump(exclude={"search"}) == RewriterReleaseSpec.model_validate(
        release(profile).to_api() | {"gate": {"search": {"serviceName": "search", "path": "/v1/search"}}}
    ).gate.model_dump(exclude={"search"})


def test_the_tiny_model_is_asked_as_it_was_trained() -> None:
    assert PROFILES["tiny"].template == TEMPLATE


@pytest.mark.parametrize("name", ["prepare.yaml", "services.yaml"])
def test_pods_fit_the_strictest_pod_security(name: str) -> None:
    values = dict.fromkeys(("image", "collection", "model", "base", "flaw", "gateway", "host"), "x")
    for document in yaml.safe_load_all(render(name, **values)):
        if document["kind"] not in ("Deployment", "Job"):
            continue
        pod = document["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert not container["securityContext"]["allowPrivilegeEscalation"]


def test_a_manifest_without_a_value_is_an_error() -> None:
    with pytest.raises(KeyError, match="namespace"):
        render("volume.yaml", directory="/d")
    assert sorted(path.name for path in MANIFESTS.glob("*.yaml"))[0] == "namespace.yaml"
