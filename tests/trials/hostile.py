"""A model whose code tries everything to get at the platform: its keys, its processes, its Ray."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

PTRACE_ATTACH, PROCESS_VM_READV, IO_URING_SETUP, UNSHARE_USER = 16, 310, 425, 0x10000000


def _file(path):
    return Path(path).read_bytes()


def _environments():
    """Variables of other processes that can be read."""
    found = []
    for one in os.listdir("/proc"):
        if one.isdigit() and int(one) != os.getpid():
            try:
                content = Path(f"/proc/{one}/environ").read_bytes()
                found += [content] if content and b"HOME=" + os.environ["HOME"].encode() not in content else []
            except OSError:
                continue
    return found or _refuse()


def _refuse():
    raise PermissionError("nothing was found")


def _called(function, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, function)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "done"


def _vm_read(pid):
    held = ctypes.create_string_buffer(8)
    vectors = (ctypes.c_void_p * 2)(ctypes.addressof(held), 8)
    return _called("syscall", PROCESS_VM_READV, pid, vectors, 1, vectors, 1, 0)


def _connect(family, address):
    with socket.socket(family) as one:
        one.settimeout(5)
        one.connect(address)
    return "connected"


def _descriptors(pid):
    found = []
    for one in os.listdir(f"/proc/{pid}/fd"):
        for way in (os.readlink, lambda path: os.open(path, os.O_RDONLY | os.O_NONBLOCK)):
            try:
                found.append(way(f"/proc/{pid}/fd/{one}"))
            except OSError:
                continue
    return found or _refuse()


def _listing(path):
    return os.listdir(path)


def _write(path):
    return Path(path).write_text("was here")


def _setuid():
    os.setuid(0 if os.getuid() else 12345)
    return _refuse() if os.getuid() else "root"


def _fork_and_stay():
    """A process that leaves its session, and would outlive the child."""
    subprocess.Popen(["/bin/sleep", "3600"], start_new_session=True)
    return _refuse()


class Hostile:
    """Answers each row with the outcome of the try that it names, by number: "got …", or the error."""

    def __init__(self, **targets):
        self.targets = targets

    @property
    def tries(self):
        at, parent = self.targets, os.getppid()
        return {
            **{f"file {path}": (_file, path) for path in at["files"]},
            **{f"listing {path}": (_listing, path) for path in at["folders"]},
            "environ of the parent": (_file, f"/proc/{parent}/environ"),
            "environ of the platform": (_file, f"/proc/{at['pid']}/environ"),
            "memory of the platform": (_file, f"/proc/{at['pid']}/mem"),
            "maps of the platform": (_file, f"/proc/{at['pid']}/maps"),
            "descriptors of the platform": (_descriptors, at["pid"]),
            "root of the platform": (_listing, f"/proc/{at['pid']}/root"),
            "folder of the platform": (_listing, f"/proc/{at['pid']}/cwd"),
            "environ of any process": (_environments,),
            "ptrace": (_called, "ptrace", PTRACE_ATTACH, at["pid"], 0, 0),
            "process_vm_readv": (_vm_read, at["pid"]),
            "io_uring": (_called, "syscall", IO_URING_SETUP, 1, 0),
            "user namespace": (_called, "unshare", UNSHARE_USER),
            "mount": (_called, "mount", b"none", b"/", None, 0x44000, None),
            "kill": (os.kill, at["pid"], signal.SIGCONT),
            "tcp": (_connect, socket.AF_INET, ("127.0.0.1", at["port"])),
            "tcp6": (_connect, socket.AF_INET6, ("::ffff:127.0.0.1", at["port"])),
            "unix socket": (_connect, socket.AF_UNIX, at["socket"]),
            "abstract socket": (_connect, socket.AF_UNIX, "\0" + at["abstract"]),
            "write outside": (_write, at["outside"]),
            "become another user": (_setuid,),
            "shadow": (_file, "/etc/shadow"),
        }

    def predict(self, X):
        found = []
        for row in X:
            if row[0] < 0:
                getattr(self, f"_end_{-int(row[0])}")()
            name = list(self.tries)[int(row[0])]
            function, *arguments = self.tries[name]
            try:
                found.append(f"{name}: got {function(*arguments)!r}"[:300])
            except (OSError, PermissionError) as error:
                found.append(f"{name}: {type(error).__name__}")
        return found

    def _end_1(self):
        os._exit(3)

    def _end_2(self):
        os.kill(os.getpid(), signal.SIGSEGV)

    def _end_3(self):
        time.sleep(3600)

    def _end_4(self):
        for handle in range(3, 100):
            try:
                os.write(handle, b"\xff" * 100)
            except OSError:
                continue

    def _end_5(self):
        for handle in range(3, 100):
            try:
                os.close(handle)
            except OSError:
                continue

    def _end_6(self):
        raise ValueError("the row of customer 4711")

    def _end_7(self):
        _fork_and_stay()


class Telling:
    """Answers who it is, and which variables it has."""

    def predict(self, X):
        return [f"{os.getuid()} {os.getpid()} {sorted(os.environ.items())}" for _ in X]
