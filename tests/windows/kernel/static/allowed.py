"""Lists what the driver may ask of the system, by the header of the Windows Driver Kit that documents it. All
of it is in Windows 10 1607, the oldest version that is supported, except what is found at run time."""

IMPORTS = {
    "wdm.h": """
        DbgPrint ExAcquireFastMutex ExAcquireRundownProtection ExAllocatePoolWithTag
        ExFreePoolWithTag ExInitializeRundownProtection ExReleaseFastMutex
        ExReleaseRundownProtection ExWaitForRundownProtectionRelease IoCreateDevice
        IoCreateSymbolicLink IoDeleteDevice IoDeleteSymbolicLink IoReleaseCancelSpinLock
        IofCompleteRequest KeAcquireSpinLockRaiseToDpc KeEnterCriticalRegion KeInitializeEvent
        KeLeaveCriticalRegion KeReleaseSpinLock KeSetEvent KeWaitForSingleObject
        MmGetSystemRoutineAddress ObRegisterCallbacks ObUnRegisterCallbacks ObfDereferenceObject
        ObfReferenceObject PsProcessType PsThreadType RtlCreateSecurityDescriptor
        RtlInitUnicodeString RtlSetDaclSecurityDescriptor SeTokenObjectType ZwClose
        ZwOpenSymbolicLinkObject ZwQuerySymbolicLinkObject""",
    "ntddk.h": """
        PsGetCurrentProcessId PsGetCurrentThreadId PsGetProcessCreateTimeQuadPart PsGetProcessExitStatus
        PsGetProcessId PsGetThreadId PsGetThreadProcessId PsRemoveCreateThreadNotifyRoutine
        PsSetCreateProcessNotifyRoutineEx PsSetCreateThreadNotifyRoutine""",
    "ntifs.h": """
        ObOpenObjectByPointer PsDereferencePrimaryToken PsLookupProcessByProcessId PsReferencePrimaryToken
        RtlAddAccessAllowedAce RtlCreateAcl SeLocateProcessImageName ZwSetSecurityObject""",
}

# Compilers call these by themselves, or do without them.
OF_COMPILERS = {"memcmp", "memcpy", "memmove", "memset"}

FOUND_AT_RUN_TIME = {
    "ExAllocatePool2",
    "KeQueryPerformanceCounter",
    "KeQuerySystemTimePrecise",
    "PsSetCreateProcessNotifyRoutineEx2",
    "ZwQueryInformationFile",
    "ZwQuerySystemInformation",
}

LIBRARIES = {"ntoskrnl.exe"}


def imports() -> set[str]:
    return OF_COMPILERS | {name for names in IMPORTS.values() for name in names.split()}
