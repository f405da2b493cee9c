"""Loads the BPF programs without the guard and reads what they tell.

Knows cbp_machine.h (by hand, on purpose: an independent reader of the records) and the kernel's ring buffer.
Nothing is held by these programs. Everything goes with the object."""

from __future__ import annotations

import ctypes
import importlib.util
import mmap
import os
import struct
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import cbprocess

FORK, EXEC, ARGUMENTS, EXIT, HANDLE = 1, 2, 3, 4, 5
LAST, DECIDED, INCOMPLETE, SCRIPT, HELD, REFUSED, WORKER, RELEASED = (1 << bit for bit in range(8))
PROCESS_CREATION, PROCESS_TERMINATION, PROCESS_HANDLE = 1, 2, 4
THREAD_CREATION, THREAD_TERMINATION, THREAD_HANDLE = 8, 16, 32
UNKNOWN, EXEMPT, NAMES, FIRST_THREAD = 0x10000, 0x20000, 0x40000, 0x80000
HOLD_SHIFT = 8

PAGE = mmap.PAGESIZE
BUSY, DISCARDED = 1 << 31, 1 << 30
BPF_MAP_LOOKUP_ELEM, BPF_MAP_UPDATE_ELEM, BPF_MAP_DELETE_ELEM, BPF_MAP_GET_NEXT_KEY = 1, 2, 3, 4
SYS_BPF = {"x86_64": 321, "aarch64": 280}[os.uname().machine]

TASK = struct.Struct("=IIIIQQQII")
DECIDED_VALUE = struct.Struct("=IIQQQ")
DECIDED_COUNT = 4096
SETTINGS = {
    "is_on": (0, "I"),
    "controller_process_id": (4, "I"),
    "guard_process_id": (8, "I"),
    "gate_process_id": (12, "I"),
    "gate_address": (16, "Q"),
    "default_mask": (24, "I"),
    "observes_own": (28, "I"),
    "unknown_mask": (96, "I"),
    "has_copies": (100, "I"),
    "gate_full": (104, "Q"),
    "unanswered": (112, "Q"),
    "waked": (120, "Q"),
    "is_dozing": (128, "I"),
}
SETTINGS_SIZE, LOST_OFFSET, LOST_COUNT = 136, 32, 8


def bpf_table() -> Any:
    """tools/bpf_table.py as a module."""
    name = "bpf_table"
    if name not in sys.modules:
        path = Path(__file__).resolve().parents[3] / "tools" / "bpf_table.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec and spec.loader
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def has_copies() -> bool:
    """Whether tracepoints of this kernel are preemptible, so that programs have copies."""
    return bool(bpf_table().kernel_version() >= bpf_table().FIRST_OF_COPIES)


def of_this_kernel(name: str) -> str:
    """The form of an object, which has another one for such kernels, for this one."""
    return f"{name}7" if has_copies() else name


def objects_folder() -> Path:
    """Where the objects lie; the library, which lies there too, is not needed."""
    folder = os.environ.get("CBPROCESS_NATIVE_DIR")
    return Path(folder) if folder else Path(cbprocess.__file__).parent / "_native"


def obstacle() -> str:
    """Why the programs cannot be tested here, or ""."""
    if os.geteuid() != 0:
        return "BPF programs need root"
    if not (objects_folder() / "processes.bpf.o").exists():
        return "the build made no BPF objects"
    if not Path("/sys/kernel/btf/vmlinux").exists():
        return "the kernel has no BTF"
    return ""


@dataclass
class Record:
    type: int
    flags: int
    process_id: int
    thread_id: int
    time_ns: int
    start_ns: int
    user_id: int
    parent_process_id: int
    body: bytes
    arguments: list[bytes] = field(default_factory=list)
    is_cut: bool = False

    @classmethod
    def of(cls, data: bytes) -> Record:
        size, kind, flags, process, thread, when, start, user, parent = struct.unpack_from("=IHHIIQQII", data)
        assert size == len(data) and size % 8 == 0
        return cls(kind, flags, process, thread, when, start, user, parent, data[40:])

    def fork(self) -> tuple[int, int, int, int]:
        """Creator's process and thread, its start, and the flags of clone."""
        assert self.type == FORK
        process, thread, start, flags = struct.unpack("=IIQQ", self.body)
        return process, thread, start, flags

    def exec(self) -> dict[str, Any]:
        assert self.type == EXEC
        names = ("device", "inode", "file_change_ns", "old_thread_id", "link_count")
        names += ("path_size", "given_size", "folder_size", "arguments_size", "execution_count")
        values: dict[str, Any] = dict(zip(names, struct.unpack_from("=QQQIIIIIIQ", self.body)))
        at = struct.calcsize("=QQQIIIIIIQ")
        for name in ("path", "given", "folder", "arguments"):
            values[name] = self.body[at : at + values[f"{name}_size"]]
            at += values[f"{name}_size"]
        return values

    @property
    def exit_status(self) -> int:
        assert self.type == EXIT
        return int(struct.unpack_from("=I", self.body)[0])

    def handle(self) -> dict[str, int]:
        assert self.type == HANDLE
        names = ("target_process_id", "target_thread_id", "target_start_ns", "access", "lost_access")
        names += ("system_call", "source_process_id")
        return dict(zip(names, struct.unpack("=IIQIIII", self.body)))


def _bpf(command: int, *values: tuple[str, int]) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    attributes = struct.pack("=" + "".join(kind for kind, _ in values), *(value for _, value in values))
    attributes = attributes.ljust(128, b"\0")
    result = int(libc.syscall(SYS_BPF, command, attributes, len(attributes)))
    return result if result >= 0 else -ctypes.get_errno()


class Map:
    def __init__(self, descriptor: int, key_size: int, value_size: int) -> None:
        self._descriptor, self._key_size, self._value_size = descriptor, key_size, value_size

    def _element(self, command: int, key: bytes, value: Any, flags: int = 0) -> int:
        key_buffer = ctypes.create_string_buffer(key, self._key_size)
        return _bpf(
            command,
            ("I", self._descriptor),
            ("I", 0),
            ("Q", ctypes.addressof(key_buffer)),
            ("Q", ctypes.addressof(value) if value is not None else 0),
            ("Q", flags),
        )

    def get(self, key: int) -> Optional[bytes]:
        value = ctypes.create_string_buffer(self._value_size)
        if self._element(BPF_MAP_LOOKUP_ELEM, struct.pack("=I", key), value) != 0:
            return None
        return value.raw

    def put(self, key: int, value: bytes) -> None:
        buffer = ctypes.create_string_buffer(value, self._value_size)
        assert self._element(BPF_MAP_UPDATE_ELEM, struct.pack("=I", key), buffer) == 0

    def remove(self, key: int) -> None:
        self._element(BPF_MAP_DELETE_ELEM, struct.pack("=I", key), None)

    def keys(self) -> Iterator[int]:
        found = ctypes.create_string_buffer(self._key_size)
        key: bytes = b""
        while True:
            key_buffer = ctypes.create_string_buffer(key, self._key_size)
            address = ctypes.addressof(key_buffer) if key else 0
            values = (("I", self._descriptor), ("I", 0), ("Q", address), ("Q", ctypes.addressof(found)))
            if _bpf(BPF_MAP_GET_NEXT_KEY, *values) != 0:
                return
            key = found.raw
            yield int(struct.unpack("=I", key)[0])


class Ring:
    """Reads the kernel's ring buffer; a reader apart from the library's own."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._size = size
        self._consumer = mmap.mmap(descriptor, PAGE)
        self._data = mmap.mmap(descriptor, PAGE + 2 * size, prot=mmap.PROT_READ, offset=PAGE)
        self._position = struct.unpack_from("=Q", self._consumer)[0]

    def read(self) -> Iterator[bytes]:
        while self._position < struct.unpack_from("=Q", self._data)[0]:
            at = PAGE + self._position % self._size
            length = struct.unpack_from("=I", self._data, at)[0]
            if length & BUSY:
                return
            data = self._data[at + 8 : at + 8 + (length & ~DISCARDED)]
            self._position += (8 + len(data) + 7) & ~7
            struct.pack_into("=Q", self._consumer, 0, self._position)
            if not length & DISCARDED:
                yield data

    def close(self) -> None:
        self._consumer.close()
        self._data.close()


class Programs:
    """The programs of processes.bpf.o, and those of other objects if they are named, loaded and attached."""

    def __init__(self, *others: str, ring_size: int = 16 << 20, **settings: int) -> None:
        table = bpf_table()
        libbpf = table.Libbpf()
        folder = objects_folder()
        self.objects = [table.BpfObject(libbpf, folder / f"{of_this_kernel('processes')}.bpf.o")]
        self.objects[0].set_map_size("records", ring_size)
        self.objects[0].load()
        self.ring = Ring(self.objects[0].map_descriptor("records"), ring_size)
        self.tasks = Map(self.objects[0].map_descriptor("tasks"), 4, TASK.size)
        self.decided = Map(self.objects[0].map_descriptor("decided"), 4, DECIDED_VALUE.size)
        self._settings = mmap.mmap(self.objects[0].map_descriptor("settings"), PAGE)
        for name in others:
            self.objects.append(table.BpfObject(libbpf, folder / f"{name}.bpf.o"))
            self.objects[-1].share_maps(self.objects[0])
            self.objects[-1].load()
        self.set(has_copies=int(has_copies()), **settings)
        for loaded in self.objects:
            loaded.attach()
        self.set(is_on=1)
        self._chunks: dict[int, dict[int, bytes]] = {}

    def __enter__(self) -> Programs:
        return self

    def __exit__(self, *_: object) -> None:
        self.set(is_on=0)
        self.ring.close()
        self._settings.close()
        for loaded in reversed(self.objects):
            loaded.close()

    def decide(self, thread_id: int, path: str) -> None:
        """As the core notes that this thread may execute this file."""
        of_file = os.stat(path)
        value = DECIDED_VALUE.pack(thread_id, 0, 0, of_file.st_dev, of_file.st_ino)
        self.decided.put(thread_id % DECIDED_COUNT, value)

    def reset(self) -> None:
        """As after loading: a load costs more than most tests."""
        has_copies = self.setting("has_copies")
        for key in list(self.tasks.keys()):
            self.tasks.remove(key)
        self._settings[:SETTINGS_SIZE] = b"\0" * SETTINGS_SIZE
        self.set(has_copies=has_copies, is_on=1)
        for _ in self.ring.read():
            pass
        self._chunks.clear()

    def set(self, **settings: int) -> None:
        for name, value in settings.items():
            offset, kind = SETTINGS[name]
            struct.pack_into("=" + kind, self._settings, offset, value)

    def setting(self, name: str) -> int:
        offset, kind = SETTINGS[name]
        return int(struct.unpack_from("=" + kind, self._settings, offset)[0])

    @property
    def lost(self) -> list[int]:
        return list(struct.unpack_from(f"={LOST_COUNT}Q", self._settings, LOST_OFFSET))

    def set_task(self, thread_id: int, mask: int, child_mask: Optional[int] = None, **more: int) -> None:
        child_mask = mask if child_mask is None else child_mask
        creator, strip = more.get("creator", 0), more.get("strip", 0)
        starts = more.get("start", 0), more.get("creator_start", 0)
        count = more.get("execution_count", 0)
        value = TASK.pack(mask, child_mask, creator, strip, *starts, count, more.get("child_strip", 0), 0)
        self.tasks.put(thread_id, value)

    def task(self, thread_id: int) -> Optional[dict[str, int]]:
        value = self.tasks.get(thread_id)
        names = ("mask", "child_mask", "creator", "strip", "start", "creator_start", "execution_count")
        return None if value is None else dict(zip((*names, "child_strip", "_"), TASK.unpack(value)))

    def read(self) -> Iterator[Record]:
        """What has been told; ARGUMENTS are put together with their EXEC."""
        for data in self.ring.read():
            record = Record.of(data)
            if record.type == ARGUMENTS:
                offset, count = struct.unpack_from("=II", record.body)
                self._chunks.setdefault(record.thread_id, {})[offset] = record.body[8 : 8 + count]
                continue
            if record.type == EXEC:
                chunks = self._chunks.pop(record.thread_id, {})
                whole = b"".join(chunks[offset] for offset in sorted(chunks)) + record.exec()["arguments"]
                record.is_cut = bool(record.flags & INCOMPLETE)
                record.arguments = whole.split(b"\0")[:-1]
            yield record

    def read_until(self, is_end: Callable[[Record], bool], seconds: float = 10) -> list[Record]:
        records = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for record in self.read():
                records.append(record)
                if is_end(record):
                    return records
            time.sleep(0.005)
        raise AssertionError(f"the record did not come; {len(records)} others did")

    def read_process(self, process_id: int) -> list[Record]:
        """All that is told of a process until its end, with the fork that made it."""
        records = self.read_until(
            lambda r: r.type == EXIT and r.process_id == process_id and r.flags & LAST > 0
        )
        return [record for record in records if record.process_id == process_id]
