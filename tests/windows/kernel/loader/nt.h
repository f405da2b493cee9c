/* Lays out the structures of 64-bit Windows that a driver reads and writes, as far as the loader needs them.
 * They are written from Microsoft's documentation of each structure and checked by offset. Names are those of
 * the documentation. Knows no function of the loader. */
#ifndef LOADER_NT_H
#define LOADER_NT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Functions that the driver calls, and functions of the driver, have the calling convention of Windows. */
#define NTAPI __attribute__((ms_abi))

typedef int32_t NTSTATUS;
typedef uint8_t BOOLEAN, UCHAR, KIRQL;
typedef uint16_t USHORT, WCHAR;
typedef int32_t LONG;
typedef uint32_t ULONG;
typedef int64_t LONGLONG;
typedef uint64_t ULONGLONG, SIZE_T, HANDLE;
typedef uint64_t KSPIN_LOCK, EX_RUNDOWN_REF;

enum { PASSIVE_LEVEL = 0, APC_LEVEL = 1, DISPATCH_LEVEL = 2 };

/* A status whose top bits are 11 is an error; 10 is a warning, which still carries data. */
#define NT_SUCCESS(status) ((NTSTATUS) (status) >= 0)
#define NT_ERROR(status) ((uint32_t) (status) >> 30 == 3u)
#define STATUS(code) ((NTSTATUS) (code))
#define STATUS_SUCCESS STATUS(0x00000000u)
#define STATUS_TIMEOUT STATUS(0x00000102u)
#define STATUS_PENDING STATUS(0x00000103u)
#define STATUS_BUFFER_OVERFLOW STATUS(0x80000005u)
#define STATUS_INFO_LENGTH_MISMATCH STATUS(0xC0000004u)
#define STATUS_INVALID_CID STATUS(0xC000000Bu)
#define STATUS_INVALID_PARAMETER STATUS(0xC000000Du)
#define STATUS_NO_SUCH_DEVICE STATUS(0xC000000Eu)
#define STATUS_INVALID_DEVICE_REQUEST STATUS(0xC0000010u)
#define STATUS_ACCESS_DENIED STATUS(0xC0000022u)
#define STATUS_BUFFER_TOO_SMALL STATUS(0xC0000023u)
#define STATUS_OBJECT_TYPE_MISMATCH STATUS(0xC0000024u)
#define STATUS_OBJECT_NAME_NOT_FOUND STATUS(0xC0000034u)
#define STATUS_OBJECT_NAME_COLLISION STATUS(0xC0000035u)
#define STATUS_UNKNOWN_REVISION STATUS(0xC0000058u)
#define STATUS_ALLOTTED_SPACE_EXCEEDED STATUS(0xC0000099u)
#define STATUS_UNKNOWN_REVISION STATUS(0xC0000058u)
#define STATUS_PROCEDURE_NOT_FOUND STATUS(0xC000007Au)
#define STATUS_ALLOTTED_SPACE_EXCEEDED STATUS(0xC0000099u)
#define STATUS_INSUFFICIENT_RESOURCES STATUS(0xC000009Au)
#define STATUS_CANCELLED STATUS(0xC0000120u)
#define STATUS_NOT_FOUND STATUS(0xC0000225u)
#define STATUS_FLT_INSTANCE_ALTITUDE_COLLISION STATUS(0xC01C0011u)

#define NT_OFFSET(type, member, offset) _Static_assert(offsetof(type, member) == (offset), #type "." #member)
#define NT_SIZE(type, size) _Static_assert(sizeof(type) == (size), #type)

typedef struct LIST_ENTRY {
    struct LIST_ENTRY *Flink, *Blink;
} LIST_ENTRY;

typedef struct UNICODE_STRING {
    USHORT Length, MaximumLength; /* in bytes */
    WCHAR *Buffer;
} UNICODE_STRING;
NT_SIZE(UNICODE_STRING, 16);

typedef struct DISPATCHER_HEADER {
    UCHAR Type, Absolute, Size, Inserted;
    LONG SignalState;
    LIST_ENTRY WaitListHead;
} DISPATCHER_HEADER;

enum { NotificationEvent = 0, SynchronizationEvent = 1 };

typedef struct KEVENT {
    DISPATCHER_HEADER Header;
} KEVENT;
NT_SIZE(KEVENT, 24);

typedef struct FAST_MUTEX {
    LONG Count; /* 1: free */
    void *Owner;
    ULONG Contention;
    KEVENT Event;
    ULONG OldIrql;
} FAST_MUTEX;
NT_SIZE(FAST_MUTEX, 56);

struct DEVICE_OBJECT;
struct DRIVER_OBJECT;
struct FILE_OBJECT;
struct IRP;

typedef NTSTATUS(NTAPI *DRIVER_DISPATCH)(struct DEVICE_OBJECT *, struct IRP *);
typedef void(NTAPI *DRIVER_CANCEL)(struct DEVICE_OBJECT *, struct IRP *);
typedef NTSTATUS(NTAPI *DRIVER_INITIALIZE)(struct DRIVER_OBJECT *, UNICODE_STRING *);
typedef void(NTAPI *DRIVER_UNLOAD)(struct DRIVER_OBJECT *);

enum {
    IRP_MJ_CREATE = 0,
    IRP_MJ_CLOSE = 2,
    IRP_MJ_DEVICE_CONTROL = 14,
    IRP_MJ_CLEANUP = 18,
    IRP_MJ_COUNT = 28
};

typedef struct DRIVER_OBJECT {
    USHORT Type, Size;
    struct DEVICE_OBJECT *DeviceObject;
    ULONG Flags;
    void *DriverStart;
    ULONG DriverSize;
    void *DriverSection, *DriverExtension;
    UNICODE_STRING DriverName;
    UNICODE_STRING *HardwareDatabase;
    void *FastIoDispatch;
    DRIVER_INITIALIZE DriverInit;
    void *DriverStartIo;
    DRIVER_UNLOAD DriverUnload;
    DRIVER_DISPATCH MajorFunction[IRP_MJ_COUNT];
} DRIVER_OBJECT;
NT_OFFSET(DRIVER_OBJECT, DriverUnload, 0x68);
NT_OFFSET(DRIVER_OBJECT, MajorFunction, 0x70);
NT_SIZE(DRIVER_OBJECT, 0x150);

enum { DO_BUFFERED_IO = 4, DO_DIRECT_IO = 16, DO_DEVICE_INITIALIZING = 0x80 };

typedef struct DEVICE_OBJECT {
    USHORT Type, Size;
    LONG ReferenceCount;
    DRIVER_OBJECT *DriverObject;
    struct DEVICE_OBJECT *NextDevice, *AttachedDevice;
    struct IRP *CurrentIrp;
    void *Timer;
    ULONG Flags, Characteristics;
    void *Vpb, *DeviceExtension;
    ULONG DeviceType;
    UCHAR StackSize;
    UCHAR rest[0x150 - 0x4d];
} DEVICE_OBJECT;
NT_OFFSET(DEVICE_OBJECT, DeviceExtension, 0x40);
NT_OFFSET(DEVICE_OBJECT, StackSize, 0x4c);
NT_SIZE(DEVICE_OBJECT, 0x150);

typedef struct FILE_OBJECT {
    USHORT Type, Size;
    DEVICE_OBJECT *DeviceObject;
    void *Vpb, *FsContext, *FsContext2;
    UCHAR rest[0xd8 - 0x28];
} FILE_OBJECT;
NT_OFFSET(FILE_OBJECT, FsContext, 0x18);
NT_SIZE(FILE_OBJECT, 0xd8);

enum { SL_PENDING_RETURNED = 1 };

typedef struct IO_STACK_LOCATION {
    UCHAR MajorFunction, MinorFunction, Flags, Control;
    ULONG padding;
    union {
        struct {
            ULONG OutputBufferLength, padding1;
            ULONG InputBufferLength, padding2;
            ULONG IoControlCode, padding3;
            void *Type3InputBuffer;
        } DeviceIoControl;
        struct {
            void *SecurityContext;
            ULONG Options, padding1;
            USHORT FileAttributes, ShareAccess;
            ULONG padding2;
            ULONG EaLength, padding3;
        } Create;
    } Parameters;
    DEVICE_OBJECT *DeviceObject;
    FILE_OBJECT *FileObject;
    void *CompletionRoutine, *Context;
} IO_STACK_LOCATION;
NT_OFFSET(IO_STACK_LOCATION, Parameters.DeviceIoControl.IoControlCode, 0x18);
NT_OFFSET(IO_STACK_LOCATION, FileObject, 0x30);
NT_SIZE(IO_STACK_LOCATION, 0x48);

typedef struct IO_STATUS_BLOCK {
    NTSTATUS Status;
    ULONG padding;
    uint64_t Information;
} IO_STATUS_BLOCK;

enum { KernelMode = 0, UserMode = 1 };

typedef struct IRP {
    USHORT Type, Size;
    ULONG padding;
    void *MdlAddress;
    ULONG Flags, padding1;
    void *SystemBuffer; /* AssociatedIrp.SystemBuffer */
    LIST_ENTRY ThreadListEntry;
    IO_STATUS_BLOCK IoStatus;
    UCHAR RequestorMode;
    BOOLEAN PendingReturned;
    UCHAR StackCount, CurrentLocation;
    BOOLEAN Cancel;
    KIRQL CancelIrql;
    UCHAR ApcEnvironment, AllocationFlags;
    void *UserIosb, *UserEvent;
    void *Overlay[2];
    DRIVER_CANCEL CancelRoutine;
    void *UserBuffer;
    /* Of here on, the members are those of Tail.Overlay. */
    void *DriverContext[4];
    void *Thread, *AuxiliaryBuffer;
    LIST_ENTRY ListEntry;
    IO_STACK_LOCATION *CurrentStackLocation;
    FILE_OBJECT *OriginalFileObject;
    uint64_t rest;
} IRP;
NT_OFFSET(IRP, SystemBuffer, 0x18);
NT_OFFSET(IRP, IoStatus, 0x30);
NT_OFFSET(IRP, Cancel, 0x44);
NT_OFFSET(IRP, CancelRoutine, 0x68);
NT_OFFSET(IRP, DriverContext, 0x78);
NT_OFFSET(IRP, ListEntry, 0xa8);
NT_OFFSET(IRP, CurrentStackLocation, 0xb8);
NT_SIZE(IRP, 0xd0);

/* ---- Callbacks ---- */

typedef struct PS_CREATE_NOTIFY_INFO {
    SIZE_T Size;
    ULONG Flags, padding; /* bit 0: FileOpenNameAvailable */
    HANDLE ParentProcessId;
    HANDLE CreatingProcess, CreatingThread; /* CreatingThreadId */
    FILE_OBJECT *FileObject;
    UNICODE_STRING *ImageFileName, *CommandLine;
    NTSTATUS CreationStatus;
} PS_CREATE_NOTIFY_INFO;
NT_OFFSET(PS_CREATE_NOTIFY_INFO, CreationStatus, 0x40);
NT_SIZE(PS_CREATE_NOTIFY_INFO, 0x48);

enum {
    OB_OPERATION_HANDLE_CREATE = 1,
    OB_OPERATION_HANDLE_DUPLICATE = 2,
    OB_FLT_REGISTRATION_VERSION = 0x100
};

typedef struct OB_PRE_OPERATION_PARAMETERS {
    ULONG DesiredAccess, OriginalDesiredAccess;
    void *SourceProcess, *TargetProcess; /* only of a duplication */
} OB_PRE_OPERATION_PARAMETERS;

typedef struct OB_PRE_OPERATION_INFORMATION {
    ULONG Operation, Flags; /* bit 0 of the flags: KernelHandle */
    void *Object, *ObjectType, *CallContext;
    OB_PRE_OPERATION_PARAMETERS *Parameters;
} OB_PRE_OPERATION_INFORMATION;
NT_SIZE(OB_PRE_OPERATION_INFORMATION, 0x28);

typedef struct OB_OPERATION_REGISTRATION {
    void **ObjectType;
    ULONG Operations;
    void *PreOperation, *PostOperation;
} OB_OPERATION_REGISTRATION;
NT_SIZE(OB_OPERATION_REGISTRATION, 0x20);

typedef struct OB_CALLBACK_REGISTRATION {
    USHORT Version, OperationRegistrationCount;
    UNICODE_STRING Altitude;
    void *RegistrationContext;
    OB_OPERATION_REGISTRATION *OperationRegistration;
} OB_CALLBACK_REGISTRATION;
NT_SIZE(OB_CALLBACK_REGISTRATION, 0x28);

typedef void(NTAPI *CREATE_PROCESS_NOTIFY)(void *process, HANDLE pid, PS_CREATE_NOTIFY_INFO *info);
typedef void(NTAPI *CREATE_THREAD_NOTIFY)(HANDLE pid, HANDLE tid, BOOLEAN is_created);
typedef int(NTAPI *PRE_OPERATION)(void *context, OB_PRE_OPERATION_INFORMATION *information);

#endif
