"""Puts this process behind a boundary, then becomes a program: `python -I -S enter.py SPECIFICATION`.

It runs on its own, with the standard library only, in a fresh process with one thread; `isolation` writes the
specification. Nothing is given up half-way: what cannot be done ends the process with a sentence and `REFUSED`.

What it uses, on Linux only: another user and a mount namespace (user_namespaces(7), mount_namespaces(7)) where it is
root; Landlock (landlock(7)) for files, TCP, signals and ptrace; a seccomp filter (seccomp(2)) for system calls.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import signal
import stat
import struct
import sys
from typing import Any, Final, NoReturn

REFUSED: Final = 97
"""The exit code of a process that could not enter."""

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_SHARED: Final = "/dev/shm"  # noqa: S108 - a new one is mounted there
_CREATE, _ADD, _RESTRICT = 444, 445, 446  # landlock_* have the same numbers on every architecture

# Rights of Landlock over files (landlock(7)).
_EXECUTE, _WRITE, _READ, _LIST = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_CHANGE: Final = sum(
    1 << bit for bit in (4, 5, 7, 8, 9, 10, 12)
)  # remove and make: folders, files, sockets, FIFOs, links
_REFER, _TRUNCATE, _IOCTL = 1 << 13, 1 << 14, 1 << 15
_EVERYTHING: Final = (1 << 13) - 1
_OF_FILES: Final = _EXECUTE | _WRITE | _READ | _TRUNCATE | _IOCTL
_CONNECT, _BIND = 1 << 1, 1 << 0
_SCOPES: Final = 3  # abstract Unix sockets and signals, only within

_NEWNS, _NEWIPC, _NEWUSER = 0x0002_0000, 0x0800_0000, 0x1000_0000
_BIND_MOUNT, _PRIVATE, _NOSUID, _NODEV = 0x1000, 0x4000 | 1 << 18, 2, 4
_SET_PDEATHSIG, _CAPBSET_DROP, _SET_SECCOMP, _NO_NEW_PRIVS = 1, 24, 22, 38

# System calls: (x86_64, aarch64); -1 where there is none.
_ARCHITECTURES: Final = {"x86_64": (0, 0xC000_003E), "aarch64": (1, 0xC000_00B7)}
_SOCKET, _CLONE, _CLONE3 = (41, 198), (56, 220), (435, 435)
_DENIED: Final = (
    *((101, 117), (310, 270), (311, 271), (438, 438)),  # ptrace, process_vm_readv, process_vm_writev, pidfd_getfd
    *((425, 425), (426, 426), (427, 427)),  # io_uring, which opens sockets past this filter
    *((272, 97), (308, 268), (165, 40), (166, 39), (155, 41)),  # unshare, setns, mount, umount2, pivot_root
    *((428, 428), (429, 429), (430, 430), (432, 432), (442, 442)),  # the newer calls that mount
    *((304, 265), (321, 280), (298, 241), (323, 282)),  # open_by_handle_at, bpf, perf_event_open, userfaultfd
    *((248, 217), (249, 218), (250, 219)),  # add_key, request_key, keyctl
)
_INET: Final = (2, 10)  # AF_INET, AF_INET6
_NETLINK: Final = 16  # by which libraries ask for the addresses of this machine


class Refused(Exception):
    """The boundary cannot be made here."""


def landlock_abi() -> int:
    """Return the version of Landlock that the kernel has; 0 if none."""
    return max(0, int(_LIBC.syscall(_CREATE, None, 0, 1)))


def filters() -> bool:
    """Return whether system calls can be filtered on this machine."""
    return os.uname().machine in _ARCHITECTURES and _LIBC.prctl(21, 0, 0, 0, 0) in (0, 2)  # 2: it has a filter already


def main(specification: str) -> NoReturn:
    """Enter, and become the program. See `isolation.Cage` for the fields of the specification."""
    spec: dict[str, Any] = json.loads(specification)
    _LIBC.prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    try:
        if spec["uid"] is not None:
            _own_mounts([*spec["read"], *spec["list"], *spec["write"]], spec["uid"])
        rules = None if not landlock_abi() else _ruleset(spec)
        _limit(spec["limits"])
        _become(spec["uid"])
        _checked(_LIBC.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0), "give up new privileges")
        if rules is not None:
            _checked(_LIBC.syscall(_RESTRICT, rules, 0), "restrict itself with Landlock")
            os.close(rules)
        _filter(tcp=bool(spec["tcp"]))
        _LIBC.prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # becoming another user has cleared it
        os.chdir(spec["cwd"])
        os.execv(spec["command"][0], spec["command"])  # noqa: S606 - that is its purpose
    except (Refused, OSError) as error:
        sys.stderr.write(f"isolation is not possible here: {error}\n")
        sys.stderr.flush()
        os._exit(REFUSED)


# --- another user -------------------------------------------------------------------------------------------------


def _own_mounts(needed: list[str], uid: int) -> None:
    """Let another user reach what it needs below folders that are closed to it, in a mount namespace of its own.

    An empty folder is mounted over each closed one, and what is needed below it is mounted into that. So it works where
    Python itself lies in the home folder of root, and the rest of that folder is gone. A closed folder may lie in one
    that is needed, such as the state directory in the folder from which Python imports.
    """
    _checked(_LIBC.unshare(_NEWNS | _NEWIPC), "make a mount namespace (it needs CAP_SYS_ADMIN)")
    _mount("none", "/", None, _PRIVATE)
    if os.path.isdir(_SHARED):
        _mount("tmpfs", _SHARED, "tmpfs", _NOSUID | _NODEV, "mode=1777")
    paths = sorted({os.path.realpath(path) for path in needed if os.path.exists(path)}, key=len)
    closed = {path: _closed_above(path, uid) for path in paths}
    held = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in paths if closed[path]}
    seen: set[str] = set()
    shown: list[str] = []
    for path, handle in held.items():
        for folder in closed[path]:
            if folder not in seen and os.path.isdir(folder):  # it is gone if one above it has been covered
                _mount("tmpfs", folder, "tmpfs", _NOSUID | _NODEV, "mode=755")
            seen.add(folder)
        if not any(_is_below(path, other) and not _has_below(closed[path], other) for other in shown):
            _show(path, handle)
            shown.append(path)
        os.close(handle)


def _show(path: str, handle: int) -> None:
    """Mount what an open file leads to at its path."""
    if stat.S_ISDIR(os.fstat(handle).st_mode):
        os.makedirs(path, mode=0o755, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_CLOEXEC, 0o644))
    _mount(f"/proc/self/fd/{handle}", path, None, _BIND_MOUNT)


def _closed_above(path: str, uid: int) -> list[str]:
    """The folders above `path` that the user may not enter, from the top."""
    parts = path.strip("/").split("/")[:-1]
    folders = ["/" + "/".join(parts[: end + 1]) for end in range(len(parts))]
    return [folder for folder in folders if not _may_enter(os.stat(folder), uid)]


def _may_enter(folder: os.stat_result, uid: int) -> bool:
    return bool(folder.st_mode & (stat.S_IXUSR if folder.st_uid == uid else stat.S_IXOTH))


def _has_below(folders: list[str], other: str) -> bool:
    return any(_is_below(folder, other) for folder in folders)


def _is_below(path: str, other: str) -> bool:
    return path == other or path.startswith(other.rstrip("/") + "/")


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    given = [None if text is None else text.encode() for text in (source, target, kind)]
    result = _LIBC.mount(*given, ctypes.c_ulong(flags), None if data is None else data.encode())
    _checked(result, f"mount at {target}")


def _become(uid: int | None) -> None:
    """Become another user, or give up all capabilities, for ever and for whatever runs next."""
    if os.geteuid() != 0 and uid is None:
        return
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        if os.getresuid() != (uid, uid, uid) or os.getresgid() != (uid, uid, uid):
            raise Refused(f"it could not become the user {uid}")
        return
    for capability in range(64):
        if _LIBC.prctl(_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            if ctypes.get_errno() == errno.EINVAL:
                break  # the kernel has no such capability
            raise Refused("its capabilities cannot be given up")
    header, none = struct.pack("=Ii", 0x2008_0522, 0), bytes(24)
    _checked(_LIBC.capset(header, none), "give up its capabilities")


def _limit(limits: dict[str, int]) -> None:
    for name, most in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


# --- Landlock -----------------------------------------------------------------------------------------------------


def _ruleset(spec: dict[str, Any]) -> int:
    abi = landlock_abi()
    handled = _EVERYTHING | (_REFER if abi >= 2 else 0) | (_TRUNCATE if abi >= 3 else 0) | (_IOCTL if abi >= 5 else 0)
    net = _CONNECT | _BIND if abi >= 4 else 0
    fields = (handled,) if abi < 4 else (handled, net) if abi < 6 else (handled, net, _SCOPES)
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    rules = int(_LIBC.syscall(_CREATE, attributes, len(attributes), 0))
    _checked(rules, "use Landlock")
    full = _EXECUTE | _WRITE | _READ | _LIST | _CHANGE | _REFER | _TRUNCATE | _IOCTL
    wanted = (("read", _EXECUTE | _READ | _LIST), ("list", _LIST), ("write", full))
    for name, rights in wanted:
        for path in spec[name]:
            _allow(rules, path, rights & handled)
    for port in spec["tcp"] if abi >= 4 else ():
        _checked(_LIBC.syscall(_ADD, rules, 2, struct.pack("=QQ", _CONNECT, port), 0), f"allow the port {port}")
    return rules


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        if not stat.S_ISDIR(os.fstat(handle).st_mode):
            rights &= _OF_FILES
        if rights:
            _checked(_LIBC.syscall(_ADD, rules, 1, struct.pack("=Qi", rights, handle), 0), f"allow {path}")
    finally:
        os.close(handle)


# --- system calls -------------------------------------------------------------------------------------------------


def _filter(*, tcp: bool) -> None:
    """Refuse system calls that lead past the boundary; where there is no network, sockets of every kind."""
    if not filters():
        return
    place, architecture = _ARCHITECTURES[os.uname().machine]
    program = _program(place, architecture, tcp=tcp)
    code = b"".join(struct.pack("=HBBI", *one) for one in program)
    held = ctypes.create_string_buffer(code, len(code))
    given = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(held)))
    _checked(_LIBC.prctl(_SET_SECCOMP, 2, given, 0, 0), "filter system calls")


def _program(place: int, architecture: int, *, tcp: bool) -> list[tuple[int, int, int, int]]:
    """The filter, in the instructions of the kernel's packet filter: (code, jump if true, jump if false, operand)."""

    def load(at: int) -> tuple[int, int, int, int]:
        return (0x20, 0, 0, at)

    def answer(number: int) -> tuple[int, int, int, int]:
        return (0x06, 0, 0, 0x0005_0000 | number)

    def unless(value: int, skipped: int) -> tuple[int, int, int, int]:
        """Go on if the value is loaded, else skip some instructions."""
        return (0x15, 0, skipped, value)

    allow = (0x06, 0, 0, 0x7FFF_0000)
    number, first, second, third = 0, 16, 24, 32
    program = [load(4), (0x15, 1, 0, architecture), answer(errno.EPERM), load(number)]
    program += [(0x35, 0, 1, 0x4000_0000), answer(errno.ENOSYS)]  # the calls of the x32 interface
    for denied in _DENIED:
        program += [unless(denied[place], 1), answer(errno.EPERM)]
    program += [unless(_CLONE3[place], 1), answer(errno.ENOSYS)]  # its flags cannot be read; libraries use clone then
    program += [unless(_CLONE[place], 4), load(first), (0x45, 0, 1, _NEWUSER), answer(errno.EPERM), allow]
    if not tcp:
        return [*program, unless(_SOCKET[place], 1), answer(errno.EACCES), allow]
    kinds = [load(second), (0x54, 0, 0, 0xF), (0x15, 1, 0, 1), unless(2, 4)]  # a stream or datagrams …
    protocols = [
        load(third),
        (0x15, 3, 0, 0),
        (0x15, 2, 0, 6),
        (0x15, 1, 0, 17),
        answer(errno.EACCES),
        allow,
    ]  # TCP, UDP
    inet = [*kinds, *protocols]
    domains = [load(first), (0x15, 1, 0, _NETLINK), (0x05, 0, 0, 1), allow]
    domains += [(0x15, 2, 0, _INET[0]), (0x15, 1, 0, _INET[1]), answer(errno.EACCES)]
    checked = [*domains, *inet]
    return [*program, unless(_SOCKET[place], len(checked)), *checked, allow]


def _checked(result: int, what: str) -> None:
    if result < 0:
        raise Refused(f"it cannot {what}: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    main(sys.argv[1])
