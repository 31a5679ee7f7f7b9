"""Cluster and images install what they need side by side, and apt refuses a second run at once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from e2e.cluster import debian_packages
from e2e.cluster.debian_packages import install
from e2e.cluster.errors import ClusterError

APT = """#!/bin/sh
mkdir "$0.lock" || { echo "E: Could not get lock /var/lib/apt/lists/lock"; exit 100; }
sleep 0.05
echo "$@" >> "$0.calls"
rmdir "$0.lock"
"""


@pytest.fixture
def apt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An apt-get that refuses to run twice at once, as the real one does."""
    program = tmp_path / "bin" / "apt-get"
    program.parent.mkdir()
    program.write_text(APT)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("REWRITER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(debian_packages, "POLICY", tmp_path / "policy-rc.d")
    return program


def test_two_that_install_at_once_take_turns(apt: Path) -> None:
    with ThreadPoolExecutor(2) as side_by_side:
        list(side_by_side.map(lambda package: install([package], ""), ("containerd", "buildah")))
    calls = Path(f"{apt}.calls").read_text().splitlines()
    assert [call.split()[-1] for call in calls if "install" in call.split()] in (
        ["containerd", "buildah"],
        ["buildah", "containerd"],
    )
    assert not debian_packages.POLICY.exists(), "services of the host may start again"


def test_a_failed_install_names_the_packages_the_log_and_the_remedy(apt: Path) -> None:
    apt.write_text("#!/bin/sh\nexit 100\n")
    with pytest.raises(ClusterError, match=r"apt-get .* failed, see .*apt\.log; install runc by hand: or wait"):
        install(["runc"], "or wait")
    assert not debian_packages.POLICY.exists()


def test_without_apt_the_packages_and_the_remedy_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(
        ClusterError, match="the Debian packages runc are missing and there is no apt-get: take another"
    ):
        install(["runc"], "take another")
