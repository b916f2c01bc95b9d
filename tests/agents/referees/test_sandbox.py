"""The sandbox holds: each attack is shown to fire outside the box, and not to fire inside it."""

import os
import socket
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from ludus.agents.referees import sandbox, seccomp
from ludus.agents.referees.sandbox import Limits, Sandbox
from ludus.core.errors import CrewError

USUAL = Limits()
WIDE = Limits(seconds=20, cpu=20, memory=4 << 30, output=4 << 20, disk=1 << 30)
MARK = "ludus-attack-mark"


@dataclass(frozen=True)
class Attack:
    """A program that says FIRED when it got what it should not get.

    `certain` is false where not every machine lets the attack fire outside the box either.
    """

    name: str
    source: str
    limits: Limits = USUAL
    certain: bool = True


ATTACKS = (
    Attack("connect to a server", "import socket; socket.create_connection(('127.0.0.1', {port}), 2); print('FIRED')"),
    Attack("look up the interfaces", "import socket; print('FIRED' * (len(socket.if_nameindex()) > 1))", certain=False),
    Attack("read a file of the user", "print(open({secret!r}).read())"),
    Attack("read it through a symbolic link",
           "import os; os.symlink({secret!r}, {folder!r} + '/link'); print(open({folder!r} + '/link').read())"),
    Attack("read it through a process's root", "print(open('/proc/{pid}/root' + {secret!r}).read())", certain=False),
    Attack("write a file of the user", "open({secret!r}, 'a').write(' more'); print('FIRED')"),
    Attack("delete a file of the user", "import os; os.unlink({spare!r}); print('FIRED')"),
    Attack("see other programs", "print('FIRED' * (b'{mark}' in open('/proc/{pid}/cmdline', 'rb').read()))"),
    Attack("signal another program", "import os; os.kill({pid}, 0); print('FIRED')"),
    Attack("fork many times", "import os, time\nfor _ in range(60):\n    if os.fork() == 0:\n        time.sleep(1)\n"
           "        os._exit(0)\nprint('FIRED')"),
    Attack("start many threads", "import threading, time\nfor _ in range(60):\n"
           "    threading.Thread(target=time.sleep, args=(1,)).start()\nprint('FIRED')"),
    Attack("take memory", "x = bytearray(1 << 30); print('FIRED')"),
    Attack("fill the disk with one file", "open({folder!r} + '/big', 'wb').write(bytes(40 << 20)); print('FIRED')"),
    Attack("fill the disk with many files", "for i in range(5):\n    open({folder!r} + f'/{{i}}', 'wb')"
           ".write(bytes(8 << 20))\nprint('FIRED')"),
    Attack("fill the shared memory", "for i in range(5):\n    open(f'/dev/shm/{mark}{{i}}', 'wb').write(bytes(8 << 20))\n"
           "import os\nfor i in range(5):\n    os.unlink(f'/dev/shm/{mark}{{i}}')\nprint('FIRED')", certain=False),
    Attack("flood the output", "print('x' * (1 << 20)); print('FIRED')"),
    Attack("flood the errors", "import sys; sys.stderr.write('x' * (1 << 20)); print('FIRED')"),
    Attack("run on", "import time\nuntil = time.monotonic() + 1.5\nwhile time.monotonic() < until:\n    pass\n"
           "print('FIRED')", Limits(seconds=0.7)),
    Attack("sleep on", "import time; time.sleep(1.5); print('FIRED')", Limits(seconds=0.7)),
    Attack("make a user namespace", "import ctypes\nif ctypes.CDLL(None).unshare(0x10000000) == 0:\n    print('FIRED')",
           certain=False),
    Attack("keep a key", "import ctypes\nif ctypes.CDLL(None).syscall({add_key}, b'user', b'k', b'v', 1, -3) > 0:\n"
           "    print('FIRED')", certain=False),
    Attack("set up an io_uring", "import ctypes\nif ctypes.CDLL(None).syscall(425, 1, bytes(120)) >= 0:\n"
           "    print('FIRED')", certain=False),
    Attack("trace", "import ctypes\nif ctypes.CDLL(None).ptrace(0, 0, 0, 0) == 0:\n    print('FIRED')", certain=False),
    Attack("become root", "import os; os.setresuid(0, 0, 0); print('FIRED')", certain=False),
)  # fmt: skip


@pytest.fixture
def prey(tmp_path):
    """What the attacks are after: a server, a secret, a running program."""
    (tmp_path / "secret").write_text("FIRED")
    (tmp_path / "spare").write_text("")
    folder = tmp_path / "folder"
    folder.mkdir()
    command = [sys.executable, "-c", "import time; time.sleep(60)", MARK]
    add_key = {"x86_64": 248, "aarch64": 217}.get(os.uname().machine, 0)
    with socket.create_server(("127.0.0.1", 0)) as server, subprocess.Popen(command) as sleeper:
        yield {
            "port": server.getsockname()[1], "secret": str(tmp_path / "secret"), "spare": str(tmp_path / "spare"),
            "folder": str(folder), "pid": sleeper.pid, "mark": MARK, "add_key": add_key,
        }  # fmt: skip
        sleeper.kill()


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_control_fires_without_the_box(attack, prey) -> None:
    ran = Sandbox(WIDE, trusted=True).run(attack.source.format(**prey))
    if not attack.certain and "FIRED" not in ran.out:
        pytest.skip("this machine does not let it happen outside a box either")
    assert "FIRED" in ran.out, ran


@pytest.mark.bwrap
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_attack_fails_in_the_box(attack, prey) -> None:
    inside = prey | {"folder": "/tmp"}
    ran = Sandbox(attack.limits).run(attack.source.format(**inside))
    assert "FIRED" not in ran.out, ran
    assert ran.stopped or ran.err or ran.code or ran.out.strip() == "", ran
    assert Path(prey["secret"]).read_text() == "FIRED"
    assert Path(prey["spare"]).exists()


DAEMON = f"""
import os, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable, "-S", "-c", "import os, time; os.close(0); os.close(1); os.close(2)"
                                  "; time.sleep(30)", "{MARK}-daemon"])
    os._exit(0)
os.wait()
import time
time.sleep(0.3)
"""


def marked() -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if f"{MARK}-daemon".encode() in entry.read_bytes().split(b"\0"):
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return found


def test_a_daemon_outlives_a_program_without_a_box() -> None:
    Sandbox(WIDE, trusted=True).run(DAEMON)
    left = marked()
    for pid in left:
        os.kill(pid, 9)
    assert left


@pytest.mark.bwrap
def test_no_daemon_outlives_the_box() -> None:
    Sandbox().run(DAEMON)
    deadline = time.monotonic() + 2
    while marked() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not marked()


@pytest.mark.bwrap
def test_what_a_program_finds_in_the_box() -> None:
    source = (
        "import os, sys\nprint(sorted(os.environ))\nprint(os.getuid() != 0, os.uname().nodename)\n"
        "status = dict(line.split(':\\t') for line in open('/proc/self/status').read().splitlines() if ':\\t' in line)\n"
        "print(int(status['CapEff'], 16), status['NoNewPrivs'], status['Seccomp'])\nprint(sys.stdin.read())\n"
        "print(len([p for p in os.listdir('/proc') if p.isdigit()]) <= 3)\nprint(os.listdir('/tmp'), os.getcwd())\n"
    )
    ran = Sandbox().run(source, stdin="a word")
    names, user, rights, word, few, here = ran.out.splitlines()
    assert not {"LUDUS_REQUIRE_BWRAP", "USER", "LOGNAME"} & set(eval(names))
    assert user == "True box"
    assert rights == ("0 1 2" if seccomp.program() else "0 1 0")
    assert (word, few, here) == ("a word", "True", "[] /tmp")


@pytest.mark.bwrap
def test_a_box_can_be_used_as_it_should() -> None:
    source = "open('/tmp/x', 'w').write('1')\nimport threading\nt = threading.Thread(target=print, args=('hi',))\nt.start()"
    ran = Sandbox().run(source)
    assert (ran.code, ran.out, ran.stopped) == (0, "hi\n", "")
    failed = Sandbox().run("raise SystemExit(3)")
    assert failed.code == 3


@pytest.mark.bwrap
def test_text_hashes_alike_in_every_box() -> None:
    source = "print(hash('a'), list({'one', 'two', 'three', 'four'}))"
    assert Sandbox().run(source).out == Sandbox().run(source).out == Sandbox(trusted=True).run(source).out


def test_no_room_for_a_process_is_a_fault_of_the_crew(monkeypatch) -> None:
    def refuse(*args, **kwargs):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(sandbox.subprocess, "Popen", refuse)
    with pytest.raises(CrewError, match=r"temporarily unavailable.*ulimit -a.*fewer programs"):
        Sandbox(trusted=True).run("print(1)")


def test_refuses_without_bubblewrap(monkeypatch) -> None:
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    sandbox.why_not.cache_clear()
    try:
        with pytest.raises(CrewError, match="apt-get install bubblewrap"):
            Sandbox().run("print(1)")
        assert Sandbox(trusted=True).run("print(1)").out == "1\n"
    finally:
        sandbox.why_not.cache_clear()


def test_says_why_bubblewrap_cannot_isolate(monkeypatch, tmp_path) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    sandbox.why_not.cache_clear()
    try:
        with pytest.raises(CrewError, match=r"No permissions to create new namespace.*sysctl"):
            Sandbox().run("print(1)")
    finally:
        sandbox.why_not.cache_clear()


# --------------------------------------------------------------------- the filter of system calls
ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026


def filtered(code: bytes, architecture: int, number: int, first: int = 0) -> int:
    """What a BPF machine returns for a system call: an independent reading of the program."""
    data = struct.pack("<IIQQ", number, architecture, 0, first)
    program, at, register = list(struct.iter_unpack("<HBBI", code)), 0, 0
    while True:
        operation, yes, no, k = program[at]
        at += 1
        if operation == 0x20:
            register = struct.unpack_from("<I", data, k)[0]
        elif operation == 0x06:
            return k
        else:
            holds = {0x15: register == k, 0x35: register >= k, 0x45: bool(register & k)}[operation]
            at += yes if holds else no


@pytest.mark.parametrize(
    ("machine", "architecture", "calls"),
    [
        (
            "x86_64",
            0xC000003E,
            {"read": 0, "execve": 59, "clone": 56, "unshare": 272, "ptrace": 101, "last": 227},
        ),
        (
            "aarch64",
            0xC00000B7,
            {"read": 63, "execve": 221, "clone": 220, "unshare": 97, "ptrace": 117, "last": 112},
        ),
    ],
)
def test_filter(machine, architecture, calls) -> None:
    code = seccomp.program(machine)
    assert code is not None

    def of(number: int, first: int = 0) -> int:
        return filtered(code, architecture, number, first)

    assert of(calls["read"]) == of(calls["execve"]) == ALLOW
    assert of(calls["clone"], 0x01200011) == ALLOW  # what fork calls
    assert (
        of(calls["clone"], 0x10000011) == of(calls["clone"], 0x40000000) == EPERM
    )  # user and network namespaces
    assert of(calls["unshare"]) == of(calls["ptrace"]) == of(calls["last"]) == EPERM
    assert of(425) == of(442) == EPERM  # first and last of those numbered alike everywhere
    assert of(435) == ENOSYS
    assert of(0x40000000 + calls["read"]) == EPERM
    assert filtered(code, 0x40000003, 11) == KILL  # 32-bit calls
