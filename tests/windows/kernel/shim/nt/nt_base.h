/* Defines types, status codes, lists and texts of NT for the shim. Knows no function of the system. */
#ifndef SHIM_NT_BASE_H
#define SHIM_NT_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define NTAPI
#define FASTCALL
#define NTSYSAPI
#define NTKERNELAPI
#define DECLSPEC_IMPORT
#define IN
#define OUT
#define OPTIONAL
#define CONST const
#define VOID void
#define TRUE 1
#define FALSE 0
#define UNREFERENCED_PARAMETER(p) (void) (p)
#define ARRAYSIZE(a) (sizeof(a) / sizeof(a)[0])

typedef void *PVOID, *HANDLE, **PHANDLE;
typedef char CHAR, CCHAR, *PCHAR;
typedef int8_t INT8;
typedef uint8_t UCHAR, BOOLEAN, *PUCHAR, *PBOOLEAN;
typedef int16_t SHORT, CSHORT;
typedef uint16_t USHORT, *PUSHORT, SECURITY_DESCRIPTOR_CONTROL;
typedef wchar_t WCHAR, *PWCHAR, *PWSTR;
typedef const wchar_t *PCWSTR, *PCWCH;
typedef int32_t INT, LONG, *PLONG, NTSTATUS;
typedef uint32_t ULONG, *PULONG, UINT, ACCESS_MASK, *PACCESS_MASK, SECURITY_INFORMATION,
    *PSECURITY_INFORMATION;
typedef ULONG DEVICE_TYPE, LOGICAL;
typedef int64_t LONGLONG, LONG64, INT64, *PLONGLONG;
typedef uint64_t ULONGLONG, ULONG64, UINT64, *PULONGLONG, *PULONG64;
typedef intptr_t LONG_PTR;
typedef uintptr_t ULONG_PTR, *PULONG_PTR, KSPIN_LOCK, *PKSPIN_LOCK;
typedef size_t SIZE_T, *PSIZE_T;
typedef UCHAR KIRQL, *PKIRQL;
typedef CCHAR KPROCESSOR_MODE;
typedef LONG KPRIORITY;

_Static_assert(sizeof(WCHAR) == 2, "compile with -fshort-wchar");

typedef union _LARGE_INTEGER {
    struct {
        ULONG LowPart;
        LONG HighPart;
    };
    struct {
        ULONG LowPart;
        LONG HighPart;
    } u;
    LONGLONG QuadPart;
} LARGE_INTEGER, *PLARGE_INTEGER;

typedef struct _UNICODE_STRING {
    USHORT Length; /* bytes, without a NUL */
    USHORT MaximumLength;
    PWCHAR Buffer;
} UNICODE_STRING, *PUNICODE_STRING;
typedef const UNICODE_STRING *PCUNICODE_STRING;

#define RTL_CONSTANT_STRING(s)                                                                               \
    {                                                                                                        \
        sizeof(s) - sizeof((s)[0]), sizeof(s), (PWCHAR) (s)                                                  \
    }

typedef struct _LIST_ENTRY {
    struct _LIST_ENTRY *Flink, *Blink;
} LIST_ENTRY, *PLIST_ENTRY;

#define CONTAINING_RECORD(address, type, field)                                                              \
    ((type *) (void *) ((char *) (address) -offsetof(type, field)))
#define FIELD_OFFSET(type, field) ((LONG) offsetof(type, field))

static inline void InitializeListHead(PLIST_ENTRY head)
{
    head->Flink = head->Blink = head;
}

static inline BOOLEAN IsListEmpty(const LIST_ENTRY *head)
{
    return head->Flink == head;
}

static inline BOOLEAN RemoveEntryList(PLIST_ENTRY entry)
{
    PLIST_ENTRY next = entry->Flink, previous = entry->Blink;
    if (next->Blink != entry || previous->Flink != entry)
        __builtin_trap(); /* documented: a corrupt list ends the system */
    previous->Flink = next;
    next->Blink = previous;
    return next == previous;
}

static inline PLIST_ENTRY RemoveHeadList(PLIST_ENTRY head)
{
    PLIST_ENTRY entry = head->Flink;
    RemoveEntryList(entry);
    return entry;
}

static inline void InsertTailList(PLIST_ENTRY head, PLIST_ENTRY entry)
{
    PLIST_ENTRY last = head->Blink;
    if (last->Flink != head)
        __builtin_trap();
    entry->Flink = head;
    entry->Blink = last;
    last->Flink = head->Blink = entry;
}

static inline void InsertHeadList(PLIST_ENTRY head, PLIST_ENTRY entry)
{
    PLIST_ENTRY first = head->Flink;
    if (first->Blink != head)
        __builtin_trap();
    entry->Flink = first;
    entry->Blink = head;
    first->Blink = head->Flink = entry;
}

#define NT_SUCCESS(status) ((NTSTATUS) (status) >= 0)
#define NT_ERROR(status) ((ULONG) (status) >> 30 == 3)
#define SHIM_STATUS(value) ((NTSTATUS) (value##u))
#define STATUS_SUCCESS SHIM_STATUS(0x00000000)
#define STATUS_TIMEOUT SHIM_STATUS(0x00000102)
#define STATUS_PENDING SHIM_STATUS(0x00000103)
#define STATUS_BUFFER_OVERFLOW SHIM_STATUS(0x80000005)
#define STATUS_UNSUCCESSFUL SHIM_STATUS(0xC0000001)
#define STATUS_NOT_IMPLEMENTED SHIM_STATUS(0xC0000002)
#define STATUS_INFO_LENGTH_MISMATCH SHIM_STATUS(0xC0000004)
#define STATUS_INVALID_HANDLE SHIM_STATUS(0xC0000008)
#define STATUS_INVALID_CID SHIM_STATUS(0xC000000B)
#define STATUS_INVALID_PARAMETER SHIM_STATUS(0xC000000D)
#define STATUS_NO_SUCH_DEVICE SHIM_STATUS(0xC000000E)
#define STATUS_INVALID_DEVICE_REQUEST SHIM_STATUS(0xC0000010)
#define STATUS_NO_MEMORY SHIM_STATUS(0xC0000017)
#define STATUS_ACCESS_DENIED SHIM_STATUS(0xC0000022)
#define STATUS_BUFFER_TOO_SMALL SHIM_STATUS(0xC0000023)
#define STATUS_OBJECT_TYPE_MISMATCH SHIM_STATUS(0xC0000024)
#define STATUS_OBJECT_NAME_INVALID SHIM_STATUS(0xC0000033)
#define STATUS_OBJECT_NAME_NOT_FOUND SHIM_STATUS(0xC0000034)
#define STATUS_OBJECT_NAME_COLLISION SHIM_STATUS(0xC0000035)
#define STATUS_PROCEDURE_NOT_FOUND SHIM_STATUS(0xC000007A)
#define STATUS_UNKNOWN_REVISION SHIM_STATUS(0xC0000058)
#define STATUS_INVALID_SECURITY_DESCR SHIM_STATUS(0xC0000079)
#define STATUS_ALLOTTED_SPACE_EXCEEDED SHIM_STATUS(0xC0000099)
#define STATUS_INSUFFICIENT_RESOURCES SHIM_STATUS(0xC000009A)
#define STATUS_DEVICE_NOT_READY SHIM_STATUS(0xC00000A3)
#define STATUS_NOT_SUPPORTED SHIM_STATUS(0xC00000BB)
#define STATUS_PROCESS_IS_TERMINATING SHIM_STATUS(0xC000010A)
#define STATUS_CANCELLED SHIM_STATUS(0xC0000120)
#define STATUS_DELETE_PENDING SHIM_STATUS(0xC0000056)
#define STATUS_INVALID_DEVICE_STATE SHIM_STATUS(0xC0000184)
#define STATUS_NOT_FOUND SHIM_STATUS(0xC0000225)
#define STATUS_FLT_INSTANCE_ALTITUDE_COLLISION SHIM_STATUS(0xC01C0011)

#define HandleToUlong(handle) ((ULONG) (ULONG_PTR) (handle))
#define UlongToHandle(id) ((HANDLE) (ULONG_PTR) (ULONG) (id))

#define RtlZeroMemory(memory, size) memset(memory, 0, size)
#define RtlCopyMemory(target, source, size) memcpy(target, source, size)
#define RtlMoveMemory(target, source, size) memmove(target, source, size)
#define RtlFillMemory(memory, size, value) memset(memory, value, size)

/* Documented as full barriers. */
#define InterlockedIncrement(p) __atomic_add_fetch(p, 1, __ATOMIC_SEQ_CST)
#define InterlockedDecrement(p) __atomic_sub_fetch(p, 1, __ATOMIC_SEQ_CST)
#define InterlockedIncrement64(p) __atomic_add_fetch(p, 1, __ATOMIC_SEQ_CST)
#define InterlockedDecrement64(p) __atomic_sub_fetch(p, 1, __ATOMIC_SEQ_CST)
#define InterlockedExchange(p, value) __atomic_exchange_n(p, value, __ATOMIC_SEQ_CST)
#define InterlockedExchange64(p, value) __atomic_exchange_n(p, value, __ATOMIC_SEQ_CST)
#define InterlockedExchangeAdd(p, value) __atomic_fetch_add(p, value, __ATOMIC_SEQ_CST)
#define InterlockedExchangeAdd64(p, value) __atomic_fetch_add(p, value, __ATOMIC_SEQ_CST)
#define InterlockedExchangePointer(p, value) __atomic_exchange_n(p, value, __ATOMIC_SEQ_CST)
#define InterlockedCompareExchange(p, value, expected) __sync_val_compare_and_swap(p, expected, value)
#define InterlockedCompareExchange64(p, value, expected) __sync_val_compare_and_swap(p, expected, value)
#define InterlockedCompareExchangePointer(p, value, expected) __sync_val_compare_and_swap(p, expected, value)
#define InterlockedOr(p, value) __atomic_fetch_or(p, value, __ATOMIC_SEQ_CST)
#define InterlockedAnd(p, value) __atomic_fetch_and(p, value, __ATOMIC_SEQ_CST)
#define KeMemoryBarrier() __atomic_thread_fence(__ATOMIC_SEQ_CST)

#endif
