/* Fuzzes what the helper reads from files that programs execute: a script's first line, and the loader
 * that an ELF file names. The first byte chooses which. */
#include "../../driver/linux/execution/chain.c"

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
    if (size < sizeof(Elf64_Ehdr) || size > CHAIN_HEADER_SIZE)
        return;
    struct chain *chain = calloc(1, sizeof *chain);
    char loader[PATH_MAX];
    memcpy(chain->header, data, size);
    if (read_loader(chain, -1, size, loader) == RESOLVED && strlen(loader) >= sizeof loader)
        abort();
    free(chain);
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
