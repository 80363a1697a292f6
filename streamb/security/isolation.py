"""Runs code of others behind a boundary: without the platform's environment, files, processes, and without Ray.

The code runs in a child process that has entered a cage (`enter`). Where this process is root, the cage is another user
with a mount namespace of its own, and Landlock as well where the kernel has it. Where it is not root, or may not mount,
the cage is Landlock and a filter of system calls. Where neither can be had, `check_isolation` refuses: nothing ever
runs with less than what was asked for.
"""

from __future__ import annotations

import glob
import json
import os
import pwd
import random
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import psutil

from streamb.config import bare_environment
from streamb.errors import IsolationUnavailable
from streamb.security import enter

LIMITS: Final[Mapping[str, int]] = {"CORE": 0, "NOFILE": 4_096, "MEMLOCK": 1 << 26}
"""Limits of each isolated process (setrlimit(2)): no core dumps, open files, locked bytes."""
MOST_PROCESSES: Final = 1_024
"""The most processes and threads of an isolated user."""

_SYSTEM: Final = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/proc", "/sys/devices", "/sys/fs/cgroup")
_ETC: Final = (
    *("ld.so.cache", "localtime", "timezone", "nsswitch.conf", "passwd", "group", "hosts", "resolv.conf", "services"),
    *("ssl/certs", "ssl/openssl.cnf", "pki/tls/certs", "ca-certificates", "os-release", "mime.types", "alternatives"),
)
_DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/nvidia*", "/dev/dri")
_PACKAGES: Final = ("site-packages", "dist-packages")
_FIRST_UID: Final = 1_900_000_000
_UIDS: Final = 100_000_000
_PROBE_S: Final = 60.0
_PROBE: Final = "import msgpack, numpy, streamb.errors"


class Isolation(StrEnum):
    """Where own code runs."""

    NONE = "none"
    """In the platform's processes, as the platform's user: it can do what an administrator can."""
    PROCESS = "process"
    """In a child process behind a boundary."""


class Boundary(StrEnum):
    """What this machine can give an isolated process."""

    USER = "user"
    """Another user, and Landlock where the kernel has it."""
    LANDLOCK = "landlock"
    """Landlock and a filter of system calls, as the same user."""


@dataclass(frozen=True, slots=True)
class Cage:
    """What an isolated process has, besides Python, its libraries and the files of the system.

    Attributes:
        read: files and folders that it may read, wherever they are.
        around: folders that it may read, but for what is hidden in them.
        write: folders that are its own. The first is its working, home and temporary folder.
        hidden: files and folders of the platform, which it must not reach even where they lie in a folder of Python's.
        tcp: the ports to which it may connect; empty: it has no sockets at all.
        folder: the folder in which it begins; "": its home.
    """

    read: tuple[str, ...] = ()
    around: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    tcp: tuple[int, ...] = ()
    folder: str = ""
    limits: Mapping[str, int] = field(default_factory=lambda: LIMITS)


class IsolatedProcess:
    """A program in a cage.

    Args:
        command: the program (its full path) and its arguments.
        cage: what it has.
        environment: further variables.
        files: descriptors of files and sockets that it inherits.
        quiet: whether only its errors are kept (`process.stderr`); else both are, together (`process.stdout`).

    Attributes:
        process: the process.
        uid: the user that it runs as; None if that is the user of this process.
        home: its home folder.

    Raises:
        IsolationUnavailable: there is no boundary to be had.
        OSError: the process cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        cage: Cage,
        *,
        environment: Mapping[str, str] | None = None,
        files: Sequence[int] = (),
        quiet: bool = False,
    ) -> None:
        self.uid = free_uid() if check_isolation() is Boundary.USER else None
        self.home = cage.write[0]
        self.process = _start(command, cage, self.uid, environment or {}, files, quiet=quiet)

    def end(self) -> None:
        """Kill the process and everything that it has started."""
        end_family(self.process.pid, self.uid)
        self.process.wait()


def own_folder(what: str, within: Path | None = None) -> Path:
    """Make a folder for what an isolated process needs, which only this user may enter.

    Those of this kind whose process was killed, and could not remove its own, are removed.

    Args:
        what: what it is for; a part of its name.
        within: the folder in which it is made; None: the one for temporary files.
    """
    parent = Path(tempfile.gettempdir()) if within is None else within
    prefix = f"streamb-isolated-{what}-"
    for left in parent.glob(f"{prefix}*"):
        number = left.name.removeprefix(prefix).partition("-")[0]
        if number.isdigit() and not psutil.pid_exists(int(number)) and left.lstat().st_uid == os.geteuid():
            remove_folder(left)
    return Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-", dir=parent))


def remove_folder(folder: Path) -> None:
    """Remove a folder of `own_folder`."""
    shutil.rmtree(folder, ignore_errors=True)


def let_read(folder: Path) -> None:
    """Let other users read a folder and what is in it; who may enter the folder around it is not changed."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(stat.S_IMODE(path.stat().st_mode) | (0o555 if path.is_dir() else 0o444))


def end_family(pid: int, uid: int | None) -> None:
    """Kill a process with its descendants, and all processes of an isolated user."""
    family: list[psutil.Process] = []
    try:
        first = psutil.Process(pid)
        family = [first, *first.children(recursive=True)]
    except psutil.Error:
        pass
    if uid is not None:
        family += [one for one in psutil.process_iter() if _user_of(one) == uid]
    for one in family:
        try:
            one.kill()
        except psutil.Error:
            continue


_known: dict[str, Boundary] = {}
_checking = threading.Lock()


def check_isolation() -> Boundary:
    """Return what separates isolated code from the platform on this machine; tried once, with a real process.

    Raises:
        IsolationUnavailable: nothing does; the message says what is missing.
    """
    with _checking:
        if sys.executable not in _known:
            _known[sys.executable] = _tried()
        return _known[sys.executable]


def _tried() -> Boundary:
    reasons: list[str] = []
    for boundary in _possible(reasons):
        folder = own_folder("probe")
        try:
            uid = free_uid() if boundary is Boundary.USER else None
            probe = _start((sys.executable, "-c", _PROBE), Cage(write=(str(folder),)), uid, {}, ())
            said = probe.communicate(timeout=_PROBE_S)[0].decode(errors="replace").strip()
            if probe.returncode == 0:
                return boundary
            reasons.append(said.splitlines()[-1] if said else f"a probe ended with {probe.returncode}")
        except subprocess.TimeoutExpired:
            end_family(probe.pid, uid)
            probe.wait()
            reasons.append("a probe did not end in time")
        except OSError as error:
            reasons.append(str(error))
        finally:
            remove_folder(folder)
    raise IsolationUnavailable(
        f"this machine cannot isolate own code ({'; '.join(reasons)}); use a kernel with Landlock (5.13 or newer), or "
        "run the platform as root; without isolation, own code can do what an administrator can"
    )


def _possible(reasons: list[str]) -> Iterable[Boundary]:
    if sys.platform != "linux":
        reasons.append("it is not Linux")
        return
    if os.geteuid() == 0:
        yield Boundary.USER
    if enter.landlock_abi() and enter.filters():
        yield Boundary.LANDLOCK
    else:
        reasons.append("the kernel has no Landlock, or cannot filter system calls")


def _start(
    command: Sequence[str],
    cage: Cage,
    uid: int | None,
    environment: Mapping[str, str],
    files: Sequence[int],
    *,
    quiet: bool = False,
) -> subprocess.Popen[bytes]:
    home = cage.write[0]
    for folder in cage.write if uid is not None else ():
        _hand_over(folder, uid)
    hidden = tuple(os.path.realpath(path) for path in cage.hidden)
    roots = [*_SYSTEM, *_python(), *cage.around]
    projects = _projects(_python())
    readable = [*roots, *(path for paths in projects.values() for path in paths)]
    libraries = [path for root in readable for path in around(root, hidden)]
    devices = [device for pattern in _DEVICES for device in glob.glob(pattern)]
    shared = ["/dev/shm"] if uid is not None else []  # noqa: S108 - it is one of its own
    specification = {
        "read": [*(f"/etc/{name}" for name in _ETC), *libraries, *cage.read],
        "list": [*projects, *(root for root in readable if around(root, hidden) != [root])],
        "write": [*cage.write, *devices, *shared],
        "tcp": list(cage.tcp),
        "uid": uid,
        "limits": {**cage.limits, **({} if uid is None else {"NPROC": MOST_PROCESSES})},
        "cwd": cage.folder or home,
        "command": list(command),
    }
    variables = {"HOME": home, "TMPDIR": home, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        [sys.executable, "-I", "-S", enter.__file__, json.dumps(specification)],
        cwd="/",
        env=bare_environment(**{**variables, **environment}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL if quiet else subprocess.PIPE,
        stderr=subprocess.PIPE if quiet else subprocess.STDOUT,
        pass_fds=tuple(files),
        start_new_session=True,
    )


def around(root: str, hidden: Sequence[str]) -> list[str]:
    """Return what is in a folder but leads to nothing hidden: the folder itself, if nothing in it is hidden.

    Args:
        root: the folder.
        hidden: real paths of files and folders.
    """
    real = os.path.realpath(root)
    if any(real == path or real.startswith(f"{path}/") for path in hidden):
        return []
    if not any(path.startswith(f"{real.rstrip('/')}/") for path in hidden):
        return [root]
    try:
        names = sorted(os.listdir(real))
    except OSError:
        return []
    return [path for name in names for path in around(os.path.join(real, name), hidden)]


def reachable(path: str, hidden: Sequence[str]) -> bool:
    """Return whether something can be reached at a path that is not hidden."""
    return bool(around(path, [os.path.realpath(one) for one in hidden]))


def _python() -> list[str]:
    """The folders of Python itself and of installed packages."""
    found = [sys.prefix, sys.base_prefix, sys.exec_prefix, os.path.dirname(os.path.realpath(sys.executable))]
    found += [path for path in sys.path if os.path.basename(path) in _PACKAGES or os.path.isfile(path)]
    return list(dict.fromkeys(path for path in map(os.path.abspath, found) if os.path.exists(path)))


def _projects(installed: Sequence[str]) -> dict[str, list[str]]:
    """The other folders from which Python imports, such as the one in which the platform was started: what can be
    imported of each. Everything else in such a folder, which may be somebody's home, stays out of reach."""
    found: dict[str, list[str]] = {}
    for root in dict.fromkeys(map(os.path.abspath, filter(None, sys.path))):
        if os.path.isdir(root) and not any(f"{root}/".startswith(f"{one.rstrip('/')}/") for one in installed):
            try:
                paths = [os.path.join(root, name) for name in sorted(os.listdir(root))]
            except OSError:
                continue
            found[root] = [path for path in paths if _is_importable(path)]
    return found


def _is_importable(path: str) -> bool:
    if os.path.isfile(path):
        return path.endswith((".py", ".so", ".pyc"))
    return os.path.isfile(os.path.join(path, "__init__.py"))


def free_uid() -> int:
    """Return the number of a user that does not exist, and as which nothing runs."""
    first, count = _uid_range()
    busy = {_user_of(one) for one in psutil.process_iter()}
    for _ in range(1_000):
        uid = first + random.randrange(count)  # noqa: S311 - not a secret
        if uid not in busy and not _exists(uid):
            return uid
    raise IsolationUnavailable("no number of a user is free on this machine")


def _uid_range() -> tuple[int, int]:
    """The users to choose from: high ones, where this user namespace has them."""
    with open("/proc/self/uid_map") as file:
        spans = [(int(start), int(length)) for start, _, length in (line.split() for line in file)]
    if any(start <= _FIRST_UID and start + length > _FIRST_UID + _UIDS for start, length in spans):
        return _FIRST_UID, _UIDS
    start, length = max(spans, key=lambda span: span[1])
    if length < 4:
        raise IsolationUnavailable("this container has no second user")
    return start + length // 2, length - length // 2 - 1


def _exists(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _user_of(process: psutil.Process) -> int | None:
    try:
        return int(process.uids().real)
    except psutil.Error:
        return None


def _hand_over(folder: str, uid: Any) -> None:
    """Give a folder, and what is in it, to a user; links are not followed."""
    os.chown(folder, uid, uid)
    for parent, folders, files in os.walk(folder, followlinks=False):
        for name in (*folders, *files):
            os.chown(os.path.join(parent, name), uid, uid, follow_symlinks=False)
