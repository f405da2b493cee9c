/* Turns names of the system into the bytes of messages, and paths by devices into paths by drive letters. A
 * copy of the table of drives belongs to its reader, so no letter is told that has gone since, and there is
 * nothing to lock. Knows no processes. */
#include "cbp_wtf8.h"
#include "kernel.h"

enum { LETTER_COUNT = 26, DEVICE_UNITS_MAX = 128 };

struct cbpd_drives {
    struct drive {
        WCHAR letter;
        USHORT count; /* of units */
        WCHAR device[DEVICE_UNITS_MAX];
    } drives[LETTER_COUNT];
    uint32_t count;
    bool is_lacking; /* memory was short: drives may be missing */
};

/* A span is a part of a path, in units. */
struct span {
    const WCHAR *units;
    size_t count;
};

/* ---- The table of drives ---- */

/* Reads where a link leads. */
static NTSTATUS read_link(const WCHAR *name, UNICODE_STRING *target)
{
    UNICODE_STRING text;
    OBJECT_ATTRIBUTES attributes;
    HANDLE link;
    RtlInitUnicodeString(&text, name);
    InitializeObjectAttributes(&attributes, &text, OBJ_KERNEL_HANDLE | OBJ_CASE_INSENSITIVE, NULL, NULL);
    NTSTATUS status = ZwOpenSymbolicLinkObject(&link, GENERIC_READ, &attributes);
    if (!NT_SUCCESS(status))
        return status;
    status = ZwQuerySymbolicLinkObject(link, target, NULL);
    (void) ZwClose(link);
    return status;
}

/* Reads all drives that links in a directory lead to. name is that of a link, with _ for the letter. */
static void read_directory(struct cbpd_drives *drives, WCHAR *name)
{
    WCHAR *letter = name;
    while (*letter != L'_')
        letter++;
    for (*letter = L'A'; *letter <= L'Z'; ++*letter) {
        struct drive *drive = &drives->drives[drives->count];
        UNICODE_STRING device = {0, sizeof drive->device, drive->device};
        NTSTATUS status = read_link(name, &device);
        drives->is_lacking |= status == STATUS_INSUFFICIENT_RESOURCES || status == STATUS_NO_MEMORY;
        drive->letter = *letter;
        drive->count = device.Length / sizeof(WCHAR);
        drives->count += NT_SUCCESS(status) && drive->count > 0;
    }
}

/* A user may give letters of his own to folders, but not in the directory that all users share. Systems without
 * that directory have only the other one. */
struct cbpd_drives *cbpd_drives_read(void)
{
    WCHAR shared[] = L"\\GLOBAL??\\_:", only[] = L"\\??\\_:";
    struct cbpd_drives *drives = cbpd_pool_allocate(sizeof *drives);
    if (!drives)
        return NULL;
    read_directory(drives, shared);
    if (drives->count == 0)
        read_directory(drives, only);
    return drives;
}

/* ---- Paths ---- */

static WCHAR lower(WCHAR unit)
{
    return unit >= L'A' && unit <= L'Z' ? (WCHAR) (unit + (L'a' - L'A')) : unit;
}

/* Removes a beginning, of which letters of either case count as one. False: the path begins otherwise. */
static bool skip(struct span *path, const WCHAR *beginning, size_t count)
{
    if (path->count < count)
        return false;
    for (size_t i = 0; i < count; i++)
        if (lower(path->units[i]) != lower(beginning[i]))
            return false;
    path->units += count;
    path->count -= count;
    return true;
}

#define SKIP(path, text) skip((path), (text), sizeof(text) / sizeof((text)[0]) - 1)

/* Removes the device of some drive. Gives its letter, or 0. */
static WCHAR skip_device(const struct cbpd_drives *drives, struct span *path)
{
    for (uint32_t i = 0; i < drives->count; i++) {
        const struct drive *drive = &drives->drives[i];
        struct span rest = *path;
        if (!skip(&rest, drive->device, drive->count) || (rest.count > 0 && rest.units[0] != L'\\'))
            continue;
        *path = rest;
        return drive->letter;
    }
    return 0;
}

/* Removes names of redirectors and of connections, which stand before the server's in a path by network. */
static void skip_redirectors(struct span *path)
{
    while (path->count > 1 && path->units[0] == L'\\' && path->units[1] == L';') {
        size_t next = 1;
        while (next < path->count && path->units[next] != L'\\')
            next++;
        path->units += next;
        path->count -= next;
    }
}

/* Encodes two texts, one behind the other. */
static char *encode(struct span first, struct span second, uint32_t *size)
{
    size_t room = 3 * (first.count + second.count) + 1;
    char *text = cbpd_pool_allocate(room);
    if (!text)
        return NULL;
    size_t first_size = cbpd_wtf8_encode((const uint16_t *) first.units, first.count, text);
    *size = (uint32_t) (first_size +
                        cbpd_wtf8_encode((const uint16_t *) second.units, second.count, text + first_size));
    return text;
}

static struct span span_of(const UNICODE_STRING *text)
{
    return (struct span){text->Buffer, text->Buffer ? text->Length / sizeof(WCHAR) : 0};
}

/* No path has a NUL; a message with one would be malformed. */
static struct span path_of(const UNICODE_STRING *text)
{
    struct span all = span_of(text), path = {all.units, 0};
    while (path.count < all.count && path.units[path.count] != 0)
        path.count++;
    return path;
}

char *cbpd_name_of_path(const struct cbpd_drives *drives, const UNICODE_STRING *path, uint32_t *size)
{
    WCHAR drive[2] = {0, L':'};
    struct span rest = path_of(path), beginning = {drive, 0};
    if (SKIP(&rest, L"\\??\\UNC\\") || SKIP(&rest, L"\\Device\\Mup\\")) {
        rest.units--; /* keeps a separator */
        rest.count++;
        skip_redirectors(&rest);
        drive[0] = L'\\';
        beginning.count = 1;
    } else if (!SKIP(&rest, L"\\??\\")) {
        drive[0] = skip_device(drives, &rest);
        beginning.count = drive[0] != 0 ? 2 : 0;
        if (drive[0] == 0 && drives->is_lacking)
            return NULL; /* rules by its letter would not match this path */
    }
    return encode(beginning, rest, size);
}

char *cbpd_name_of_text(const UNICODE_STRING *text, uint32_t *size)
{
    return encode((struct span){NULL, 0}, span_of(text), size);
}
