/* States what the files of world.dll offer one another. world.dll is in each program of the tests. It takes the
 * place of the system calls by which Wine's programs create and end processes and threads and get handles to them,
 * and tells cbpfire.sys of each, in the thread that makes the call and before the call has an effect for it. So
 * the kernel's callbacks fire for what really happens, and their answers are really applied. Knows no driver under
 * test, and allocates nothing: a process that ends may have left a heap locked. */
#ifndef WORLD_H
#define WORLD_H

#include <stdbool.h>
#include <stdint.h>
#include <windows.h>
#include <winternl.h>

#include "fire_control.h"

#define SELF ((HANDLE) (intptr_t) -1)
#define THIS_THREAD ((HANDLE) (intptr_t) -2)

/* ---- What mingw-w64 does not declare ---- */

NTSTATUS NTAPI NtQueueApcThread(HANDLE thread, void *routine, void *first, void *second, void *third);
NTSTATUS NTAPI NtResumeThread(HANDLE thread, ULONG *count);

struct attribute {
    uintptr_t number, size;
    void *value;
    size_t *returned;
};

struct attributes {
    size_t size;
    struct attribute attributes[1];
};

struct thread_facts { /* THREAD_BASIC_INFORMATION */
    NTSTATUS status;
    void *teb;
    uintptr_t process, thread;
    uintptr_t rest[2];
};

/* ---- ask.c ---- */
bool world_open(void); /* False: cbpfire.sys is not there */
/* Makes any request of fire_control.h. Gives the status of it. */
__declspec(dllexport) uint32_t
    world_control(uint32_t code, const void *in, uint32_t in_size, void *out, uint32_t out_size);
/* Tells of an operation without texts. False: nobody could be told. */
bool world_tell(const struct fire_operation *operation, struct fire_outcome *outcome);

/* ---- handles.c: what a handle is of ---- */
enum object { OTHER_OBJECT, A_PROCESS, A_THREAD };
enum object world_object_of(HANDLE handle);
uint32_t world_granted_access(HANDLE handle);
uint32_t world_process_of(HANDLE process); /* 0: none */
uint32_t world_thread_of(HANDLE thread, uint32_t *pid);

/* ---- inject.c ---- */
void world_remember_path(HMODULE module);
/* Lets a new process, whose first thread has not run, load world.dll before its program. */
bool world_enter(HANDLE process, HANDLE thread);

/* ---- calls.c: the calls that are ours, and the system's own ---- */
struct world_call {
    const char *name;
    void *ours;
    void **system;
};
extern const struct world_call world_calls[];
extern const uint32_t world_call_count;

extern NTSTATUS(NTAPI *world_duplicate)(HANDLE, HANDLE, HANDLE, HANDLE *, ACCESS_MASK, ULONG, ULONG);

#endif
