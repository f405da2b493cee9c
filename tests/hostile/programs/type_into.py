"""A program that root has started as another user tries to get hold of root's terminal: to type into it, to
read from it, to change it. Tells what it found, one JSON object in the file FILE: type_into.py FILE"""

import fcntl
import json
import os
import sys
import termios


def name_of(fd):
    try:
        return os.ttyname(fd)
    except OSError:
        return ""


def type_into(fd):
    try:
        for character in b"touch typed\n":
            fcntl.ioctl(fd, termios.TIOCSTI, bytes([character]))
    except OSError as error:
        return os.strerror(error.errno)
    return "typed"


try:
    controlling = os.open("/dev/tty", os.O_RDWR)
    controlling_name = name_of(controlling)
except OSError as error:
    controlling, controlling_name = -1, os.strerror(error.errno)
found = {
    "leads_its_session": os.getsid(0) == os.getpid(),
    "standard": [name_of(fd) for fd in range(3)],
    "controlling": controlling_name,
    "typed": [type_into(fd) for fd in (0, 1, 2, controlling) if fd >= 0],
    "environment": dict(os.environ),
    "groups": sorted(os.getgroups()),
    "ids": [*os.getresuid(), *os.getresgid()],
    "umask": os.umask(0),
    "folder": os.getcwd(),
    "descriptors": sorted(os.listdir("/proc/self/fd")),
}
with open(sys.argv[1], "w") as file:
    json.dump(found, file)
