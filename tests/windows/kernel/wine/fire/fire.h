/* States what the files of cbpfire.sys offer one another. This driver runs under Wine only, where drivers are
 * user-mode code of winedevice.exe: it uses the Win32 API beside the kernel's. It knows no driver under test. */
#ifndef FIRE_H
#define FIRE_H

#include <ntifs.h>
#include <stdbool.h>

#include "fire_control.h"

struct fire_region { /* MEMORY_BASIC_INFORMATION */
    uint8_t *base, *allocation_base;
    uint64_t rest[4];
};

/* ---- The Win32 API: its header and the kernel's exclude each other ---- */
#define INFINITE_ 0xffffffffu
#define W32 __declspec(dllimport)
W32 uint32_t NTAPI TlsAlloc(void);
W32 void *NTAPI TlsGetValue(uint32_t slot);
W32 int NTAPI TlsSetValue(uint32_t slot, void *value);
W32 HANDLE NTAPI CreateThread(void *, SIZE_T, uint32_t(NTAPI *routine)(void *), void *context, uint32_t,
                              uint32_t *);
W32 HANDLE NTAPI OpenProcess(uint32_t access, int inherits, uint32_t pid);
W32 HANDLE NTAPI GetCurrentProcess(void);
W32 uint32_t NTAPI GetCurrentProcessId(void);
W32 int NTAPI TerminateProcess(HANDLE process, uint32_t status);
W32 int NTAPI GetExitCodeProcess(HANDLE process, uint32_t *status);
W32 int NTAPI DuplicateHandle(HANDLE, HANDLE, HANDLE, HANDLE *, uint32_t access, int inherits,
                              uint32_t options);
W32 int NTAPI CloseHandle(HANDLE handle);
W32 uint32_t NTAPI WaitForSingleObject(HANDLE handle, uint32_t ms);
W32 void NTAPI Sleep(uint32_t ms);
W32 int NTAPI VirtualFree(void *address, SIZE_T size, uint32_t type);
W32 void *NTAPI VirtualAlloc(void *address, SIZE_T size, uint32_t type, uint32_t protection);
W32 int NTAPI VirtualProtect(void *address, SIZE_T size, uint32_t protection, uint32_t *previous);
W32 SIZE_T NTAPI VirtualQuery(const void *address, struct fire_region *region, SIZE_T size);
W32 void *NTAPI GetModuleHandleA(const char *name);
W32 uint32_t NTAPI QueryDosDeviceW(const WCHAR *name, WCHAR *target, uint32_t size);
W32 void NTAPI AcquireSRWLockExclusive(void **lock);
W32 void NTAPI ReleaseSRWLockExclusive(void **lock);
W32 void NTAPI GetSystemTimePreciseAsFileTime(LARGE_INTEGER *time);
W32 NTSTATUS NTAPI NtSuspendProcess(HANDLE process);

/* ---- main.c ---- */
void fire_lock(void); /* guards everything that the files keep */
void fire_unlock(void);
void *fire_allocate(SIZE_T size); /* all 0; never NULL: this driver ends its process then */
void fire_free(void *memory);
/* Notes that the driver under test breaks a rule of the documentation. */
void fire_violation(const char *rule);

/* ---- exports.c: functions of ntoskrnl.exe that are ours for every driver that is loaded later ---- */
struct fire_export {
    const char *name;
    void *function;
    void **original; /* NULL, or where Wine's own goes; NULL there: it has none */
};
struct fire_exports {
    const struct fire_export *exports;
    uint32_t count;
};
bool fire_exports_replace(const struct fire_exports *lists, uint32_t count);

/* ---- objects.c: processes, threads and tokens as drivers see them ---- */
struct fire_object;
/* Finds a process that lives, or makes one of what Wine says of it (is_scripted: of nothing). NULL: none. The
 * reference is the caller's. */
struct fire_object *fire_process(uint32_t pid, bool is_scripted);
struct fire_object *fire_thread(uint32_t pid, uint32_t tid);
/* A thread that lives and whose end nobody fires, or NULL; is_ending: the end of some other is being fired. */
struct fire_object *fire_thread_of(struct fire_object *process, uint32_t but_tid, bool *is_ending);
void fire_thread_ended(struct fire_object *thread);
void fire_process_ended(struct fire_object *process);
void fire_object_retain(struct fire_object *object);
void fire_object_release(struct fire_object *object);
uint32_t fire_object_pid(const struct fire_object *object);
uint32_t fire_object_tid(const struct fire_object *object);
HANDLE fire_process_handle(const struct fire_object *process); /* NULL: it is scripted */
void fire_set_exit_status(struct fire_object *process, uint32_t status);
/* True once for each process and thread: its end is to be fired now. */
bool fire_takes_end(struct fire_object *object);
POBJECT_TYPE *fire_type(const WCHAR *name); /* the kernel's variable of that name */
void fire_objects_describe(struct fire_state *state);
extern const struct fire_exports fire_object_exports;

/* ---- originator.c: for whom a thread of ours makes callbacks ---- */
void fire_originator_set(uint32_t pid, uint32_t tid); /* 0, 0: for nobody */
bool fire_has_originator(void);
uint32_t fire_current_pid(void);
uint32_t fire_current_tid(void);
extern const struct fire_exports fire_originator_exports;

/* ---- registrations.c: the routines that drivers register, and their calls ---- */
/* Each gives the number of calls. */
uint32_t fire_call_process_routines(struct fire_object *process, PPS_CREATE_NOTIFY_INFO information);
uint32_t fire_call_thread_routines(uint32_t pid, uint32_t tid, bool is_creation);
uint32_t fire_call_object_callbacks(struct fire_object *object, const struct fire_operation *operation,
                                    uint32_t *access);
NTSTATUS fire_take_altitude(const WCHAR *altitude, uint32_t size);
void fire_fail_registrations(uint32_t kind);
void fire_registrations_describe(struct fire_state *state);
extern const struct fire_exports fire_registration_exports;

/* ---- stand_ins.c: other functions that Wine has as stubs ---- */
void fire_stand_ins_describe(struct fire_state *state);
extern const struct fire_exports fire_stand_in_exports;

/* ---- operations.c ---- */
/* Does what a program asks for, in a thread of its own; size: of the operation with its texts. */
void fire_operate(const struct fire_operation *operation, struct fire_outcome *outcome);
bool fire_operation_is_valid(const struct fire_operation *operation, uint32_t size);

#endif
