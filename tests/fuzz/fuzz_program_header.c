/* Fuzzes what the supervisor reads from files that programs execute: a script's first line, and the loader
 * that an ELF file names. The first byte chooses which; the header stands in a block of exactly the size that
 * is claimed. */
#include "../../driver/linux/ptrace/look_up.c"
#include "../../driver/linux/ptrace/resolve.c"

/* An argument may be empty, where a NUL follows the blank behind the interpreter; it begins with no blank. */
static void fuzz_script(const uint8_t *data, size_t size)
{
    char *line = calloc(1, SCRIPT_HEADER_SIZE), *interpreter, *argument;
    memcpy(line, "#!", 2);
    memcpy(line + 2, data, size < SCRIPT_HEADER_SIZE - 3 ? size : SCRIPT_HEADER_SIZE - 3);
    if (parse_script(line, &interpreter, &argument) == RESOLVED &&
        (*interpreter == 0 || strpbrk(interpreter, " \t\n") != NULL ||
         (argument != NULL && is_blank(*argument))))
        abort();
    free(line);
}

static void fuzz_elf(const uint8_t *data, size_t size)
{
    if (size < sizeof(Elf64_Ehdr))
        return;
    unsigned char *header = malloc(size);
    size_t offset, length;
    memcpy(header, data, size);
    if (find_loader(header, size, &offset, &length) && strlen((char *) header + offset) >= length)
        abort();
    free(header);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] & 1)
        fuzz_script(data + 1, size - 1);
    else
        fuzz_elf(data + 1, size - 1);
    return 0;
}
