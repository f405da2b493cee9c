/* Defines what the BPF programs, cbprocess-guard and the core share: records of the ring buffer, the table of
 * tasks, the slots of the gate, and the guard's shared memory. Knows no system call. Fields have a fixed width
 * and no implicit padding; it compiles for BPF, too (there with CBP_TYPES_SUPPLIED).
 *
 * Names of maps and programs are a contract between programs and guard; they stand here as well. Times are
 * nanoseconds of CLOCK_MONOTONIC (bpf_ktime_get_ns) if their name says deadline or time_ns, of CLOCK_BOOTTIME
 * (task->start_boottime) if it says start_ns. Process ids are those of the first PID namespace. */
#ifndef CBP_MACHINE_H
#define CBP_MACHINE_H

#include "cbp_types.h"

#define CBP_MACHINE_VERSION 1u

/* ---- Records: what the programs tell through the ring buffer "records" --------------------------------- */

enum cbp_machine_record_type {
    CBP_MACHINE_FORK = 1,      /* a task is new: a process if process_id == thread_id, else a thread */
    CBP_MACHINE_EXEC = 2,      /* a process executes another image, which has no instruction behind it yet */
    CBP_MACHINE_ARGUMENTS = 3, /* more of the arguments of the EXEC with the same thread_id, before that */
    CBP_MACHINE_EXIT = 4,      /* a task ends */
    CBP_MACHINE_HANDLE = 5,    /* a task operates on another process or thread */
};

#define CBP_MACHINE_RECORD_SIZE_MAX 32768u

/* Each record begins with this and has size bytes, a multiple of 8. */
struct cbp_machine_record {
    uint32_t size;
    uint16_t type;
    uint16_t flags;                 /* CBP_MACHINE_FLAG_ */
    uint32_t process_id, thread_id; /* of the new, executing or ending task; of a HANDLE: of its caller */
    uint64_t time_ns;
    uint64_t start_ns; /* of the process's first thread */
    uint32_t user_id;  /* the real one, in the first user namespace */
    uint32_t parent_process_id;
};
CBP_ASSERT_SIZE(struct cbp_machine_record, 40);

#define CBP_MACHINE_FLAG_LAST 1u       /* EXIT: the process has no other thread that has not come this far */
#define CBP_MACHINE_FLAG_DECIDED 2u    /* EXEC: its file and thread are in "decided"; handlers have had it */
#define CBP_MACHINE_FLAG_INCOMPLETE 4u /* EXEC: path or arguments are cut; /proc may have the rest */
#define CBP_MACHINE_FLAG_SCRIPT 8u     /* EXEC: an interpreter runs for the file that was named */
#define CBP_MACHINE_FLAG_HELD 16u      /* the task waits in the gate; the slot tells the rest */
#define CBP_MACHINE_FLAG_REFUSED 32u   /* HANDLE: strip rules have refused it, in the kernel */
#define CBP_MACHINE_FLAG_WORKER 64u    /* FORK: a worker of the controller is the creator */
#define CBP_MACHINE_FLAG_RELEASED                                                                            \
    128u /* a repeated record, told with HELD before: nobody has read its slot */

struct cbp_machine_fork {
    struct cbp_machine_record record;
    uint32_t creator_process_id, creator_thread_id;
    uint64_t creator_start_ns;
    uint64_t clone_flags;
};
CBP_ASSERT_SIZE(struct cbp_machine_fork, 64);

/* Texts follow, none with a NUL of its own: the path of the executable as its mount shows it (path_size bytes,
 * "" if it cannot be had), what execve was given (given_size), the folder that a relative one begins in
 * (folder_size), and the last arguments_size bytes of the arguments, each of which has its NUL. What precedes
 * these bytes stands in ARGUMENTS records. With FLAG_INCOMPLETE it is a beginning of the arguments, which may
 * end anywhere. */
struct cbp_machine_exec {
    struct cbp_machine_record record;
    uint64_t device, inode;  /* of the file that is mapped; device as stat(2) gives it */
    uint64_t file_change_ns; /* its i_ctime */
    uint32_t old_thread_id;  /* of the thread that executed; it has the leader's id now */
    uint32_t link_count;     /* of the file: 0 if it has been deleted, or is a memfd */
    uint32_t path_size, given_size, folder_size, arguments_size;
    uint64_t execution_count; /* task->self_exec_id: for the entry in "tasks" */
};
CBP_ASSERT_SIZE(struct cbp_machine_exec, 96);

struct cbp_machine_arguments {
    struct cbp_machine_record record;
    uint32_t offset, count; /* in the whole list; bytes that follow */
};
CBP_ASSERT_SIZE(struct cbp_machine_arguments, 48);

struct cbp_machine_exit {
    struct cbp_machine_record record;
    uint32_t exit_status; /* a wait status: of the process if the record has FLAG_LAST, else of the thread */
    uint32_t reserved;
};
CBP_ASSERT_SIZE(struct cbp_machine_exit, 48);

/* Gives the operation by its rights, and by the call for what rights do not tell. */
struct cbp_machine_handle {
    struct cbp_machine_record record;
    uint32_t target_process_id, target_thread_id; /* thread 0: the process as a whole */
    uint64_t target_start_ns;
    uint32_t access;            /* CBP_PROCESS_ or CBP_THREAD_ access bits, as the ptrace driver gives them */
    uint32_t lost_access;       /* of them: what strip rules took */
    uint32_t system_call;       /* its number on this architecture */
    uint32_t source_process_id; /* of a duplication, which the caller gets: that of the target; else 0 */
};
CBP_ASSERT_SIZE(struct cbp_machine_handle, 72);

/* ---- Lists of processes -------------------------------------------------------------------------------- */

/* The iterators list_processes and list_command_lines write one for each process, without any alignment.
 * Texts follow, none with a NUL of its own: the path of the executable or, with FLAG_NAME, the short name
 * (name_size bytes), and the arguments (arguments_size), each with its NUL. size counts all of it. */
struct cbp_machine_listed {
    uint32_t size;
    uint32_t flags; /* CBP_MACHINE_LISTED_ */
    uint32_t process_id, parent_process_id;
    uint64_t start_ns;
    uint64_t execution_count;            /* task->self_exec_id */
    uint32_t user_id, effective_user_id; /* in the first user namespace; the first is the real one */
    uint32_t thread_count;
    uint32_t name_size, arguments_size;
    uint32_t reserved;
};
CBP_ASSERT_SIZE(struct cbp_machine_listed, 56);

#define CBP_MACHINE_LISTED_SIZE_MAX 32768u /* less than what the kernel has for one read */

#define CBP_MACHINE_LISTED_NAME 1u         /* the name is the short one: the process has no executable */
#define CBP_MACHINE_LISTED_NO_NAME 2u      /* only /proc can tell name and arguments */
#define CBP_MACHINE_LISTED_NO_ARGUMENTS 4u /* only /proc can tell the arguments */
/* The process has written another text over its arguments: they are what comes before the first NUL. */
#define CBP_MACHINE_LISTED_TITLE 8u
#define CBP_MACHINE_LISTED_DELETED 16u /* the executable's file has no name any more */
#define CBP_MACHINE_LISTED_ENDED 32u   /* its last thread has begun to end */

/* ---- Tables ---------------------------------------------------------------------------------------------- */

/* The map "tasks" (hash: thread id -> this) has an entry for each process, under the id of its first thread. A
 * thread has one only if the core has given it one (FIRST_THREAD). A fork makes the child's entry: both masks
 * are child_mask, both strip rights are child_strip_access. The end of the process takes it away. After that
 * only the core writes entries: with BPF_EXIST, so that an ended process stays away, and with execution_count
 * from the EXEC that the masks are made for. Until it has done so the process is UNKNOWN if its mask has NAMES. */
struct cbp_machine_task {
    uint32_t mask;       /* CBP_MACHINE_MASK_ */
    uint32_t child_mask; /* what a child begins with */
    uint32_t creator_process_id;
    uint32_t strip_access;     /* rights that strip rules take from everybody but its protected creators */
    uint64_t start_ns;         /* of this task */
    uint64_t creator_start_ns; /* 0: no creator is known */
    uint64_t execution_count;  /* task->self_exec_id of the image that the masks are made for */
    uint32_t child_strip_access;
    uint32_t reserved;
};
CBP_ASSERT_SIZE(struct cbp_machine_task, 48);

/* The low 6 bits are PROC_EVT_ bits: such an event of the process may be wanted, so its record wakes the
 * controller. The same bits, shifted left by HOLD_SHIFT: the task waits in the gate then. Where such a bit is set
 * the low one is, too. Records of forks, executions and ends of processes are written in any case, so that the
 * core knows every process. */
#define CBP_MACHINE_MASK_HOLD_SHIFT 8u
#define CBP_MACHINE_MASK_UNKNOWN 0x10000u      /* the process has executed; the core has yet to say */
#define CBP_MACHINE_MASK_EXEMPT 0x20000u       /* nothing of it fires or waits, nor of its children */
#define CBP_MACHINE_MASK_NAMES 0x40000u        /* an execution makes it UNKNOWN: there are rules for names */
#define CBP_MACHINE_MASK_FIRST_THREAD 0x80000u /* the thread is a worker: what it forks is EXEMPT */

#define CBP_MACHINE_DECIDED_COUNT 4096u

/* The map "decided" (array; memory that can be mapped) has executions that handlers have allowed, each in the
 * entry thread id % COUNT. The EXEC of that thread with that file is told with FLAG_DECIDED, and frees the entry.
 * Where two threads share an entry, the execution of the earlier one is told as an undecided one: the core knows
 * better. */
struct cbp_machine_decided {
    uint32_t thread_id;       /* atomic; 0: none. The core writes it, and last; programs make it 0 */
    uint32_t taken_thread_id; /* the program's: whose EXEC has freed the entry, */
    uint64_t taken_stamp;     /* and which execution that was */
    uint64_t device, inode;
};
CBP_ASSERT_SIZE(struct cbp_machine_decided, 32);

/* The map "settings" (array, one entry; memory that can be mapped). Guard and core write it. */
struct cbp_machine_settings {
    uint32_t is_on;                 /* programs do nothing while it is 0 */
    uint32_t controller_process_id; /* nothing that it does itself fires or waits (OWN lifts that) */
    uint32_t guard_process_id;      /* nor this one */
    uint32_t gate_process_id;       /* the process that has the gate's pages mapped; 0: the gate is shut */
    uint64_t gate_address;          /* there; page N belongs to slot N */
    uint32_t default_mask;          /* of tasks without an entry, and of children of such */
    uint32_t observes_own;          /* FilterOwnRequests: the controller's requests are told, never held */
    uint64_t lost[8];               /* records that the ring had no room for, by type; written by programs.
                                       lost[0]: new processes that "tasks" had no room for */
    uint32_t unknown_mask;          /* bits that an UNKNOWN process has besides those of its mask */
    uint32_t has_copies;            /* the copies of programs (names that end in a digit) are loaded, too */
    uint64_t gate_full;             /* operations that went on because no slot was free */
    uint64_t unanswered;            /* operations that went on although nobody had answered */
    uint64_t waked;                 /* records that woke the controller: for tests */
    uint32_t is_dozing; /* 1: the core looks at the ring by itself, so no record wakes it. A program reads it
                            after it has reserved the room of its record */
    uint32_t reserved;
};
CBP_ASSERT_SIZE(struct cbp_machine_settings, 136);

/* ---- Looks at executions that wait in fanotify ----------------------------------------------------------- */

#define CBP_MACHINE_LOOK_GIVEN_SIZE 256u
#define CBP_MACHINE_LOOK_POINTERS_SIZE 128u
#define CBP_MACHINE_LOOK_PATH_END 4096u

/* The map "looks" (array, one entry; memory that can be mapped). The core sets what it wants to know and runs the
 * program "look" in the process that has the descriptor. What cannot be had is 0. */
struct cbp_machine_look {
    uint32_t thread_id;  /* set by the core, as is the next one */
    int32_t descriptor;  /* of the file; -1: none */
    uint32_t process_id; /* 0: there is no such thread */
    uint32_t user_id;    /* the real one, in the first user namespace */
    uint64_t start_ns;   /* of the process's first thread */
    uint64_t call;       /* the number of the system call that the thread is in */
    uint64_t arguments[5];
    uint64_t stack_pointer; /* 0: the kernel itself executes */
    uint64_t device, inode; /* of the file, as in EXEC records */
    uint32_t flags;         /* CBP_MACHINE_LOOK_ */
    uint32_t pointers_size; /* bytes of the beginning of the argument list */
    uint32_t given_size;    /* bytes at the place of the given name, which need not have its end */
    uint32_t path_size;     /* of the file's path, as the core's root and mounts show it */
    uint8_t pointers[CBP_MACHINE_LOOK_POINTERS_SIZE];
    char given[CBP_MACHINE_LOOK_GIVEN_SIZE];
    char path[CBP_MACHINE_LOOK_PATH_END + 256u]; /* it ends at PATH_END, where there is no NUL */
    uint64_t path_begin;
};
CBP_ASSERT_SIZE(struct cbp_machine_look, 112 + 128 + 256 + 4096 + 256 + 8);

#define CBP_MACHINE_LOOK_EXECVE 1u   /* the call is execve */
#define CBP_MACHINE_LOOK_EXECVEAT 2u /* it is execveat */
#define CBP_MACHINE_LOOK_NARROW 4u   /* pointers in its lists have 4 bytes */
#define CBP_MACHINE_LOOK_DELETED 8u  /* the path no longer leads to the file */
#define CBP_MACHINE_LOOK_SHARED 16u  /* a thread that runs can write to the memory of the waiting one */

/* ---- The gate: slots are the map "slots" (array that can be mapped) --------------------------------------- */

#define CBP_MACHINE_SLOT_COUNT 512u
#define CBP_MACHINE_SLOT_SIZE 4096u

/* A task takes a slot, fills it, sets the state to WAITING, and reads page N of the gate, which the controller
 * answers after it has set the verdict by compare-and-swap. Any end of the read without a verdict lets the
 * operation go on. state = generation << 8 | one of: */
enum cbp_machine_slot_state {
    CBP_MACHINE_SLOT_FREE = 0,
    CBP_MACHINE_SLOT_WAITING = 1,
    CBP_MACHINE_SLOT_ALLOWED = 2,
    CBP_MACHINE_SLOT_REFUSED = 3,
    CBP_MACHINE_SLOT_FILLING = 4,
};

enum cbp_machine_stop {
    CBP_MACHINE_STOP_START = 1, /* a new task, before its first instruction; refused: SIGKILL */
    CBP_MACHINE_STOP_EXEC = 2,  /* before the first instruction of the new image; refused: SIGKILL */
    CBP_MACHINE_STOP_EXIT = 3,  /* a task ends; nothing can be refused */
    CBP_MACHINE_STOP_HANDLE = 4 /* a call, which begins again after the verdict; refused: EPERM */
};

/* body is the task's record. Of an EXEC it has only ids and execution_count, and FLAG_INCOMPLETE: the record with
 * FLAG_HELD in the ring buffer has the rest, and so has the waiting task's memory. */
struct cbp_machine_slot {
    uint64_t state; /* atomic */
    uint64_t entered_ns;
    uint64_t
        request_id; /* atomic; of the page read, by its reader in the controller; 0: nobody has read it */
    uint64_t deadline_ns;     /* atomic; written by the controller; 0: none, UINT64_MAX: not decided yet */
    uint32_t stop;            /* CBP_MACHINE_STOP_ */
    uint32_t timeout_refuses; /* the guard sets REFUSED in place of ALLOWED when the deadline passes */
    uint8_t body[CBP_MACHINE_SLOT_SIZE - 40];
};
CBP_ASSERT_SIZE(struct cbp_machine_slot, CBP_MACHINE_SLOT_SIZE);

/* ---- The guard's shared memory (memfd, sealed against shrinking) ------------------------------------------ */

#define CBP_MACHINE_HELD_COUNT 4096u

/* An execution that the controller has read from the fanotify group. It is known to the kernel by the number
 * of its descriptor in the controller, whose copy is closed only after it has been answered. Life of state:
 * FREE -> (controller) OPEN -> (whoever swaps it first) ANSWERED by the controller, which writes the response,
 * or EXPIRING by the guard, which writes it and sets EXPIRED. The controller frees the entry before it closes
 * its descriptor, so no number in the table can be another execution's. */
enum cbp_machine_held_state {
    CBP_MACHINE_HELD_FREE = 0,
    CBP_MACHINE_HELD_OPEN = 1,
    CBP_MACHINE_HELD_ANSWERED = 2,
    CBP_MACHINE_HELD_EXPIRED = 3,
    CBP_MACHINE_HELD_EXPIRING = 4, /* the guard has yet to write the response */
};

struct cbp_machine_held {
    uint32_t state; /* atomic */
    int32_t descriptor;
    uint64_t deadline_ns; /* atomic; 0: none while the heartbeat lives */
    uint32_t group;       /* which of the guard's groups: 0 or 1 */
    uint32_t timeout_refuses;
};
CBP_ASSERT_SIZE(struct cbp_machine_held, 24);

struct cbp_machine_shared {
    uint32_t magic; /* CBP_MACHINE_MAGIC */
    uint32_t version;
    uint64_t heartbeat_ns;  /* atomic; the dispatcher's last beat */
    uint32_t timeout_ms;    /* atomic; the longest of all sessions; 0: none */
    uint32_t silence_ms;    /* atomic; a heartbeat older than this means that the controller is dead */
    uint64_t read_count;    /* atomic; fanotify events that the controller has read */
    uint32_t needs_reading; /* atomic; 1: the controller has no descriptors: the guard reads and allows */
    uint32_t reserved;
    uint64_t timed_out;  /* atomic; by the guard: operations whose deadline passed */
    uint64_t let_go;     /* atomic; by the guard: operations that it read itself and allowed */
    uint64_t marks_lost; /* atomic; by the guard: file systems that could not be marked */
    struct cbp_machine_held held[CBP_MACHINE_HELD_COUNT];
};
CBP_ASSERT_SIZE(struct cbp_machine_shared, 64 + CBP_MACHINE_HELD_COUNT * 24);

#define CBP_MACHINE_MAGIC 0x6d504243u /* "CBPm" */

/* ---- The guard's socket: SOCK_SEQPACKET, one request, one reply --------------------------------------------- */

/* The guard inherits these. */
#define CBP_GUARD_SOCKET 3
#define CBP_GUARD_CONTROLLER 4 /* a pidfd of the controller */
#define CBP_GUARD_TEXT_MAX 131072u

enum cbp_guard_request_type {
    CBP_GUARD_HELLO = 1,    /* loads the programs; the reply's descriptors are listed below. value: number of
                               a descriptor that the controller keeps open as long as the guard lives; the
                               guard reads fanotify events under it, so no event has a number of another's */
    CBP_GUARD_PROGRAMS = 2, /* value: CBP_GUARD_PROGRAM_ bits to have attached from now on */
    CBP_GUARD_MARKS = 3,    /* value: CBP_GUARD_MARKS_; text: paths, each with its NUL */
    CBP_GUARD_ALTITUDE = 4, /* value: the highest altitude of the controller's sessions */
    CBP_GUARD_CLOSE = 5,    /* detaches everything; the guard ends after its reply */
    CBP_GUARD_TASKS = 6,    /* needs no HELLO: loads the lists of processes alone */
};

#define CBP_GUARD_PROGRAM_PROCESSES 1u /* forks, executions, ends: always */
#define CBP_GUARD_PROGRAM_HANDLES 2u   /* handle operations: LSM where active, else entries of system calls */
#define CBP_GUARD_PROGRAM_GATE 4u

#define CBP_GUARD_MARKS_NONE 0u
#define CBP_GUARD_MARKS_FILES 1u       /* these files alone */
#define CBP_GUARD_MARKS_FILESYSTEMS 2u /* the file systems of these paths */
#define CBP_GUARD_MARKS_EVERYTHING 3u  /* every file system, also those that are mounted later */

struct cbp_guard_request {
    uint32_t type, version;
    uint64_t value;
    uint32_t text_size; /* bytes that follow */
    uint32_t reserved;
};
CBP_ASSERT_SIZE(struct cbp_guard_request, 24);

/* The text says what failed. */
struct cbp_guard_reply {
    uint32_t status;    /* a Win32 error code */
    uint32_t abilities; /* CBP_GUARD_CAN_ bits */
    uint32_t text_size; /* bytes that follow */
    uint32_t descriptor_count;
};
CBP_ASSERT_SIZE(struct cbp_guard_reply, 16);

#define CBP_GUARD_CAN_OBSERVE 1u /* programs of processes are loaded */
#define CBP_GUARD_CAN_SEE_HANDLES 2u
#define CBP_GUARD_CAN_ENFORCE_HANDLES 4u /* BPF LSM is active */
#define CBP_GUARD_CAN_GATE 8u
#define CBP_GUARD_CAN_HOLD_FILES 16u   /* fanotify has permission events */
#define CBP_GUARD_CAN_GATE_HANDLES 32u /* LSM and the gate: a handler decides about handle operations */

/* HELLO's descriptors, in this order; a missing one is /dev/null. */
enum cbp_guard_descriptor {
    CBP_GUARD_FD_SHARED,         /* memfd: cbp_machine_shared */
    CBP_GUARD_FD_RECORDS,        /* map: ring buffer */
    CBP_GUARD_FD_TASKS,          /* map */
    CBP_GUARD_FD_DECIDED,        /* map */
    CBP_GUARD_FD_SETTINGS,       /* map */
    CBP_GUARD_FD_SLOTS,          /* map */
    CBP_GUARD_FD_GATE,           /* /dev/fuse, non-blocking: page reads of the gate */
    CBP_GUARD_FD_UPPER,          /* fanotify group 0, non-blocking: asked first on this machine */
    CBP_GUARD_FD_LOWER,          /* fanotify group 1, non-blocking */
    CBP_GUARD_FD_TASKS_ITERATOR, /* link of the iterator list_processes */
    CBP_GUARD_FD_LOOK,           /* program "look"; missing before Linux 6.10 */
    CBP_GUARD_FD_LOOKS,          /* its map */
    CBP_GUARD_FD_COUNT
};

/* The descriptors of TASKS, likewise. */
enum cbp_guard_tasks_descriptor {
    CBP_GUARD_TASKS_FD_PROCESSES,     /* link of list_processes */
    CBP_GUARD_TASKS_FD_COMMAND_LINES, /* link of list_command_lines; missing before Linux 6.1 */
    CBP_GUARD_TASKS_FD_COUNT
};

#endif
