"""A filter of system calls for the sandbox: what a program in a box has no business calling.

Namespaces keep a program from seeing the machine; this filter keeps it from the parts of the kernel that
are known for their faults: namespaces of its own, mounts, tracing, keys, io_uring, modules, BPF. The
refused calls return EPERM; clone3, whose flags a filter cannot read, returns ENOSYS, and C libraries then
fall back to clone.

Source:
    Linux, include/uapi/linux/{seccomp,filter,audit}.h and the system call tables of x86_64 and arm64.
"""

from __future__ import annotations

import platform
import struct

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = (
    0x20,
    0x15,
    0x35,
    0x45,
    0x06,
)  # BPF_LD|W|ABS, BPF_JMP|..|K, BPF_RET|K
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS = 1, 38
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data, little-endian
_NAMESPACES = 0x7E020000  # CLONE_NEWUSER | NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWPID | NEWNET
_X32 = 0x40000000  # system calls of the x32 interface, another numbering of the same kernel
_CLONE3 = 435

# What is numbered alike everywhere: io_uring, the new mount interface, pidfd_getfd, mount_setattr.
_EVERYWHERE = (425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 442)
# unshare setns mount umount2 pivot_root chroot ptrace process_vm_readv process_vm_writev keyctl add_key
# request_key bpf perf_event_open userfaultfd init_module finit_module delete_module kexec_load
# kexec_file_load open_by_handle_at name_to_handle_at personality swapon reboot syslog acct quotactl
# settimeofday clock_settime
_X86_64 = (
    272, 308, 165, 166, 155, 161, 101, 310, 311, 250, 248, 249, 321, 298, 323, 175, 313, 176, 246, 320, 304, 303,
    135, 167, 169, 103, 163, 179, 164, 227,
)  # fmt: skip
_ARM64 = (
    97, 268, 40, 39, 41, 51, 117, 270, 271, 219, 217, 218, 280, 241, 282, 105, 273, 106, 104, 294, 265, 264,
    92, 224, 142, 116, 89, 60, 170, 112,
)  # fmt: skip
# machine -> AUDIT_ARCH_*, the number of clone, refused calls
_MACHINES = {"x86_64": (0xC000003E, 56, _X86_64), "aarch64": (0xC00000B7, 220, _ARM64)}


def program(machine: str | None = None) -> bytes | None:
    """The filter as classic BPF, eight bytes an instruction; None for machines it is not written for.

    >>> len(program("x86_64")) // 8, program("riscv64")
    (53, None)
    """
    machine = machine or platform.machine()
    if machine not in _MACHINES:
        return None
    architecture, clone, refused = _MACHINES[machine]
    calls = (*refused, *_EVERYWHERE)
    # A jump counts the instructions it leaps over. The tail is: clone3, clone, load, flags, and four returns.
    code = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    code.append((_AT_LEAST, len(calls) + 5, 0, _X32))
    code += [(_EQUAL, len(calls) - i + 4, 0, call) for i, call in enumerate(calls)]
    code += [
        (_EQUAL, 5, 0, _CLONE3),
        (_EQUAL, 0, 2, clone),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_ANY_BIT, 1, 0, _NAMESPACES),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ERRNO | _EPERM),
        (_RETURN, 0, 0, _ERRNO | _ENOSYS),
    ]
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in code)
