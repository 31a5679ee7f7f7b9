"""The shape of the code base: who may import whom, what stays pure, and files that are written by a program."""

import ast
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "operator"

LAYERS = ("handlers", "leading", "reconcile", "cluster|workloads", "core", "api", "rewriter_contract")
"""Highest first: a layer imports those below it, never one above."""

FOREIGN_TO_PURE = {"kopf", "kubernetes", "aiohttp", "torch", "vllm", "requests", "prometheus_client"}


def files(package: str) -> list[Path]:
    return sorted((SOURCES / package).rglob("*.py"))


@cache
def parsed(file: Path) -> ast.Module:
    """What a file says; every rule reads the same files."""
    return ast.parse(file.read_text())


@cache
def imports(file: Path) -> set[str]:
    """Every module that a file imports, anywhere in it, `from a import b` as `a.b` too."""
    found = set()
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name}: relative import"
            found |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def layer_of(module: str) -> int | None:
    """Index in LAYERS of a module of ours; None for others."""
    parts = module.split(".")
    name = parts[0] if parts[0] == "rewriter_contract" else (parts[1] if len(parts) > 1 else "")
    if parts[0] not in ("rewriter_contract", "rewriter_operator"):
        return None
    return next((index for index, layer in enumerate(LAYERS) if name in layer.split("|")), None)


@pytest.mark.parametrize("file", files("rewriter_contract"), ids=lambda file: file.stem)
def test_the_contract_needs_nothing_but_the_standard_library(file: Path) -> None:
    allowed = sys.stdlib_module_names | {"rewriter_contract"}
    assert {name.split(".")[0] for name in imports(file)} <= allowed


@pytest.mark.parametrize("package", ["api", "core", "workloads"])
def test_what_decides_imports_no_client(package: str) -> None:
    for file in files(f"rewriter_operator/{package}"):
        assert not {name.split(".")[0] for name in imports(file)} & FOREIGN_TO_PURE, file.name


@pytest.mark.parametrize("package", ["api", "core", "workloads"])
def test_what_decides_has_no_clock_and_throws_no_dice(package: str) -> None:
    for file in files(f"rewriter_operator/{package}"):
        for node in ast.walk(parsed(file)):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in {
                    *("time.time", "time.monotonic", "datetime.now", "datetime.today", "datetime.utcnow", "uuid.uuid4"),
                    *("random.random", "random.choice", "random.uniform", "os.urandom", "secrets.token_hex"),
                }, f"{file.name}:{node.lineno}: {called}"
                assert called != "Random" or node.args, f"{file.name}:{node.lineno}: Random() without a seed"


def test_imports_point_one_way() -> None:
    wrong = []
    for file in files("rewriter_operator"):
        relative = file.relative_to(SOURCES).with_suffix("")
        mine = layer_of(".".join(relative.parts))
        for name in imports(file):
            other = layer_of(name)
            if mine is not None and other is not None and other < mine:
                wrong.append(f"{relative} imports {name}")
    assert wrong == []


def test_manifests_and_clients_do_not_know_each_other() -> None:
    for file in files("rewriter_operator/workloads"):
        assert not any(name.startswith("rewriter_operator.cluster") for name in imports(file)), file.name


def test_programs_meet_only_in_the_contract() -> None:
    homes = {"rewriter_trainer": "trainer_image", "rewriter_sampler": "sampler_image", "rewriter_operator": "operator"}
    for package, home in homes.items():
        for file in sorted((ROOT / home / package).rglob("*.py")):
            foreign = {name.split(".")[0] for name in imports(file)} & (homes.keys() - {package})
            assert not foreign, f"{file.name} imports {foreign}"


def test_the_folder_operator_is_no_package() -> None:
    """It would shadow the standard library's `operator` for everything that runs from the root."""
    assert not (SOURCES / "__init__.py").exists()
    assert not (ROOT / "tests" / "operator" / "__init__.py").exists()


def test_every_module_says_what_it_is_for() -> None:
    for package in ("rewriter_operator", "rewriter_contract"):
        for file in files(package):
            assert ast.get_docstring(parsed(file)), file.name


def test_except_exception_stays_at_the_boundaries() -> None:
    allowed = {"queue.py", "__main__.py", "agent.py", "reconcile.py", "withdraw_first.py"}
    for package in ("rewriter_operator", "rewriter_contract"):
        for file in files(package):
            broad = [
                node.lineno
                for node in ast.walk(parsed(file))
                if isinstance(node, ast.ExceptHandler) and (node.type is None or ast.unparse(node.type) == "Exception")
            ]
            assert not broad or file.name in allowed, f"{file.name}: {broad}"


KINDS = {
    "Pod": "pods",
    "Service": "services",
    "Secret": "secrets",
    "ConfigMap": "configmaps",
    "PersistentVolumeClaim": "persistentvolumeclaims",
    "Deployment": "deployments",
    "PodDisruptionBudget": "poddisruptionbudgets",
    "HTTPRoute": "httproutes",
    "VirtualService": "virtualservices",
    "Event": "events",
    "Lease": "leases",
    "RewriterRelease": "rewriterreleases",
    "RewriterRevision": "rewriterrevisions",
}
ROUTES = {"HTTPRoute", "VirtualService"}
UPDATED = {"Deployment", "Service", "PodDisruptionBudget"} | ROUTES
"""Applied with server-side apply, which needs create and patch."""

MARKED = {"Pod", "RewriterRevision"}
"""Only their epoch is ever patched; see cluster/takeover.py."""

CREATED = UPDATED | {"Pod", "Secret", "RewriterRevision"}


def role_verbs() -> dict[str, set[str]]:
    """Resource -> verbs of the operator's Role."""
    granted: dict[str, set[str]] = defaultdict(set)
    for document in yaml.safe_load_all((ROOT / "manifests" / "base" / "role.yaml").read_text()):
        assert document["kind"] != "ClusterRole", "one namespace is enough"
        for rule in document.get("rules", []) if document["kind"] == "Role" else []:
            for resource in rule["resources"]:
                granted[resource] |= set(rule["verbs"])
    return granted


def used_verbs() -> dict[str, set[str]]:
    """Resource -> verbs that the code uses: what is listed, watched, got, made, changed and deleted."""
    used: dict[str, set[str]] = defaultdict(set)
    for kind in (*_literal("cluster/observe.py", "_CHILD_KINDS"), *ROUTES):
        used[KINDS[kind]].add("list")
    assert set(_literal("cluster/takeover.py", "MARKED")) | ROUTES == UPDATED | MARKED
    for _, _, plural in (*_literal("handlers.py", "_CHILDREN"), *_literal("handlers.py", "_OF_ISTIO")):
        used[plural] |= {"list", "watch"}
    used["rewriterreleases"] |= {"list", "watch"}
    for kind in _constants_of("kube.get", "self.kube.get", "self.hands.kube.get"):
        used[KINDS[kind]].add("get")
    for kind in CREATED:
        used[KINDS[kind]] |= {"create", "delete"} | ({"patch"} if kind in UPDATED | MARKED else set())
    used["events"].add("create")
    used["leases"] |= {"get", "create", "update"}
    used["rewriterreleases/status"].add("update")
    used["rewriterrevisions/status"].add("update")
    used["rewriterreleases/finalizers"].add("update")
    return used


def test_the_role_grants_what_the_code_uses() -> None:
    granted = role_verbs()
    missing = {resource: verbs - granted[resource] for resource, verbs in used_verbs().items()}
    assert {resource: verbs for resource, verbs in missing.items() if verbs} == {}


def test_the_role_grants_nothing_that_could_be_misused() -> None:
    granted, used = role_verbs(), used_verbs()
    harmless = {"get"}  # beside a list or an update it tells nothing more
    extra = {resource: verbs - used[resource] - harmless for resource, verbs in granted.items()}
    assert {resource: verbs for resource, verbs in extra.items() if verbs} == {}
    assert "*" not in granted and all("*" not in verbs for verbs in granted.values())
    assert granted["secrets"].isdisjoint({"get", "watch", "update", "patch"})


def _literal(file: str, name: str) -> list[tuple[str, ...]] | list[str]:
    """The value of a module's constant, without importing it."""
    for node in parsed(SOURCES / "rewriter_operator" / file).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if target is not None and ast.unparse(target) == name:
            found: list[str] = list(ast.literal_eval(node.value))  # type: ignore[attr-defined]
            return found
    raise AssertionError(f"{file} has no {name}")


def _constants_of(*calls: str) -> set[str]:
    """First arguments of these calls, wherever the operator makes them."""
    found = set()
    for file in files("rewriter_operator"):
        for node in ast.walk(parsed(file)):
            if (
                isinstance(node, ast.Call)
                and ast.unparse(node.func) in calls
                and isinstance(node.args[0], ast.Constant)
            ):
                found.add(str(node.args[0].value))
    return found
