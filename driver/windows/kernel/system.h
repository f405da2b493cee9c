/* Brings in the kernel's own declarations, with corrections where a compiler's headers are wrong or older than
 * the system. Offers what is found at run time, because a supported version of Windows may lack it.
 *
 * Knows nothing of cbprocess. The only files that may include <ntifs.h> are this one and system.c. */
#ifndef CBPD_SYSTEM_H
#define CBPD_SYSTEM_H

/* mingw-w64's kernel headers know no ARM64. Of the architectures that they know this one has its sizes and
 * alignments, and no inline function with instructions of another machine. tests/windows/kernel/static checks
 * the layouts that follow from it. */
#if defined(__MINGW32__) && defined(__aarch64__)
#define _IA64_ 1
#define _M_IA64 1
#endif
#include <ntifs.h>
#if defined(__MINGW32__) && defined(__aarch64__)
#undef _IA64_
#undef _M_IA64
/* IoSetCancelRoutine() is made of it. */
#define InterlockedExchangePointer(word, value) __atomic_exchange_n(word, value, __ATOMIC_SEQ_CST)
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* mingw-w64 declares the object types so that their names mean a jump in our own code. The entry of the import
 * table holds what Microsoft's names mean: the address of the kernel's variable. */
#if defined(__MINGW32__)
extern POBJECT_TYPE *__imp_PsProcessType;
extern POBJECT_TYPE *__imp_PsThreadType;
extern POBJECT_TYPE *__imp_SeTokenObjectType;
#define CBPD_PROCESS_TYPE (__imp_PsProcessType)
#define CBPD_THREAD_TYPE (__imp_PsThreadType)
#define CBPD_TOKEN_TYPE (__imp_SeTokenObjectType)
#else
#define CBPD_PROCESS_TYPE (PsProcessType)
#define CBPD_THREAD_TYPE (PsThreadType)
#define CBPD_TOKEN_TYPE (SeTokenObjectType)
#endif

#if defined(_WIN32) /* not in every header */
NTKERNELAPI NTSTATUS NTAPI PsGetProcessExitStatus(PEPROCESS process);
#endif

#ifndef STATUS_FLT_INSTANCE_ALTITUDE_COLLISION
#define STATUS_FLT_INSTANCE_ALTITUDE_COLLISION ((NTSTATUS) 0xc01c0011)
#endif

/* Finds what is found at run time. False: this system is older than the driver supports. Call it first. */
bool cbpd_system_find(void);

/* Nonpaged memory that no code runs in, all 0; NULL: none. Any IRQL up to DISPATCH_LEVEL. */
void *cbpd_system_allocate(size_t size);
void cbpd_system_free(void *memory);

/* The performance counter, and how often it counts in a second. Any IRQL. */
uint64_t cbpd_system_ticks(uint64_t *per_second);
/* Units of 100 ns since 1601. Any IRQL. */
uint64_t cbpd_system_time(void);

/* Registers the routine for processes, also for those of other subsystems where the system tells of them, or
 * removes it again. PASSIVE_LEVEL. */
NTSTATUS cbpd_system_notify_processes(PCREATE_PROCESS_NOTIFY_ROUTINE_EX routine, BOOLEAN remove);

/* Like ZwQuerySystemInformation(), which mingw-w64 does not declare. PASSIVE_LEVEL. */
NTSTATUS cbpd_system_information(ULONG information_class, void *buffer, ULONG size, ULONG *needed);

/* Reads the name of a file on its volume, without abbreviated parts, and gives its size in bytes.
 * STATUS_NOT_SUPPORTED: this system does not tell it. PASSIVE_LEVEL. */
NTSTATUS cbpd_system_file_name(PFILE_OBJECT file, WCHAR *name, ULONG size, ULONG *name_size);

/* Translates a failure to a Win32 error code, which is never 0. Success gives 0. */
uint32_t cbpd_error_of(NTSTATUS status);

#endif
