/* Gives ntoskrnl.exe, in this winedevice.exe, a new directory of exports: Wine's own, with functions of ours among
 * them or in the place of some. Wine's loader reads the directory whenever it loads a driver. Knows nothing of what
 * the functions do.
 *
 * An export is a distance of 32 bits from the module's base. So the new directory, and a jump to each function of
 * ours, are in memory that is taken a little above the module. */
#include "fire.h"

#include <string.h>

enum { JUMP_SIZE = 16, NAMES_MAX = 4096, DIRECTORY_SIZE = 0x40000, JUMPS_SIZE = JUMP_SIZE * NAMES_MAX };

#define MEM_COMMIT_RESERVE 0x3000u
#define PAGE_EXECUTE_READWRITE_ 0x40u

struct directory { /* IMAGE_EXPORT_DIRECTORY of the PE format */
    uint32_t characteristics, time, version, name, base, function_count, name_count;
    uint32_t functions, names, ordinals;
};

struct entry {
    const char *name;
    uint32_t function;
};

static uint8_t *module, *jumps;
static struct entry entries[NAMES_MAX];
static uint32_t entry_count;

/* The data directory's entry for exports, in the optional header of PE32+. */
static uint32_t *export_data(void)
{
    uint32_t header;
    memcpy(&header, module + 0x3c, sizeof header);
    return (uint32_t *) (module + header + 24 + 112);
}

static void *memory_above(SIZE_T size)
{
    for (uint8_t *at = module + 0x1000000; at < module + 0x70000000; at += 0x10000) {
        uint8_t *memory = VirtualAlloc(at, size, MEM_COMMIT_RESERVE, PAGE_EXECUTE_READWRITE_);
        if (memory)
            return memory;
    }
    return NULL;
}

static struct entry *find(const char *name)
{
    for (uint32_t i = 0; i < entry_count; i++)
        if (strcmp(entries[i].name, name) == 0)
            return &entries[i];
    return NULL;
}

static void read_entries(const struct directory *old)
{
    const uint32_t *functions = (const uint32_t *) (module + old->functions);
    const uint32_t *names = (const uint32_t *) (module + old->names);
    const uint16_t *ordinals = (const uint16_t *) (module + old->ordinals);
    for (uint32_t i = 0; i < old->name_count && entry_count < NAMES_MAX; i++)
        entries[entry_count++] = (struct entry){(const char *) module + names[i], functions[ordinals[i]]};
}

/* Writes mov rax, function; jmp rax. Gives the distance of the jump. */
static uint32_t jump_to(const void *function)
{
    static const uint8_t move[] = {0x48, 0xb8}, jump[] = {0xff, 0xe0};
    uint8_t *at = jumps;
    memcpy(at, move, sizeof move);
    memcpy(at + 2, &function, sizeof function);
    memcpy(at + 10, jump, sizeof jump);
    jumps += JUMP_SIZE;
    return (uint32_t) (at - module);
}

/* What Wine has under that name. A forwarder's entry is within the old directory: Wine gives its address. */
static void *original_of(const char *name, uint32_t function, const uint32_t *data)
{
    if (function - data[0] >= data[1])
        return module + function;
    ANSI_STRING narrow;
    UNICODE_STRING wide;
    RtlInitAnsiString(&narrow, name);
    if (!NT_SUCCESS(RtlAnsiStringToUnicodeString(&wide, &narrow, TRUE)))
        return NULL;
    void *found = MmGetSystemRoutineAddress(&wide);
    RtlFreeUnicodeString(&wide);
    return found;
}

static bool put_ours(const struct fire_export *ours)
{
    struct entry *entry = find(ours->name);
    if (ours->original)
        *ours->original = entry ? original_of(entry->name, entry->function, export_data()) : NULL;
    if (!entry) {
        if (entry_count == NAMES_MAX)
            return false;
        entry = &entries[entry_count++];
    }
    *entry = (struct entry){ours->name, jump_to(ours->function)};
    return true;
}

/* The loader looks for a name by halves. */
static void sort_entries(void)
{
    for (uint32_t i = 1; i < entry_count; i++) {
        struct entry moved = entries[i];
        uint32_t at = i;
        for (; at > 0 && strcmp(entries[at - 1].name, moved.name) > 0; at--)
            entries[at] = entries[at - 1];
        entries[at] = moved;
    }
}

/* Forwarders of the old directory would be outside of the new one: they become jumps, too. */
static void resolve_forwarders(const uint32_t *data)
{
    for (uint32_t i = 0; i < entry_count; i++) {
        if (entries[i].function - data[0] >= data[1])
            continue;
        void *found = original_of(entries[i].name, entries[i].function, data);
        if (found)
            entries[i].function = jump_to(found);
    }
}

static void write_directory(struct directory *made, const struct directory *old)
{
    uint32_t *functions = (uint32_t *) (made + 1), *names = functions + entry_count;
    uint16_t *ordinals = (uint16_t *) (names + entry_count);
    char *texts = (char *) (ordinals + entry_count);
    *made = *old;
    made->base = 1;
    made->function_count = made->name_count = entry_count;
    made->functions = (uint32_t) ((uint8_t *) functions - module);
    made->names = (uint32_t) ((uint8_t *) names - module);
    made->ordinals = (uint32_t) ((uint8_t *) ordinals - module);
    for (uint32_t i = 0; i < entry_count; i++) {
        size_t size = strlen(entries[i].name) + 1;
        functions[i] = entries[i].function;
        names[i] = (uint32_t) ((uint8_t *) texts - module);
        ordinals[i] = (uint16_t) i;
        memcpy(texts, entries[i].name, size);
        texts += size;
    }
}

bool fire_exports_replace(const struct fire_exports *lists, uint32_t count)
{
    module = GetModuleHandleA("ntoskrnl.exe");
    uint8_t *memory = module ? memory_above(DIRECTORY_SIZE + JUMPS_SIZE) : NULL;
    if (!memory)
        return false;
    jumps = memory + DIRECTORY_SIZE;
    uint32_t *data = export_data();
    const struct directory *old = (const struct directory *) (module + data[0]);
    read_entries(old);
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < lists[i].count; k++)
            if (!put_ours(&lists[i].exports[k]))
                return false;
    resolve_forwarders(data);
    sort_entries();
    write_directory((struct directory *) memory, old);
    uint32_t previous;
    if (!VirtualProtect(data, 2 * sizeof *data, PAGE_EXECUTE_READWRITE_, &previous))
        return false;
    data[0] = (uint32_t) (memory - module);
    data[1] = sizeof(struct directory);
    return VirtualProtect(data, 2 * sizeof *data, previous, &previous);
}
