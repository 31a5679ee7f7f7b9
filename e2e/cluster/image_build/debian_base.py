"""Makes Debian bookworm's slim base image out of Debian's packages, for machines where no container registry answers.

The same suite, the same choice of packages and the same left-out documentation as the published `bookworm-slim`, with
the package mirror that this machine uses. Never used where the published image can be pulled.
"""

import os
import subprocess
from pathlib import Path

from e2e.cluster.errors import ClusterError

LEFT_OUT = ("doc", "groff", "info", "linda", "lintian", "locale", "man")
# Makes a merged /usr without Debian's converter, which would bring all of Perl along.
MERGED_USR_HOOK = "/usr/share/mmdebstrap/hooks/merged-usr"


def command(archive: Path) -> list[str]:
    """mmdebstrap's command line."""
    options = ["--variant=minbase", "--include=usr-is-merged", f"--hook-dir={MERGED_USR_HOOK}"]
    options += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in LEFT_OUT]
    options += ["--dpkgopt=path-include=/usr/share/doc/*/copyright"]
    return ["mmdebstrap", *options, "bookworm", str(archive)]


def make_debian_base(archive: Path, log: Path) -> None:
    """Writes the root file system as a tar archive; takes 20 s to a minute."""
    with log.open("ab") as stream:
        done = subprocess.run(command(archive), env=dict(os.environ), stdout=stream, stderr=stream)
    if done.returncode != 0:
        raise ClusterError(f"mmdebstrap could not make the Debian base image, see {log}")
