/* Defines how programs speak to cbpfire.sys, the test-only driver that stands for the part of the kernel that Wine
 * does not have. Knows no driver under test. Everything is METHOD_BUFFERED, in and out at the same address. */
#ifndef FIRE_CONTROL_H
#define FIRE_CONTROL_H

#include <stdint.h>

#define FIRE_DEVICE_PATH L"\\\\.\\CbpFire"
#define FIRE_NT_PATH L"\\??\\CbpFire"
#define FIRE_CODE(function) (0x8c0cu << 16 | 3u << 14 | (uint32_t) (function) << 2)

/* In: a fire_operation and its texts; out: a fire_outcome. It is pended until every callback has returned. */
#define FIRE_OPERATION FIRE_CODE(0x801)
/* Out: a fire_state. */
#define FIRE_STATE FIRE_CODE(0x802)
/* In: an altitude as text of 16-bit units. Takes it as another driver would; nothing: gives it back. */
#define FIRE_TAKE_ALTITUDE FIRE_CODE(0x803)
/* In: a uint32_t. Makes registrations of that fire_registration's kind fail from now on; 0: none. */
#define FIRE_FAIL_REGISTRATIONS FIRE_CODE(0x804)

enum fire_kind {
    FIRE_PROCESS_CREATION = 1, /* with image and command line; out: status, where it is to be refused */
    FIRE_PROCESS_END = 2, /* the threads that are known and have not ended do so first; status: the exit's */
    FIRE_THREAD_CREATION = 3,
    FIRE_THREAD_END = 4,
    FIRE_OTHER_THREADS_END = 5, /* all but thread_id */
    FIRE_TERMINATE = 6, /* another process ends this one; completes at once, and it ends a little later */
    FIRE_PROCESS_HANDLE = 7, /* a handle is opened, or duplicated if source_pid is not 0; out: access */
    FIRE_THREAD_HANDLE = 8,
};

enum fire_flag {
    FIRE_IS_KERNEL_HANDLE = 1,
    FIRE_NAME_IS_NOT_AVAILABLE = 2, /* the image's name is not the one that the file was opened by */
    FIRE_IS_SCRIPTED = 4,           /* the process does not exist: nobody waits for its end */
    FIRE_HAS_NO_IMAGE = 8,          /* the system could not tell image and command line */
};

#define FIRE_TEXTS_MAX 0x20000u

struct fire_operation {
    uint32_t kind, flags;
    uint32_t process_id, thread_id;          /* that it is about */
    uint32_t originator_pid, originator_tid; /* 0: the thread that asks for this */
    uint32_t parent_pid;                     /* 0: the originator */
    uint32_t source_pid, target_pid;         /* of a duplication */
    uint32_t access;                         /* that is asked for */
    uint32_t original_access;                /* as the caller has named it; 0: access */
    uint32_t status;                         /* of an end */
    uint32_t image_size, command_line_size;  /* in bytes; both texts follow, in 16-bit units */
};

struct fire_outcome {
    uint32_t status; /* of a creation: 0, or the NTSTATUS with which it fails */
    uint32_t access; /* that is left */
    uint32_t calls;  /* of callbacks */
    uint32_t reserved;
};

/* What is registered now, and what was not as the documentation of the routines asks for. */
struct fire_state {
    uint32_t process_routines, process_routines_ex2, thread_routines, object_registrations;
    uint32_t running;    /* callbacks that have not returned */
    uint32_t objects;    /* processes and threads that the drivers hold references to */
    uint32_t tokens;     /* likewise */
    uint32_t blocks;     /* of memory with the tag of cbprocess.sys */
    uint32_t violations; /* of a rule of the documentation */
    char violation[128]; /* the first one */
    uint16_t altitude[32];
};

enum fire_registration {
    FIRE_REGISTERS_PROCESSES = 1,
    FIRE_REGISTERS_THREADS = 2,
    FIRE_REGISTERS_OBJECTS = 3
};

#endif
