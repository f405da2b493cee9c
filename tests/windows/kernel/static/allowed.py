"""Lists what the driver may ask of the system, by the header of the Windows Driver Kit that documents it. All of it
is in Windows 10 1607, the oldest version that is supported, except what is found at run time."""

IMPORTS = {
    "wdm.h": """
        DbgPrint ExAcquireFastMutex ExAcquireRundownProtection ExAllocatePoolWithTag ExFreePoolWithTag
        ExGetPreviousMode ExInitializeRundownProtection ExReleaseFastMutex ExReleaseRundownProtection
        ExWaitForRundownProtectionRelease IoCreateDevice IoCreateSymbolicLink IoDeleteDevice IoDeleteSymbolicLink
        IoGetCurrentProcess IoReleaseCancelSpinLock IofCompleteRequest KeAcquireSpinLockRaiseToDpc KeClearEvent
        KeDelayExecutionThread KeEnterCriticalRegion KeInitializeEvent KeLeaveCriticalRegion KeReleaseSpinLock
        KeResetEvent KeSetEvent KeWaitForSingleObject MmGetSystemRoutineAddress ObRegisterCallbacks
        ObUnRegisterCallbacks ObfDereferenceObject ObfReferenceObject PsProcessType PsThreadType
        RtlCompareUnicodeString RtlCreateSecurityDescriptor RtlInitUnicodeString RtlSetDaclSecurityDescriptor
        SeTokenObjectType ZwClose ZwOpenSymbolicLinkObject ZwQuerySymbolicLinkObject""",
    "ntddk.h": """
        PsGetCurrentProcessId PsGetCurrentThreadId PsGetProcessCreateTimeQuadPart PsGetProcessExitStatus
        PsGetProcessId PsGetThreadId PsGetThreadProcessId PsRemoveCreateThreadNotifyRoutine
        PsSetCreateProcessNotifyRoutineEx PsSetCreateThreadNotifyRoutine""",
    "ntifs.h": """
        ObOpenObjectByPointer PsDereferencePrimaryToken PsLookupProcessByProcessId PsReferencePrimaryToken
        RtlAddAccessAllowedAce RtlCreateAcl SeLocateProcessImageName ZwSetSecurityObject""",
    "string.h": "memcmp memcpy memmove memset",
}

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
    return {name for names in IMPORTS.values() for name in names.split()}
