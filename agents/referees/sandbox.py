"""The sandbox: Python programs of strangers, run by bubblewrap behind walls.

In the box there is no network, no process but its own, no file but a read-only system, the interpreter and
a small /tmp, no environment, no capability and no new privilege; time, memory, processes, files and output
are limited, and everything in it dies with the caller. Without bubblewrap it refuses to run, unless
the user says that the code is trusted: then a plain process runs it, under the same limits and with no walls.

bubblewrap isolates by the kernel's namespaces: a fault of the kernel is a way out. Where that
matters, put a virtual machine around it.
"""

from __future__ import annotations

import functools
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal, TypeAlias

from ludus.agents.referees import seccomp
from ludus.core.errors import CrewError

Stopped: TypeAlias = Literal["", "time", "output"]
INSTALL = "apt-get install bubblewrap"
_ALIKE = {"PYTHONHASHSEED": "0"}  # what a program needs to hash text alike each time

# What starts in the box: it takes on the limits and the user it is told to, and becomes the program. The first
# line of its input is our own, a Python literal: json would take longer to import than all the rest.
_BOOT = """
import os, resource, sys
job = eval(sys.stdin.buffer.readline())
for name, most in job["limits"].items():
    resource.setrlimit(getattr(resource, name), (most, most))
if job["uid"]:
    os.setgroups([])
    os.setresgid(*[job["uid"]] * 3)
    os.setresuid(*[job["uid"]] * 3)
exec(compile(job["source"], "<program>", "exec"), {"__name__": "__main__"})
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may use up.

    Attributes:
        seconds: by the clock.
        cpu: seconds of computing, whole.
        memory: bytes of address space of each process.
        processes: processes and threads together (in the box only).
        output: bytes of standard output, and of standard error.
        disk: bytes of /tmp, and of any one file.
    """

    seconds: float = 5.0
    cpu: int = 5
    memory: int = 512 << 20
    processes: int = 16
    output: int = 64 << 10
    disk: int = 16 << 20

    def resources(self, *, boxed: bool) -> dict[str, int]:
        """The limits that the kernel keeps, by their names in `resource`."""
        kept = {
            "RLIMIT_CPU": self.cpu,
            "RLIMIT_AS": self.memory,
            "RLIMIT_FSIZE": self.disk,
            "RLIMIT_NOFILE": 64,
            "RLIMIT_CORE": 0,
        }
        # Outside a box this limit counts all processes of the user, and would stop innocent ones.
        return {**kept, "RLIMIT_NPROC": self.processes} if boxed else kept


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a program.

    Attributes:
        code: exit status, or minus the signal that ended it.
        out: standard output, at most `Limits.output` bytes of it.
        err: standard error, likewise.
        stopped: "time" or "output" when the sandbox had to stop it, else "".
        seconds: how long it ran, by the clock.
    """

    code: int
    out: str
    err: str
    stopped: Stopped
    seconds: float


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Runs Python programs.

    Args:
        limits: what each of them may use up.
        trusted: run without walls. Only for code that you would run yourself.
    """

    limits: Limits = field(default_factory=Limits)
    trusted: bool = False

    def run(self, source: str, stdin: str = "") -> Ran:
        """Run a program to its end, or to a limit.

        Args:
            source: the text of the program.
            stdin: what it can read from standard input.

        Raises:
            CrewError: bubblewrap is missing, or cannot isolate on this machine; or the system has no
                room for another process.
        """
        try:
            return self._run(source, stdin)
        except OSError as fault:
            raise CrewError(
                f"the sandbox could not start a program ({fault}): the system lets this user have no more processes, "
                "memory or open files (ulimit -a), so end some or let fewer programs run at a time"
            ) from fault

    def _run(self, source: str, stdin: str) -> Ran:
        if not self.trusted and (obstacle := why_not()):
            raise CrewError(obstacle)
        uid = 0 if self.trusted else _nobody()
        job = {"limits": self.limits.resources(boxed=not self.trusted), "uid": uid, "source": source}
        with tempfile.TemporaryFile() as file, _filter(self.trusted) as fd:
            file.write(f"{job!r}\n{stdin}".encode())
            file.seek(0)
            command = [_interpreter(), "-P", "-s", "-S", "-c", _BOOT]
            if not self.trusted:
                command = [*_walls(self.limits.disk, fd), "--", *command]
            return _watch(command, file, self.limits, fds=(fd,) if fd else ())


@functools.cache
def why_not() -> str:
    """Why no program can be isolated here, and what to do about it; "" if all is well."""
    if shutil.which("bwrap") is None:
        return (
            f"bubblewrap is not installed, and programs of players do not run without isolation: {INSTALL}. "
            "If you trust the code as your own, say so with trusted=True"
        )
    with _filter(trusted=False) as fd:
        command = [*_walls(1 << 20, fd), "--", _interpreter(), "-P", "-s", "-S", "-c", ""]
        tried = subprocess.run(
            command, pass_fds=(fd,) if fd else (), capture_output=True, text=True, check=False
        )
    if tried.returncode:
        return (
            f"bubblewrap cannot isolate a program here ({tried.stderr.strip() or tried.returncode}): let ordinary "
            "users make namespaces (sysctl kernel.unprivileged_userns_clone=1, or "
            "kernel.apparmor_restrict_unprivileged_userns=0), or run as root"
        )
    return ""


# -------------------------------------------------------------------------------------- the box
def _walls(disk: int, fd: int) -> list[str]:
    """The bubblewrap command up to the program; `fd` holds the filter of system calls, 0 for none."""
    command = [
        shutil.which("bwrap") or "bwrap",
        "--unshare-ipc",
        "--unshare-pid",
        "--unshare-net",
        "--unshare-uts",
        "--unshare-cgroup-try",
    ]
    if os.getuid() == 0:
        # The kernel's root is exempt from the limit on processes, whatever its namespace calls it. So root makes
        # the box without a user namespace, and the program takes on a user nobody is (see `_nobody`).
        command += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        command += ["--unshare-user", "--uid", "65534", "--gid", "65534", "--cap-drop", "ALL"]
    command += ["--die-with-parent", "--new-session", "--clearenv", "--hostname", "box"]
    for path in _system():
        for parent in reversed(
            Path(path).parents[:-1]
        ):  # else bubblewrap closes them to all but its own user
            command += ["--perms", "0755", "--dir", str(parent)]
        command += ["--ro-bind-try", path, path]
    for where in map(Path, ("/bin", "/sbin", "/lib", "/lib64")):  # on most systems links into /usr
        command += (
            ["--symlink", str(where.readlink())] if where.is_symlink() else ["--ro-bind-try", str(where)]
        )
        command.append(str(where))
    command += ["--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--size", str(disk), "--tmpfs", "/tmp"]
    command += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp"]
    for name, value in {**_ALIKE, "PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"}.items():
        command += ["--setenv", name, value]
    return [*command, "--seccomp", str(fd)] if fd else command


def _interpreter() -> str:
    """The real file of this interpreter, behind virtual environments and links."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def _system() -> list[str]:
    """Read-only folders the interpreter needs."""
    prefixes = {Path(sys.base_prefix), Path(sys.base_exec_prefix), Path(_interpreter()).parent.parent}
    return [
        "/usr",
        "/etc/ld.so.cache",
        *sorted(str(p.resolve()) for p in prefixes if Path("/usr") not in p.parents),
    ]


def _nobody() -> int:
    """A user that owns nothing and, at a time, one box: so each box counts its own processes."""
    return 0 if os.getuid() else 2_000_000_000 + int.from_bytes(os.urandom(3), "big")


@contextmanager
def _filter(trusted: bool) -> Iterator[int]:
    """A file descriptor that holds the filter of system calls; 0 where there is none to hold."""
    code = None if trusted else seccomp.program()
    if code is None:
        yield 0
        return
    fd = os.memfd_create("filter")
    try:
        os.write(fd, code)
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)


# ------------------------------------------------------------------------------------- watching
def _watch(command: list[str], stdin: IO[bytes], limits: Limits, *, fds: Iterable[int]) -> Ran:
    """Run a command; stop it when its time is up or it says too much."""
    began = time.monotonic()
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command,
        stdin=stdin,
        stdout=pipe,
        stderr=pipe,
        env=_ALIKE,
        pass_fds=tuple(fds),
        start_new_session=True,
    ) as process:
        assert process.stdout is not None  # both are pipes
        assert process.stderr is not None
        heard = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
        try:
            stopped = _listen(process, heard, began + limits.seconds, limits.output)
        finally:
            _end(process)
        code = process.wait()
    out, err = (bytes(said[: limits.output]).decode(errors="replace") for said in heard.values())
    return Ran(code, out, err, stopped, time.monotonic() - began)


def _listen(
    process: subprocess.Popen[bytes], heard: dict[int, bytearray], until: float, most: int
) -> Stopped:
    """Gather what the program says until it ends or must be stopped; say why it must."""
    with selectors.DefaultSelector() as ready:
        for stream in heard:
            ready.register(stream, selectors.EVENT_READ)
        while (ready.get_map() and process.poll() is None) or _more(ready):
            left = until - time.monotonic()
            if left <= 0:
                return "time"
            for key, _ in ready.select(min(left, 0.05)):
                piece = os.read(key.fd, 65536)
                if not piece:
                    ready.unregister(key.fd)
                said = heard[key.fd]
                said += piece
                if len(said) > most:
                    return "output"
        while process.poll() is None:
            if time.monotonic() > until:
                return "time"
            time.sleep(0.001)
    return ""


def _more(ready: selectors.BaseSelector) -> bool:
    """Whether an ended program has left words in the pipes."""
    return bool(ready.get_map()) and bool(ready.select(0))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program and all it started: the box falls with its first process."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
