"""Executes what the kernel refuses, and tells what it saw: a line of JSON for each try, the errno or 0.

failing.py WAY PROGRAM
"""

import errno
import json
import os
import resource
import sys

PAGE = 4096
LONGEST = 32 * PAGE  # of a string with its NUL


NOBODY = 65534


def become_one_too_many():
    """Another user, who has a process and may have none: the kernel tells at the next execution."""
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    os.setuid(NOBODY)


def try_in_child(path, arguments, environment, prepare=None):
    """What execve says in a child: an errno, or 0 if the program ran."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if prepare is not None:
                prepare()
            os.execve(path, arguments, environment)
        except OSError as error:
            os.write(writing, bytes([error.errno]))
        os._exit(0)
    os.close(writing)
    said = os.read(reading, 1)
    os.close(reading)
    os.waitpid(child, 0)
    return said[0] if said else 0


def tries(way, program):
    if way == "busy":
        with open(program, "r+b"):
            yield try_in_child(program, [program], {})
            try:
                os.execve(program, [program], {})
            except OSError as error:
                yield error.errno
    elif way == "spawned":  # by a child of vfork, whose first thread is told with what it executes
        with open(program, "r+b"):
            try:
                os.waitpid(os.posix_spawn(program, [program], {}), 0)
                yield 0
            except OSError as error:
                yield error.errno
    elif way == "processes":  # as root only: who may not become another user has no such failure
        reading, writing = os.pipe()
        ready, tell_ready = os.pipe()
        other = os.fork()
        if other == 0:
            os.close(writing)
            os.setuid(NOBODY)
            os.write(tell_ready, b".")
            os.read(reading, 1)
            os._exit(0)
        os.close(tell_ready)
        os.read(ready, 1)
        yield try_in_child(program, [program], {}, become_one_too_many)
        os.close(writing)
        os.waitpid(other, 0)
    elif way == "environment":
        for size in (LONGEST - 3, LONGEST - 2):
            yield try_in_child(program, [program], {"A": "x" * size})
    elif way == "argument":
        for size in (LONGEST - 2, LONGEST - 1, LONGEST, 40 * PAGE):
            yield try_in_child(program, [program, "x" * size], {})
    elif way == "sum":
        resource.setrlimit(resource.RLIMIT_STACK, (1 << 20, resource.getrlimit(resource.RLIMIT_STACK)[1]))
        limit = (1 << 20) // 4
        environment = {"A": "y" * 1000, "B": ""}
        first, least, most = [program, "x" * (LONGEST - 2)], 0, limit
        while most - least > 1:  # the last that runs and the first that does not
            middle = (least + most) // 2
            found = try_in_child(program, [*first, "z" * middle], environment)
            least, most = (middle, most) if found == 0 else (least, middle)
            yield found


for found in tries(sys.argv[1], sys.argv[2]):
    print(json.dumps(found), flush=True)
    assert found in (0, errno.E2BIG, errno.ETXTBSY, errno.EAGAIN), found
print(json.dumps("done"), flush=True)
sys.stdin.read()
