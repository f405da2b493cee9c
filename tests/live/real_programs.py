"""Programs that many machines have, each with something to do in a folder; nearly all start
tests/programs/state.c on the way. Knows nothing of how they are run and compared."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

# Stands in a command for tests/programs/state.c, which writes what it finds to the file `found`.
STATE = "@state@"


class Case(NamedTuple):
    program: str  # that a machine may lack
    line: list[str]
    varying: str = ""  # what no two runs have alike, as a regular expression
    ignored: tuple[str, ...] = ()  # files that no two runs make alike
    needs_terminal: bool = False

    def command(self, state: str) -> list[str]:
        return [word.replace(STATE, state) for word in self.line]

    def finds(self) -> bool:
        return any(STATE in word for word in self.line)


def sh(program: str, text: str, varying: str = "", ignored: tuple[str, ...] = ()) -> Case:
    return Case(program, ["sh", "-c", text], varying, ignored)


MAKEFILE = f"""
all: hello
\t./hello
\t+-@{STATE} found
\tfalse
hello: one.o two.o hello.o
\tgcc -o $@ $^
%.o: %.c
\tgcc -O1 -c -o $@ $<
"""
NINJA = f"""
rule find
  command = {STATE} found
rule copy
  command = cp $in $out
build copy: copy lines
build found: find copy
"""
CMAKE = f"""
execute_process(COMMAND {STATE} found an RESULT_VARIABLE status)
execute_process(COMMAND sort lines COMMAND head -n 2 OUTPUT_VARIABLE text)
message("${{status}} ${{text}}")
"""
PYTHON = f"""
import concurrent.futures, os, subprocess, sys
print(subprocess.run(["{STATE}", "found"], close_fds=False, restore_signals=False).returncode)
print(os.waitstatus_to_exitcode(os.waitpid(os.posix_spawn("{STATE}", ["", "spawned"], os.environ), 0)[1]))
with concurrent.futures.ThreadPoolExecutor(3) as pool:
    print(list(pool.map(lambda n: subprocess.check_output(["echo", str(n)]), range(6))))
sys.exit(5)
"""
NODE = f"""
const {{spawnSync, execSync}} = require('child_process');
console.log(spawnSync('{STATE}', ['found'], {{stdio: 'inherit'}}).status, String(execSync('echo $((6*7))')));
process.exitCode = 6;
"""
PERL = f"""
print system("{STATE}", "found") >> 8, "\\n";
open(my $in, "-|", "sort", "-r", "lines"); print <$in>; close $in;
$SIG{{CHLD}} = sub {{ print "ended\\n" }}; my $pid = fork // die; exit 4 unless $pid; waitpid $pid, 0;
kill "KILL", $$;
"""
BASH = f"""
{STATE} found; echo $?; cat <(echo one) <(sort lines); ulimit -a; umask
trap 'echo the end' EXIT; set -m; (exit 3) & wait $!; echo $?; trap; set -o pipefail
coproc cat; echo through >&${{COPROC[1]}}; read -ru "${{COPROC[0]}}" word; echo $word
yes | head -n 1; echo ${{PIPESTATUS[@]}}; exec -a other {STATE} last
"""
GIT = f"""
git init -q . && git config user.name N && git config user.email e@x && git config gc.auto 0
printf '#!/bin/sh\\n{STATE} found\\nexit 0\\n' >.git/hooks/pre-commit && chmod +x .git/hooks/pre-commit
git add lines hello.c && git commit -qm first && echo more >>lines && git commit -qam second
git log --format=%H; git diff --stat HEAD^; git repack -adq; git fsck; git -c alias.s='!false' s
"""
CPP = "#include <iostream>\\nint main() { std::cout << __cplusplus; return 2; }\\n"
CASES: dict[str, Case] = {
    "sh": sh("sh", f"{STATE} found; echo $?; (exit 4) & wait $!; echo $?; umask; ulimit -n; kill -KILL $$"),
    "bash": Case("bash", ["bash", "-c", BASH]),
    "zsh": Case("zsh", ["zsh", "-fc", f"{STATE} found; cat =(sort lines) <(echo one); exit 7"]),
    "busybox": Case("busybox", ["busybox", "sh", "-c", f"{STATE} found; sort lines | head -n 1; exit 7"]),
    "make": sh("make", "printf '%s' \"$MAKEFILE\" >Makefile; exec make -s"),
    "make, many at once": sh("make", "printf '%s' \"$MAKEFILE\" >Makefile; exec make -s -j3 2>&1"),
    "ninja": sh("ninja", "printf '%s' \"$NINJA\" >build.ninja; ninja", ignored=(".ninja_log", ".ninja_deps")),
    "cmake": sh("cmake", "printf '%s' \"$CMAKE\" >a.cmake; exec cmake -P a.cmake"),
    "gcc": sh(
        "gcc", "gcc -O1 -g -pipe -o hello hello.c one.c two.c && ./hello; gcc -c lines.c; gcc -x c lines"
    ),
    "gcc's linker": sh(
        "gcc", "gcc -flto -shared -fPIC -o lib.so one.c two.c && strip lib.so && nm -D lib.so"
    ),
    "g++": sh("g++", f"printf '{CPP}' >a.cpp; g++ -o a a.cpp && ./a"),
    "clang": sh("clang", "clang -O1 -o hello hello.c one.c two.c && ./hello; clang -c nothing.c"),
    "gdb": Case(
        "gdb",
        ["gdb", "-nx", "-q", "-batch", "-ex", f"shell {STATE} found", "-ex", "print 6*7", "-ex", "quit 4"],
    ),
    "git": sh("git", GIT, ignored=(".git",)),
    "tar": sh(
        "tar",
        "tar --mtime=@0 --sort=name -czf a.tgz lines hello.c && tar -tvzf a.tgz | wc -l && rm a.tgz; "
        f"tar -cf a.tar --checkpoint=1 --checkpoint-action=exec='{STATE} found' lines; rm a.tar",
    ),
    "xz": sh("xz", f"xz -kT2 lines; xz -dc lines.xz | {STATE} found; xz -t hello.c"),
    "zstd": sh("zstd", "zstd -q -T2 lines; zstd -dc lines.zst; zstd -t hello.c"),
    "cpio": sh("cpio", "ls *.c | cpio -o --quiet | cpio -it --quiet"),
    "rsync": sh("rsync", "mkdir there; rsync -a *.c there/ && ls there; rsync nothing there/ 2>/dev/null"),
    "python": Case("python3", ["python3", "-c", PYTHON]),
    "node": Case("node", ["node", "-e", NODE]),
    "perl": Case("perl", ["perl", "-e", "$| = 1;" + PERL]),
    "java": Case("java", ["java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-version"]),
    "awk": Case(
        "awk", ["awk", f'BEGIN {{ print system("{STATE} found"); "sort lines" | getline x; exit 9 }}']
    ),
    "m4": Case("m4", ["m4", "-s", "hello.c"]),
    "sqlite3": Case(
        "sqlite3", ["sqlite3", "a.db", "create table t(x)", f".shell {STATE} found", "select 6*7"]
    ),
    "openssl": Case("openssl", ["openssl", "dgst", "-sha256", "lines", "nothing"], r"\b[0-9A-F]{16}\b"),
    "ssh-agent": Case(
        "ssh-agent",
        [
            *("ssh-agent", "-a", "agent", "sh", "-c"),
            f"{STATE} found; ssh-add -l; kill $SSH_AGENT_PID; "
            "while kill -0 $SSH_AGENT_PID 2>/dev/null; do sleep 0.05; done; exit 6",
        ],
        # It is set-group-id, of which the kernel takes `setarch -R`; with the filter it gets no new
        # rights, and loses nothing.
        r"SSH_AGENT_PID=\d+|personality \w+",
    ),
    "script": Case(
        "script", ["script", "-qec", f"{STATE} found; tty; exit 4", "/dev/null"], needs_terminal=True
    ),
    "find": Case(
        "find", ["find", ".", "-name", "lines", "-exec", STATE, "found", ";", "-ls", "-quit"], r".*lines\n"
    ),
    "xargs": sh("xargs", f"echo found | xargs {STATE}; echo $?; printf '%s\\n' a b c | xargs -n1 -P3 true"),
    "parallel sort": sh("sort", "sort --parallel=4 -S 1k --compress-program=gzip lines lines lines"),
    "env": Case("env", ["env", "-i", "A=1", "LC_CTYPE=C", STATE, "found"]),
    "env's signals": Case("env", ["env", "--block-signal=USR1", "--ignore-signal=TERM", STATE, "found"]),
    "nohup": Case("nohup", ["nohup", STATE, "found"]),
    # Makes a group of its own, which at a terminal is the session's bare: it leads that, too.
    "timeout": Case("timeout", ["timeout", "60", STATE, "found"], r"(?<= group )#[01]\b"),
    "timeout that comes": Case("timeout", ["timeout", "-s", "KILL", "0.05", "sleep", "60"]),
    "stdbuf": Case("stdbuf", ["stdbuf", "-o0", STATE, "found"]),
    "nice": Case("nice", ["nice", "-n", "3", STATE, "found"]),
    "flock": Case("flock", ["flock", "lines", STATE, "found"]),
    "setsid": Case("setsid", ["setsid", "-w", STATE, "found"]),
    "setarch": Case("setarch", ["setarch", "-R", STATE, "found"]),
    "ionice": Case("ionice", ["ionice", "-c", "3", STATE, "found"]),
    "taskset": Case("taskset", ["taskset", "-c", str(min(os.sched_getaffinity(0))), STATE, "found"]),
    "chrt": Case("chrt", ["chrt", "-b", "0", STATE, "found"]),
    "choom": Case("choom", ["choom", "-n", "700", "--", STATE, "found"]),
    "prlimit": Case("prlimit", ["prlimit", "--nofile=100", "--core=0", "--stack=1000000", STATE, "found"]),
    "setpriv": Case("setpriv", ["setpriv", "--no-new-privs", "--pdeathsig", "TERM", STATE, "found"]),
    "unshare": Case("unshare", ["unshare", "-Urpf", STATE, "found"], r"(mnt|pid|user):\\?\S*\[\d+\]"),
    "fakeroot": Case(
        "fakeroot",
        ["fakeroot", "sh", "-c", f"{STATE} found; id -u; chown 7:8 lines; stat -c %u:%g lines"],
        r"FAKEROOTKEY=\d+",
    ),
    "ps": Case("ps", ["ps", "-o", "comm=,nice=,user=", "-p", "1"]),
}
FILES = {
    "lines": "".join(f"line {number * 7 % 100}\n" for number in range(300)),
    "lines.c": "no C at all\n",
    "one.c": "int one(void) { return 1; }\n",
    "two.c": "int two(void) { return 2; }\n",
    "hello.c": "#include <stdio.h>\nint one(void), two(void);\n"
    'int main(void) { printf("%d\\n", one() + two()); return 0; }\n',
}


def fill(folder: Path) -> None:
    for name, text in FILES.items():
        (folder / name).write_text(text)


def environment(folder: Path, state: str) -> dict[str, str]:
    """All that a program of the table is told: so that it has neither settings nor a clock of its own."""
    texts = {"MAKEFILE": MAKEFILE, "NINJA": NINJA, "CMAKE": CMAKE}
    return {
        **{name: text.replace(STATE, state) for name, text in texts.items()},
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "TZ": "UTC",
        "SOURCE_DATE_EPOCH": "1700000000",
        "GIT_AUTHOR_DATE": "1700000000 +0000",
        "GIT_COMMITTER_DATE": "1700000000 +0000",
        "GIT_CONFIG_NOSYSTEM": "1",
    }
