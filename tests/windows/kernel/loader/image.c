/* Maps the driver's file as Windows does: sections at their places with the protections that they ask for,
 * relocated, with imports bound to the routines of this program. So the bytes that run are those that ship,
 * and a write to code or a call of data faults. Knows the format (Microsoft, "PE Format"), not the driver. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "loader.h"

enum {
    MACHINE_AMD64 = 0x8664,
    MAGIC_PE32_PLUS = 0x20b,
    SUBSYSTEM_NATIVE = 1,
    DIRECTORY_IMPORT = 1,
    DIRECTORY_RELOCATION = 5,
    RELOCATION_DIR64 = 10,
    FORCE_INTEGRITY = 0x80,
    PAGE = 4096
};
#define SECTION_EXECUTE 0x20000000u
#define SECTION_WRITE 0x80000000u
#define SECTION_DISCARDABLE 0x02000000u

static struct image *current;

static uint16_t u16_at(const uint8_t *at)
{
    return (uint16_t) (at[0] | at[1] << 8);
}

static uint32_t u32_at(const uint8_t *at)
{
    return u16_at(at) | (uint32_t) u16_at(at + 2) << 16;
}

static const uint8_t *file_header(const struct image *image)
{
    return image->file + u32_at(image->file + 0x3c) + 4;
}

static const uint8_t *optional_header(const struct image *image)
{
    return file_header(image) + 20;
}

static const uint8_t *section_at(const struct image *image, unsigned index)
{
    return optional_header(image) + u16_at(file_header(image) + 16) + 40 * index;
}

/* The file comes from our own build, so a wrong one is an error of the build and not an attack. */
static void check_headers(const struct image *image)
{
    const uint8_t *optional = optional_header(image);
    if (memcmp(image->file, "MZ", 2) != 0 || memcmp(file_header(image) - 4, "PE\0", 4) != 0 ||
        u16_at(file_header(image)) != MACHINE_AMD64 || u16_at(optional) != MAGIC_PE32_PLUS)
        violation("bad_image", "the file is no program of 64-bit Windows");
    if (u16_at(optional + 68) != SUBSYSTEM_NATIVE)
        violation("bad_image", "a driver has the native subsystem, this file has %u", u16_at(optional + 68));
    if (u32_at(optional + 32) % PAGE != 0)
        violation("bad_image", "sections are not aligned to pages");
}

bool image_read(struct image *image, const char *path)
{
    FILE *file = fopen(path, "rb");
    memset(image, 0, sizeof *image);
    if (!file)
        return false;
    fseek(file, 0, SEEK_END);
    image->file_size = (size_t) ftell(file);
    rewind(file);
    image->file = malloc(image->file_size);
    if (image->file_size < 0x200 || fread(image->file, 1, image->file_size, file) != image->file_size)
        violation("bad_image", "the file cannot be read, or is too short");
    fclose(file);
    check_headers(image);
    image->is_force_integrity = (u16_at(optional_header(image) + 70) & FORCE_INTEGRITY) != 0;
    return true;
}

static void copy_sections(struct image *image)
{
    memcpy(image->base, image->file, u32_at(optional_header(image) + 60));
    for (unsigned i = 0; i < u16_at(file_header(image) + 2); i++) {
        const uint8_t *section = section_at(image, i);
        uint32_t virtual_size = u32_at(section + 8), raw_size = u32_at(section + 16);
        uint32_t size = raw_size < virtual_size ? raw_size : virtual_size;
        memcpy(image->base + u32_at(section + 12), image->file + u32_at(section + 20), size);
    }
}

static void relocate(struct image *image)
{
    const uint8_t *optional = optional_header(image);
    uint64_t preferred = u32_at(optional + 24) | (uint64_t) u32_at(optional + 28) << 32;
    uint64_t delta = (uint64_t) image->base - preferred;
    const uint8_t *block = image->base + u32_at(optional + 112 + 8 * DIRECTORY_RELOCATION);
    const uint8_t *end = block + u32_at(optional + 112 + 8 * DIRECTORY_RELOCATION + 4);
    while (block + 8 <= end && u32_at(block + 4) >= 8) {
        for (uint32_t at = 8; at < u32_at(block + 4); at += 2) {
            uint16_t entry = u16_at(block + at);
            uint8_t *target = image->base + u32_at(block) + (entry & 0xfff);
            uint64_t value;
            if (entry >> 12 != RELOCATION_DIR64)
                continue; /* type 0 fills a block up */
            memcpy(&value, target, sizeof value);
            value += delta;
            memcpy(target, &value, sizeof value);
        }
        block += u32_at(block + 4);
    }
}

void *export_find(const char *name)
{
    const struct export *const tables[] = {level_exports,   wait_exports,     pool_exports,
                                           object_exports,  handle_exports,   irp_exports,
                                           loading_exports, callback_exports, fact_exports};
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        for (const struct export *row = tables[i]; row->name; row++)
            if (strcmp(row->name, name) == 0)
                return row->address;
    return NULL;
}

/* Binds each import to a routine of ours. Windows does not start a driver with an import that it lacks. */
static void bind_imports(struct image *image)
{
    const uint8_t *module = image->base + u32_at(optional_header(image) + 112 + 8 * DIRECTORY_IMPORT);
    for (; u32_at(module + 12) != 0; module += 20) {
        const char *name = (const char *) image->base + u32_at(module + 12);
        if (strcasecmp(name, "ntoskrnl.exe") != 0)
            violation("unknown_import", "the driver imports from %s", name);
        for (uint8_t *slot = image->base + u32_at(module + 16); u32_at(slot) != 0; slot += 8) {
            const char *routine = (const char *) image->base + u32_at(slot) + 2;
            void *address = export_find(routine);
            if (!address)
                violation("unknown_import", "the loader has no %s", routine);
            memcpy(slot, &address, sizeof address);
        }
    }
}

/* Gives each section what it asks for, and the headers and gaps read access at most. */
static void protect(struct image *image)
{
    mprotect(image->base, u32_at(optional_header(image) + 60), PROT_READ);
    for (unsigned i = 0; i < u16_at(file_header(image) + 2); i++) {
        const uint8_t *section = section_at(image, i);
        uint32_t flags = u32_at(section + 36);
        int protection =
            PROT_READ | (flags & SECTION_EXECUTE ? PROT_EXEC : 0) | (flags & SECTION_WRITE ? PROT_WRITE : 0);
        if ((flags & SECTION_EXECUTE) != 0 && (flags & SECTION_WRITE) != 0)
            violation("bad_image", "section %.8s can be written and executed", section);
        mprotect(image->base + u32_at(section + 12), u32_at(section + 8), protection);
    }
}

void image_map(struct image *image)
{
    image->size = u32_at(optional_header(image) + 56);
    image->base = mmap(NULL, image->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    copy_sections(image);
    relocate(image);
    bind_imports(image);
    protect(image);
    image->entry = image->base + u32_at(optional_header(image) + 16);
    current = image;
}

void image_unmap(struct image *image)
{
    /* The addresses are never used again, so that a call into the unloaded driver faults. */
    mprotect(image->base, image->size, PROT_NONE);
    madvise(image->base, image->size, MADV_DONTNEED);
}

const struct image *image_current(void)
{
    return current;
}

bool image_contains(const void *address)
{
    return current && (const uint8_t *) address >= current->base &&
           (const uint8_t *) address < current->base + current->size;
}
