/* Holds the compiler's headers against the layouts of the system's structures on x64 and ARM64, of which the driver
 * uses these members. The numbers are those that debuggers of Windows show (dt nt!_IRP and so on). run_static.py
 * compiles this for each compiler as the driver is compiled, and with WRONG, which must fail. */
#include "kernel.h"

#define SIZE(type, size) _Static_assert(sizeof(type) == (size), #type)
#define AT(type, member, offset)                                                                             \
    _Static_assert(__builtin_offsetof(type, member) == (offset), #type "." #member)

SIZE(IRP, 0xd0);
AT(IRP, AssociatedIrp.SystemBuffer, 0x18);
AT(IRP, IoStatus.Status, 0x30);
AT(IRP, IoStatus.Information, 0x38);
AT(IRP, RequestorMode, 0x40);
AT(IRP, Cancel, 0x44);
AT(IRP, CancelIrql, 0x45);
AT(IRP, CancelRoutine, 0x68);
AT(IRP, Tail.Overlay.DriverContext, 0x78);
AT(IRP, Tail.Overlay.ListEntry, 0xa8);
AT(IRP, Tail.Overlay.CurrentStackLocation, 0xb8);

SIZE(IO_STACK_LOCATION, 0x48);
AT(IO_STACK_LOCATION, MajorFunction, 0x00);
AT(IO_STACK_LOCATION, Control, 0x03);
AT(IO_STACK_LOCATION, Parameters.DeviceIoControl.OutputBufferLength, 0x08);
AT(IO_STACK_LOCATION, Parameters.DeviceIoControl.InputBufferLength, 0x10);
AT(IO_STACK_LOCATION, Parameters.DeviceIoControl.IoControlCode, 0x18);
AT(IO_STACK_LOCATION, FileObject, 0x30);

AT(FILE_OBJECT, FsContext, 0x18);
AT(FILE_OBJECT, FileName, 0x58);
AT(DRIVER_OBJECT, DriverUnload, 0x68);
AT(DRIVER_OBJECT, MajorFunction, 0x70);
SIZE(DRIVER_OBJECT, 0x150);

SIZE(PS_CREATE_NOTIFY_INFO, 0x48);
AT(PS_CREATE_NOTIFY_INFO, Flags, 0x08);
AT(PS_CREATE_NOTIFY_INFO, ParentProcessId, 0x10);
AT(PS_CREATE_NOTIFY_INFO, CreatingThreadId, 0x18);
AT(PS_CREATE_NOTIFY_INFO, FileObject, 0x28);
AT(PS_CREATE_NOTIFY_INFO, ImageFileName, 0x30);
AT(PS_CREATE_NOTIFY_INFO, CommandLine, 0x38);
AT(PS_CREATE_NOTIFY_INFO, CreationStatus, 0x40);

SIZE(OB_OPERATION_REGISTRATION, 0x20);
AT(OB_OPERATION_REGISTRATION, PreOperation, 0x10);
SIZE(OB_CALLBACK_REGISTRATION, 0x28);
AT(OB_CALLBACK_REGISTRATION, Altitude, 0x08);
AT(OB_CALLBACK_REGISTRATION, OperationRegistration, 0x20);
SIZE(OB_PRE_OPERATION_INFORMATION, 0x28);
AT(OB_PRE_OPERATION_INFORMATION, Flags, 0x04);
AT(OB_PRE_OPERATION_INFORMATION, Object, 0x08);
AT(OB_PRE_OPERATION_INFORMATION, ObjectType, 0x10);
AT(OB_PRE_OPERATION_INFORMATION, Parameters, 0x20);
SIZE(OB_PRE_CREATE_HANDLE_INFORMATION, 0x08);
AT(OB_PRE_CREATE_HANDLE_INFORMATION, OriginalDesiredAccess, 0x04);
SIZE(OB_PRE_DUPLICATE_HANDLE_INFORMATION, 0x18);
AT(OB_PRE_DUPLICATE_HANDLE_INFORMATION, SourceProcess, 0x08);
AT(OB_PRE_DUPLICATE_HANDLE_INFORMATION, TargetProcess, 0x10);

SIZE(KEVENT, 0x18);
SIZE(FAST_MUTEX, 0x38);
SIZE(EX_RUNDOWN_REF, 0x08);
SIZE(KSPIN_LOCK, 0x08);
SIZE(UNICODE_STRING, 0x10);
AT(UNICODE_STRING, Buffer, 0x08);
SIZE(OBJECT_ATTRIBUTES, 0x30);
SIZE(SECURITY_DESCRIPTOR, 0x28);
SIZE(ACL, 0x08);
SIZE(LARGE_INTEGER, 0x08);

#if defined(WRONG)
AT(IRP, Cancel, 0x48);
#endif
