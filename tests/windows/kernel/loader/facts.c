/* Is what a driver asks the kernel about itself and about texts: the system's version, routines by name, the
 * list of processes, strings, security descriptors. Knows objects; must not change them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loader.h"

enum { TEXT_MAX = 512, SYSTEM_PROCESS_INFORMATION_CLASS = 5, LISTED_MAX = 65536 };

static char hidden_routine[64];

void facts_without(const char *routine)
{
    snprintf(hidden_routine, sizeof hidden_routine, "%s", routine ? routine : "");
}

UNICODE_STRING *text_make(const char *ascii)
{
    size_t length = strlen(ascii);
    UNICODE_STRING *text = malloc(sizeof *text + (length + 1) * sizeof(WCHAR));
    text->Buffer = (WCHAR *) (void *) (text + 1);
    for (size_t i = 0; i <= length; i++)
        text->Buffer[i] = (WCHAR) (unsigned char) ascii[i];
    text->Length = (USHORT) (length * sizeof(WCHAR));
    text->MaximumLength = (USHORT) (text->Length + sizeof(WCHAR));
    return text;
}

void text_ascii(const UNICODE_STRING *text, char *ascii, size_t size)
{
    size_t length = text->Length / sizeof(WCHAR);
    if (length >= size)
        length = size - 1;
    for (size_t i = 0; i < length; i++)
        ascii[i] = text->Buffer[i] < 128 ? (char) text->Buffer[i] : '?';
    ascii[length] = 0;
}

/* ---- Strings ---- */

/* RtlInitUnicodeString. Documentation, Remarks: Length is that of the text without its NUL; a NULL text gives
 * an empty string. Any level for a resident text. */
static NTAPI void RtlInitUnicodeString(UNICODE_STRING *string, const WCHAR *text)
{
    size_t length = 0;
    while (text && text[length])
        length++;
    string->Length = (USHORT) (length * sizeof(WCHAR));
    string->MaximumLength = (USHORT) (text ? string->Length + sizeof(WCHAR) : 0);
    string->Buffer = (WCHAR *) (uintptr_t) text;
}

/* The letters that tests use: ASCII, Latin-1 and Greek. */
/* Gives the capital letter, of those alphabets that tests use. */
static int capital(WCHAR letter)
{
    static const struct {
        WCHAR first, last;
    } ranges[] = {{'a', 'z'}, {0xe0, 0xf6}, {0xf8, 0xfe}, {0x3b1, 0x3c1}, {0x3c3, 0x3c9}, {0x430, 0x44f}};
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
        if (letter >= ranges[i].first && letter <= ranges[i].last)
            return letter - 0x20;
    return letter;
}

/* RtlCompareUnicodeString. Documentation, Requirements: PASSIVE_LEVEL, because the table of letters is
 * pageable; Return value: 0 if equal, otherwise which one is less. */
static NTAPI LONG RtlCompareUnicodeString(const UNICODE_STRING *a, const UNICODE_STRING *b,
                                          BOOLEAN ignores_case)
{
    level_at_most(PASSIVE_LEVEL, "RtlCompareUnicodeString");
    size_t count = (a->Length < b->Length ? a->Length : b->Length) / sizeof(WCHAR);
    for (size_t i = 0; i < count; i++) {
        int left = ignores_case ? capital(a->Buffer[i]) : a->Buffer[i];
        int right = ignores_case ? capital(b->Buffer[i]) : b->Buffer[i];
        if (left != right)
            return left - right;
    }
    return (LONG) a->Length - (LONG) b->Length;
}

/* ---- Memory: the driver's compiler calls these ---- */

static NTAPI void *nt_memcpy(void *to, const void *from, size_t size)
{
    return memcpy(to, from, size);
}

static NTAPI void *nt_memmove(void *to, const void *from, size_t size)
{
    return memmove(to, from, size);
}

static NTAPI void *nt_memset(void *to, int value, size_t size)
{
    return memset(to, value, size);
}

static NTAPI int nt_memcmp(const void *a, const void *b, size_t size)
{
    return memcmp(a, b, size);
}

/* ---- The system ---- */

static bool prints;

void facts_print(bool is_wanted)
{
    prints = is_wanted;
}

/* Writes one argument by its conversion. Gives how many characters it has. */
static size_t print_argument(char *text, size_t room, char conversion, __builtin_ms_va_list *arguments)
{
    int size = 0;
    if (conversion == 's')
        size = snprintf(text, room, "%s", __builtin_va_arg(*arguments, const char *));
    else if (conversion == 'u')
        size = snprintf(text, room, "%u", __builtin_va_arg(*arguments, unsigned));
    else if (conversion == 'x')
        size = snprintf(text, room, "%x", __builtin_va_arg(*arguments, unsigned));
    else
        wrong("DbgPrint has no conversion %%%c", conversion);
    return (size_t) size < room ? (size_t) size : room - 1;
}

/* DbgPrint. Documentation, Requirements: at most DIRQL; with formats of wide characters PASSIVE_LEVEL, so there
 * are none here. Its text is of no use without a debugger; the contract test's runner prints it. */
static NTAPI ULONG DbgPrint(const char *format, ...)
{
    char text[TEXT_MAX];
    size_t at = 0;
    __builtin_ms_va_list arguments;
    __builtin_ms_va_start(arguments, format);
    for (; prints && *format && at + 1 < sizeof text; format++)
        if (*format == '%')
            at += print_argument(text + at, sizeof text - at, *++format, &arguments);
        else
            text[at++] = *format;
    __builtin_ms_va_end(arguments);
    text[at] = 0;
    fputs(text, stdout);
    return 0;
}

/* RtlGetVersion. Documentation, Requirements: PASSIVE_LEVEL; the caller sets the structure's size. */
struct OSVERSIONINFOW {
    ULONG dwOSVersionInfoSize, dwMajorVersion, dwMinorVersion, dwBuildNumber, dwPlatformId;
    WCHAR szCSDVersion[128];
};

static NTAPI NTSTATUS RtlGetVersion(struct OSVERSIONINFOW *version)
{
    level_at_most(PASSIVE_LEVEL, "RtlGetVersion");
    version->dwMajorVersion = 10;
    version->dwMinorVersion = 0;
    version->dwBuildNumber = 19045;
    version->dwPlatformId = 2;
    return STATUS_SUCCESS;
}

/* MmGetSystemRoutineAddress. Documentation, Requirements: PASSIVE_LEVEL; Return value: NULL for a routine that
 * this version does not have. */
static NTAPI void *MmGetSystemRoutineAddress(const UNICODE_STRING *name)
{
    char ascii[128];
    level_at_most(PASSIVE_LEVEL, "MmGetSystemRoutineAddress");
    text_ascii(name, ascii, sizeof ascii);
    return strcmp(ascii, hidden_routine) == 0 ? NULL : export_find(ascii);
}

/* ExGetPreviousMode. Documentation, Requirements: at most APC_LEVEL. Requests of the System process, which is 4,
 * come from the kernel, all others from programs. */
static NTAPI UCHAR ExGetPreviousMode(void)
{
    level_at_most(APC_LEVEL, "ExGetPreviousMode");
    return process_id(thread_process(actor())) == 4 ? KernelMode : UserMode;
}

struct SYSTEM_PROCESS_INFORMATION {
    ULONG NextEntryOffset, NumberOfThreads;
    int64_t reserved[3];
    int64_t CreateTime, UserTime, KernelTime;
    UNICODE_STRING ImageName;
    LONG BasePriority, padding;
    HANDLE UniqueProcessId, InheritedFromUniqueProcessId;
    ULONG HandleCount, SessionId;
    uint64_t rest[19];
};
NT_OFFSET(struct SYSTEM_PROCESS_INFORMATION, UniqueProcessId, 0x50);
NT_SIZE(struct SYSTEM_PROCESS_INFORMATION, 0x100);

static void put_processes(struct nt_process **list, uint32_t count, struct SYSTEM_PROCESS_INFORMATION *rows)
{
    for (uint32_t i = 0; i < count; i++) {
        memset(&rows[i], 0, sizeof rows[i]);
        rows[i].NextEntryOffset = i + 1 < count ? sizeof rows[i] : 0;
        rows[i].CreateTime = process_create_time(list[i]);
        rows[i].UniqueProcessId = process_id(list[i]);
        rows[i].InheritedFromUniqueProcessId = process_parent(list[i]);
    }
}

/* ZwQuerySystemInformation. Documentation, Requirements: PASSIVE_LEVEL; Return value: a buffer that is too
 * small gives STATUS_INFO_LENGTH_MISMATCH and the size that would do now, which may not do later. */
static NTAPI NTSTATUS ZwQuerySystemInformation(ULONG information_class, void *buffer, ULONG size,
                                               ULONG *needed)
{
    level_at_most(PASSIVE_LEVEL, "ZwQuerySystemInformation");
    if (information_class != SYSTEM_PROCESS_INFORMATION_CLASS)
        wrong("ZwQuerySystemInformation of class %u, which the loader does not have", information_class);
    if (io_shall_fail())
        return STATUS_INSUFFICIENT_RESOURCES;
    struct nt_process **list = calloc(LISTED_MAX, sizeof *list);
    uint32_t count = objects_list(list, LISTED_MAX);
    uint32_t listed = count < LISTED_MAX ? count : LISTED_MAX;
    ULONG size_needed = listed * (ULONG) sizeof(struct SYSTEM_PROCESS_INFORMATION);
    bool fits = size >= size_needed;
    if (fits)
        put_processes(list, listed, buffer);
    if (needed)
        *needed = size_needed;
    objects_release(list, listed);
    free(list);
    return fits ? STATUS_SUCCESS : STATUS_INFO_LENGTH_MISMATCH;
}

/* ---- Security descriptors: built by the driver, of which the loader checks that they are whole ---- */

struct ACL {
    UCHAR AclRevision, Sbz1;
    USHORT AclSize, AceCount, Sbz2;
};

enum { SID_SIZE_MAX = 68, ACE_HEADER_SIZE = 8, DESCRIPTOR_SIZE = 40, DESCRIPTOR_DACL_OFFSET = 32 };

/* RtlCreateSecurityDescriptor, RtlCreateAcl, RtlAddAccessAllowedAce, RtlSetDaclSecurityDescriptor.
 * Documentation, Requirements: at most APC_LEVEL; Return values: STATUS_BUFFER_TOO_SMALL (no room for a list),
 * STATUS_ALLOTTED_SPACE_EXCEEDED (none for an entry), STATUS_UNKNOWN_REVISION, STATUS_INVALID_PARAMETER. */
static NTAPI NTSTATUS RtlCreateSecurityDescriptor(UCHAR *descriptor, ULONG revision)
{
    level_at_most(APC_LEVEL, "RtlCreateSecurityDescriptor");
    memset(descriptor, 0, DESCRIPTOR_SIZE);
    descriptor[0] = (UCHAR) revision;
    return revision == 1 ? STATUS_SUCCESS : STATUS_UNKNOWN_REVISION;
}

static NTAPI NTSTATUS RtlCreateAcl(struct ACL *acl, ULONG size, ULONG revision)
{
    level_at_most(APC_LEVEL, "RtlCreateAcl");
    if (size < sizeof *acl)
        return STATUS_BUFFER_TOO_SMALL;
    if (size > 0xffff || revision < 2 || revision > 4)
        return STATUS_INVALID_PARAMETER;
    *acl = (struct ACL){.AclRevision = (UCHAR) revision, .AclSize = (USHORT) size};
    return STATUS_SUCCESS;
}

static size_t acl_used(const struct ACL *acl)
{
    size_t used = sizeof *acl;
    for (unsigned i = 0; i < acl->AceCount; i++) {
        USHORT size;
        memcpy(&size, (const UCHAR *) acl + used + 2, sizeof size);
        used += size;
    }
    return used;
}

static NTAPI NTSTATUS RtlAddAccessAllowedAce(struct ACL *acl, ULONG revision, ULONG access, const UCHAR *sid)
{
    level_at_most(APC_LEVEL, "RtlAddAccessAllowedAce");
    size_t used = acl_used(acl), sid_size = 8 + 4u * sid[1];
    USHORT size = (USHORT) (ACE_HEADER_SIZE + sid_size);
    if (sid[0] != 1 || sid_size > SID_SIZE_MAX || revision < 2)
        return STATUS_INVALID_PARAMETER;
    if (used + size > acl->AclSize)
        return STATUS_ALLOTTED_SPACE_EXCEEDED;
    UCHAR *ace = (UCHAR *) acl + used;
    memset(ace, 0, ACE_HEADER_SIZE);
    memcpy(ace + 2, &size, sizeof size);
    memcpy(ace + 4, &access, sizeof access);
    memcpy(ace + ACE_HEADER_SIZE, sid, sid_size);
    acl->AceCount++;
    return STATUS_SUCCESS;
}

static NTAPI NTSTATUS RtlSetDaclSecurityDescriptor(UCHAR *descriptor, BOOLEAN is_present, struct ACL *acl,
                                                   BOOLEAN is_default)
{
    level_at_most(APC_LEVEL, "RtlSetDaclSecurityDescriptor");
    (void) is_default;
    if (descriptor[0] != 1)
        return STATUS_UNKNOWN_REVISION;
    descriptor[2] |= is_present ? 4 : 0;
    memcpy(descriptor + DESCRIPTOR_DACL_OFFSET, &acl, sizeof acl);
    return STATUS_SUCCESS;
}

const struct export fact_exports[] = {EXPORT(RtlInitUnicodeString),
                                      EXPORT(RtlCompareUnicodeString),
                                      {"memcpy", (void *) nt_memcpy},
                                      {"memmove", (void *) nt_memmove},
                                      {"memset", (void *) nt_memset},
                                      {"memcmp", (void *) nt_memcmp},
                                      EXPORT(DbgPrint),
                                      EXPORT(RtlGetVersion),
                                      EXPORT(MmGetSystemRoutineAddress),
                                      EXPORT(ExGetPreviousMode),
                                      EXPORT(ZwQuerySystemInformation),
                                      EXPORT(RtlCreateSecurityDescriptor),
                                      EXPORT(RtlCreateAcl),
                                      EXPORT(RtlAddAccessAllowedAce),
                                      EXPORT(RtlSetDaclSecurityDescriptor),
                                      {NULL, NULL}};
