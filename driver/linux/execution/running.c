/* Finds out which files have led to a program that runs: the chain of the name that it was given, if that ends
 * with it. Any thread, with a chain of its own. Knows no rules and no events. */
#include <elf.h>
#include <fcntl.h>
#include <string.h>

#include "running.h"

/* The given path may be one of so many arguments: two for each interpreter, and one more. */
enum { PLACES_MAX = 13 };

static void identify(struct executable *executable)
{
    struct located_file *file = &executable->file;
    executable->is_known = executable->is_known &&
                           cbpd_read_program_identity(executable->tid, &file->identity, &file->changed_ns);
}

void cbpd_find_executable(uint32_t tid, bool needs_path_only, struct executable *executable)
{
    char room[PROC_NAME_SIZE];
    executable->tid = tid;
    executable->file.identity = (struct file_identity){0, 0};
    executable->file.changed_ns = 0;
    executable->is_known = cbpd_locate(cbpd_proc_name(room, tid, "/exe"), tid, &executable->file);
    if (!needs_path_only)
        identify(executable);
}

bool cbpd_find_known_executable(uint32_t tid, const struct known_file *known, struct executable *executable)
{
    struct located_file *file = &executable->file;
    executable->tid = tid;
    if (known->changed_ns == 0 || known->path_size >= sizeof file->path ||
        !cbpd_read_program_identity(tid, &file->identity, &file->changed_ns) ||
        file->identity.device != known->device || file->identity.inode != known->inode ||
        file->changed_ns != known->changed_ns)
        return false;
    memcpy(file->path, known->path, known->path_size);
    file->path_size = known->path_size;
    file->is_deleted = false;
    executable->is_known = true;
    return true;
}

static bool ends_with(const struct chain *chain, struct executable *executable)
{
    const struct chain_file *last = &chain->files[chain->file_count - 1];
    if (executable->file.identity.inode == 0)
        identify(executable);
    return chain->file_count > 0 && executable->is_known &&
           last->device == executable->file.identity.device && last->inode == executable->file.identity.inode;
}

bool cbpd_name_program(struct chain *chain, const struct executable *executable, const char *given)
{
    cbpd_chain_clear(chain);
    return cbpd_chain_add(chain, &executable->file, given);
}

static enum resolution read_given_chain(struct chain *chain, const struct place *place, const char *given)
{
    return cbpd_read_chain(place, AT_FDCWD, given, 0, given, chain);
}

bool cbpd_read_chain_to(struct chain *chain, const struct place *place, struct executable *executable,
                        const char *given)
{
    return read_given_chain(chain, place, given) == RESOLVED && ends_with(chain, executable);
}

/* Says whether a script may have led to the program: then its path is among the arguments. */
static bool may_have_come_by_script(const struct seen_arguments *arguments, const char *given)
{
    const char *argument = arguments->bytes, *end = arguments->bytes + arguments->size;
    if (!arguments->is_complete)
        return true;
    for (int place = 0; argument && place < PLACES_MAX && argument < end;
         place++, argument += strlen(argument) + 1)
        if (place > 0 && strcmp(argument, given) == 0)
            return true;
    return false;
}

/* Says whether the arguments begin as this chain makes them begin. Takes off what the caller did not give,
 * except the script's path, which stands for the caller's first argument. */
static bool take_off_interpreters(const struct chain *chain, struct seen_arguments *arguments)
{
    size_t skipped = 0;
    if (!arguments->is_complete || !arguments->bytes)
        return false;
    if (chain->is_foreign) /* the name of an interpreter that only the kernel knew comes first */
        skipped = strlen(arguments->bytes) + 1;
    const struct text *prefix = &chain->prefix;
    const char *given = chain->names.bytes + chain->files[0].given_at;
    const char *start = prefix->size > 0 ? prefix->bytes : given;
    size_t size = prefix->size > 0 ? prefix->size : strlen(given) + 1;
    if (skipped + size > arguments->size || memcmp(arguments->bytes + skipped, start, size) != 0)
        return false;
    skipped += size - (strlen(given) + 1);
    arguments->bytes += skipped;
    arguments->size -= (uint32_t) skipped;
    return true;
}

bool cbpd_find_chain(struct chain *chain, const struct place *place, struct executable *executable,
                     const char *given, struct seen_arguments *arguments)
{
    bool is_known = executable->is_known && given[0] != 0;
    if (!is_known || !may_have_come_by_script(arguments, given))
        return cbpd_name_program(chain, executable, given) && is_known;
    enum resolution resolution = read_given_chain(chain, place, given);
    if (resolution == RESOLVED && ends_with(chain, executable))
        return chain->dropped == 0 || take_off_interpreters(chain, arguments);
    const char *first = arguments->is_complete && arguments->size > 0 ? arguments->bytes : "";
    bool is_consistent =
        resolution == UNKNOWN && chain->is_foreign && take_off_interpreters(chain, arguments);
    if (chain->file_count == 0)
        first = given;
    return cbpd_chain_add(chain, &executable->file, first) && is_consistent;
}

void cbpd_read_running_chain(struct chain *chain, const struct place *place, const char *given)
{
    struct executable executable;
    cbpd_find_executable(place->tid, false, &executable);
    /* A relative path counted from a working directory that may have changed since. */
    if (given[0] != '/' || !cbpd_read_chain_to(chain, place, &executable, given))
        (void) cbpd_name_program(chain, &executable, given);
}

bool cbpd_read_execfn(struct window *window, uint32_t tid, struct text *path)
{
    union {
        char bytes[2 * 64 * sizeof(uint64_t) + 1];
        uint64_t wide[2 * 64];
        uint32_t narrow[4 * 64];
    } vector;
    size_t size = cbpd_read_proc_file(tid, "auxv", vector.bytes, sizeof vector.bytes);
    /* Read as 64 bits, the first key of a 32-bit program has its value in the upper half. */
    bool is_32bit = size >= sizeof vector.wide[0] && vector.wide[0] >> 32 != 0;
    size_t width = is_32bit ? sizeof vector.narrow[0] : sizeof vector.wide[0];
    for (size_t at = 0; (at + 2) * width <= size; at += 2) {
        uint64_t key = cbpd_word_at(vector.bytes, at, is_32bit);
        uint64_t value = cbpd_word_at(vector.bytes, at + 1, is_32bit);
        if (key == AT_EXECFN)
            return cbpd_read_string(window, tid, value, path) && path->size > 1;
    }
    return false;
}
