/* Is texts, the version, debug output, and functions that are found by their name. */
#include "texts.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

size_t shim_length(const wchar_t *text)
{
    size_t size = 0;
    while (text[size] != 0)
        size++;
    return size;
}

/* Upper case as the tests need it: ASCII, Latin-1 and Greek. Windows has a table for all of the BMP. */
static wchar_t upper(wchar_t unit)
{
    if ((unit >= 'a' && unit <= 'z') || (unit >= 0xe0 && unit <= 0xfe && unit != 0xf7) ||
        (unit >= 0x3b1 && unit <= 0x3c9 && unit != 0x3c2))
        return (wchar_t) (unit - 0x20);
    return unit;
}

bool shim_differ(const wchar_t *a, const wchar_t *b)
{
    while (*a != 0 && upper(*a) == upper(*b)) {
        a++;
        b++;
    }
    return *a != *b;
}

/* Documented: up to DISPATCH_LEVEL; a source of NULL gives an empty text. */
void RtlInitUnicodeString(PUNICODE_STRING text, PCWSTR source)
{
    shim_irql_at_most("RtlInitUnicodeString", DISPATCH_LEVEL);
    size_t size = source ? shim_length(source) * sizeof(WCHAR) : 0;
    if (size > 0xfffc)
        shim_breach("text-size", "a text of %zu bytes does not fit into a UNICODE_STRING", size);
    *text = (UNICODE_STRING){(USHORT) size, (USHORT) (source ? size + sizeof(WCHAR) : 0), (PWCHAR) source};
}

/* Documented: up to DIRQL, but PASSIVE_LEVEL for texts of 16-bit units, which this one does not know. */
ULONG DbgPrint(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (getenv("SHIM_DEBUG_OUTPUT"))
        vfprintf(stderr, format, arguments);
    va_end(arguments);
    return 0;
}

/* ---- Functions that are found by their name ---- */

static const struct {
    const char *name;
    void *function;
} routines[] = {
    {"ExAllocatePool2", (void *) ExAllocatePool2},
    {"KeQueryPerformanceCounter", (void *) KeQueryPerformanceCounter},
    {"KeQuerySystemTimePrecise", (void *) KeQuerySystemTimePrecise},
    {"ObRegisterCallbacks", (void *) ObRegisterCallbacks},
    {"ObUnRegisterCallbacks", (void *) ObUnRegisterCallbacks},
    {"PsGetProcessCreateTimeQuadPart", (void *) PsGetProcessCreateTimeQuadPart},
    {"PsGetProcessExitStatus", (void *) PsGetProcessExitStatus},
    {"PsGetThreadProcessId", (void *) PsGetThreadProcessId},
    {"PsSetCreateProcessNotifyRoutineEx", (void *) PsSetCreateProcessNotifyRoutineEx},
    {"PsSetCreateProcessNotifyRoutineEx2", (void *) PsSetCreateProcessNotifyRoutineEx2},
    {"RtlInitUnicodeString", (void *) RtlInitUnicodeString},
    {"SeLocateProcessImageName", (void *) SeLocateProcessImageName},
    {"ZwQueryInformationFile", (void *) ZwQueryInformationFile},
    {"ZwQuerySystemInformation", (void *) ZwQuerySystemInformation},
};
static bool is_hidden[ARRAYSIZE(routines)];

void shim_hide(const char *function)
{
    for (size_t i = 0; i < ARRAYSIZE(routines); i++)
        is_hidden[i] = function && (is_hidden[i] || strcmp(routines[i].name, function) == 0);
}

static bool is_named(PCUNICODE_STRING text, const char *name)
{
    size_t units = text->Length / sizeof(WCHAR);
    for (size_t i = 0; i < units; i++)
        if (text->Buffer[i] != (unsigned char) name[i] || name[i] == 0)
            return false;
    return name[units] == 0;
}

/* Documented: PASSIVE_LEVEL; NULL if neither the kernel nor the HAL has it. */
PVOID MmGetSystemRoutineAddress(PUNICODE_STRING name)
{
    shim_irql_at_most("MmGetSystemRoutineAddress", PASSIVE_LEVEL);
    for (size_t i = 0; i < ARRAYSIZE(routines); i++)
        if (is_named(name, routines[i].name))
            return is_hidden[i] ? NULL : routines[i].function;
    return NULL;
}
