"""A directory seen through FUSE, with faults: `python -m tests.faulty_volume.file_system SOURCE MOUNT CONTROL`.

CONTROL is a file of one JSON object that is read at every call: {"calls": ["write"], "error": 28, "after": 3} lets the
first three writes through and answers all later ones with errno 28; {"calls": ["read"], "hang": true} answers nothing
until the file says otherwise. What is called is appended to CONTROL.calls. A process of its own, because a process
that waits for its own file system cannot be ended.
"""

import errno
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import mfusepy


class Faulty(mfusepy.Operations):  # type: ignore[misc, unused-ignore]
    """Passes everything on to a directory, but for what CONTROL says."""

    use_ns = True

    def __init__(self, source: str, control: Path) -> None:
        self.source, self.control = source, control
        self.version, self.seen = -1, 0
        self.fault: dict[str, Any] = {}

    def __call__(self, name: str, *arguments: Any) -> Any:
        """For the versions of mfusepy that dispatch through it."""
        return getattr(self, name)(*arguments)

    def _called(self, call: str) -> None:
        self._read_control()
        with self.control.with_suffix(".calls").open("a") as calls:
            calls.write(f"{call}\n")
        if call not in self.fault.get("calls", ()):
            return
        self.seen += 1
        if self.seen <= self.fault.get("after", 0):
            return
        while self.fault.get("hang"):
            time.sleep(0.02)
            self._read_control()
        if self.fault.get("error"):
            raise mfusepy.FuseOSError(self.fault["error"])

    def _read_control(self) -> None:
        version = self.control.stat().st_mtime_ns
        if version != self.version:
            self.version, self.seen = version, 0
            self.fault = json.loads(self.control.read_text())

    def _at(self, path: str) -> str:
        return self.source + path

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        found = os.lstat(self._at(path))
        names = ("st_mode", "st_nlink", "st_size", "st_uid", "st_gid", "st_ino")
        times = {name: getattr(found, f"{name}_ns") for name in ("st_atime", "st_mtime", "st_ctime")}
        return {name: getattr(found, name) for name in names} | times

    def readdir(self, path: str, fh: int) -> list[str]:
        self._called("readdir")
        return [".", "..", *os.listdir(self._at(path))]

    def open(self, path: str, flags: int) -> int:
        self._called("open")
        return os.open(self._at(path), flags & ~os.O_CREAT)

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        self._called("create")
        return os.open(self._at(path), os.O_RDWR | os.O_CREAT | os.O_TRUNC, mode)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        self._called("read")
        return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        self._called("write")
        return os.pwrite(fh, data, offset)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        os.truncate(self._at(path), length)
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        self._called("fsync")
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        self._called("fsyncdir")
        return 0

    def flush(self, path: str, fh: int) -> int:
        self._called("flush")
        return 0

    def release(self, path: str, fh: int) -> int:
        os.close(fh)
        return 0

    def mkdir(self, path: str, mode: int) -> int:
        self._called("mkdir")
        os.mkdir(self._at(path), mode)
        return 0

    def rmdir(self, path: str) -> int:
        os.rmdir(self._at(path))
        return 0

    def unlink(self, path: str) -> int:
        os.unlink(self._at(path))
        return 0

    def rename(self, old: str, new: str) -> int:
        self._called("rename")
        os.rename(self._at(old), self._at(new))
        return 0

    def chmod(self, path: str, mode: int) -> int:
        os.chmod(self._at(path), mode)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        os.utime(self._at(path), ns=times)
        return 0

    def link(self, target: str, source: str) -> int:
        raise mfusepy.FuseOSError(errno.EPERM)


if __name__ == "__main__":
    directory, mount, control = sys.argv[1:]
    options: dict[str, Any] = {"foreground": True, "attr_timeout": 0, "entry_timeout": 0, "direct_io": True}
    mfusepy.FUSE(Faulty(directory, Path(control)), mount, **options)
