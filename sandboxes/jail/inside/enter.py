"""Into namespaces of one's own, and out of every privilege.

Started by root, a slot first becomes a user of its own that nobody else is, or the limit on processes would not hold
and files of root would stand open. Numbers of users: see `users`. The number is reserved as long as the slot lives
by a local socket with its name, which ends with the process whatever happens.
"""

from __future__ import annotations

import functools
import os
import socket

from . import kernel

_USERS = 1 << 16
_HIGHEST = 2_000_000_000


def free_user(seed: int) -> tuple[int, socket.socket]:
    """A user number that no other slot on this machine has, and what reserves it until it is closed.

    Args:
        seed: Where to begin looking.

    Raises:
        OSError: All are taken, or there is no room for them.
    """
    numbers = users()
    first, count = numbers.start, len(numbers)
    for step in range(count):
        user = first + (seed + step) % count
        lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            lock.bind(f"\0tir-gym-jail-user-{user}")
        except OSError:
            lock.close()
            continue
        return user, lock
    raise OSError(f"all {count} users from {first} on are taken by slots, or none can be had")


def become(user: int) -> None:
    """From root to an ordinary user without any group or privilege, for good."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)  # changing the user made /proc/self root's, and it is needed yet


def namespaces() -> None:
    """Leave the host's users, mounts, network, names and messages; the next child is alone in a process namespace.

    Raises:
        OSError: The kernel does not allow it.
    """
    kernel.unshare(
        kernel.CLONE_NEWUSER
        | kernel.CLONE_NEWNS
        | kernel.CLONE_NEWPID
        | kernel.CLONE_NEWNET
        | kernel.CLONE_NEWIPC
        | kernel.CLONE_NEWUTS
        | kernel.CLONE_NEWCGROUP
    )


def name_user(inside: int, user: int, group: int) -> None:
    """Say what the user of this namespace, whom nobody in it knows yet, is called inside.

    Args:
        inside: Number of user and group inside.
        user: On the host.
        group: On the host.

    Raises:
        OSError: The kernel does not allow it.
    """
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{inside} {user} 1"),
        ("gid_map", f"{inside} {group} 1"),
    ):
        try:
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
        except OSError as error:
            hint = " (on Ubuntu, sysctl kernel.apparmor_restrict_unprivileged_userns=0 allows it)"
            raise OSError(error.errno, f"no user namespace: /proc/self/{name}: {error.strerror}{hint}") from error


def own_host_pid() -> int:
    """This process's number on the host, as long as the host's /proc is still in sight."""
    return int(os.readlink("/proc/self"))


@functools.cache
def users() -> range:
    """The user numbers that slots take, where root starts them.

    They are the 65,536 from 2,000,000,000 on; where the machine maps fewer users (in a container), the upper half of
    what it maps.

    Raises:
        OSError: There is no room for them.
    """
    with open("/proc/self/uid_map") as file:
        extents = [[int(number) for number in line.split()] for line in file]
    for first, _, count in extents:
        if first <= _HIGHEST and first + count >= _HIGHEST + _USERS:
            return range(_HIGHEST, _HIGHEST + _USERS)
    first, _, count = max(extents, key=lambda extent: extent[2])
    half = min(count // 2, _USERS)
    if half == 0:
        raise OSError("this machine maps no users beside root")
    return range(first + count - half, first + count)
