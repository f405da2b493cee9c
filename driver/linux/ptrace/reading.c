/* Reads what an execution is about: all names of the files that it goes through, and its arguments. See
 * reading.h. execution.c acts on it. */
#include "reading.h"

#include <stdlib.h>
#include <string.h>

#include "syscalls.h"

/* The given path may be one of so many arguments: two for each interpreter, and one more. */
enum { PLACES_MAX = 13 };

/* ---- Memory ---- */

enum { TEXTS_OF_READING = 9 };

static void texts_of(struct reading *reading, struct text *texts[TEXTS_OF_READING])
{
    struct text *all[TEXTS_OF_READING] = {
        &reading->chain.names, &reading->chain.prefix,   &reading->path,
        &reading->name,        &reading->composed,       &reading->words,
        &reading->reader.list, &reading->reader.scratch, &reading->reader.beginnings};
    memcpy(texts, all, sizeof all);
}

static void begin_reading(struct reading *reading)
{
    struct text *texts[TEXTS_OF_READING];
    texts_of(reading, texts);
    for (size_t i = 0; i < TEXTS_OF_READING; i++)
        texts[i]->is_lacking = false;
    reading->given = "";
    reading->arguments = NULL;
    reading->arguments_size = 0;
    reading->is_complete = false;
}

/* A reading that lacked memory is not known: it loses its chain. */
static bool forget_if_lacking(struct reading *reading)
{
    struct text *texts[TEXTS_OF_READING];
    bool is_lacking = false;
    texts_of(reading, texts);
    for (size_t i = 0; i < TEXTS_OF_READING; i++)
        is_lacking |= texts[i]->is_lacking;
    if (is_lacking)
        cbpd_chain_clear(&reading->chain);
    return is_lacking;
}

/* ---- Comparing ---- */

/* Digests a chain. False: no memory. */
static bool digest_chain(const struct chain *chain, struct text *scratch, struct digest *digest)
{
    bool done = true;
    scratch->size = 0;
    for (uint32_t i = 0; i < chain->file_count; i++) {
        const struct chain_file *file = &chain->files[i];
        uint64_t words[] = {file->device, file->inode, file->path_size, file->given_size};
        done = done && text_append(scratch, (const char *) words, sizeof words);
    }
    done =
        done && cbpd_append_from(scratch, &chain->names, 0) && cbpd_append_from(scratch, &chain->prefix, 0);
    if (done)
        *digest = cbpd_digest_of(scratch->bytes, scratch->size);
    return done;
}

/* ---- At the entry of execve ---- */

static enum resolution read_call(struct reading *reading, const struct syscall_entry *entry)
{
    bool is_at = syscall_kind(entry->architecture, entry->number) == SYSCALL_EXECVEAT, is_by_descriptor;
    const uint64_t *arguments = entry->arguments + (is_at ? 1 : 0);
    int fd = is_at ? (int) (int32_t) entry->arguments[0] : AT_FDCWD;
    int flags = is_at ? (int) entry->arguments[4] : 0;
    struct chain *chain = &reading->chain;
    if (flags & ~EXECVEAT_FLAGS)
        return BOUND_TO_FAIL;
    if (!cbpd_read_string(&reading->reader.window, reading->place.tid, arguments[0], &reading->path))
        return BOUND_TO_FAIL;
    if (!cbpd_compose_name(&reading->path, fd, &reading->name, &is_by_descriptor))
        return UNKNOWN;
    enum resolution resolution =
        cbpd_read_chain(&reading->place, fd, reading->path.bytes, flags, reading->name.bytes, chain);
    if (resolution != RESOLVED)
        return resolution;
    if (is_by_descriptor && chain->dropped > 0 && cbpd_closes_on_execution(reading->place.tid, fd))
        return BOUND_TO_FAIL;
    struct argument_places places = {.arguments = arguments[1],
                                     .environment = arguments[2],
                                     .is_32bit = entry->is_32bit,
                                     .name_size = reading->name.size,
                                     .prefix_size = chain->prefix.size};
    if (!cbpd_read_argument_list(&reading->reader, reading->place.tid, &places))
        return BOUND_TO_FAIL;
    if (!cbpd_compose_arguments(chain, &reading->reader.list, &reading->composed))
        return UNKNOWN;
    reading->is_vague = chain->is_unreadable;
    reading->is_complete = true;
    /* The kernel adds an empty argument to an empty list. */
    reading->arguments = reading->reader.list.size > 0 ? reading->reader.list.bytes : "";
    reading->arguments_size = reading->reader.list.size > 0 ? (uint32_t) reading->reader.list.size : 1;
    reading->facts.arguments = cbpd_digest_of(reading->composed.bytes, reading->composed.size);
    reading->facts.is_direct = chain->file_count == 1;
    return digest_chain(chain, &reading->composed, &reading->facts.chain) ? RESOLVED : UNKNOWN;
}

enum resolution cbpd_read_entry(struct reading *reading, const struct syscall_entry *entry)
{
    begin_reading(reading);
    enum resolution resolution = read_call(reading, entry);
    return forget_if_lacking(reading) ? RESOLVED : resolution;
}

/* ---- After execve ---- */

/* This is the running program as /proc shows it. */
struct executable {
    struct located_file file; /* its identity is not known until it is needed */
    bool is_known;
};

static void identify(const struct reading *reading, struct executable *executable)
{
    executable->is_known =
        executable->is_known && cbpd_read_program_identity(reading->place.tid, &executable->file.identity);
}

static void find_executable(const struct reading *reading, bool needs_path_only,
                            struct executable *executable)
{
    char room[PROC_NAME_SIZE];
    uint32_t tid = reading->place.tid;
    executable->file.identity = (struct file_identity){0, 0};
    executable->is_known = cbpd_locate(cbpd_proc_name(room, tid, "/exe"), tid, &executable->file);
    if (!needs_path_only)
        identify(reading, executable);
}

static bool ends_with(const struct reading *reading, struct executable *executable)
{
    const struct chain *chain = &reading->chain;
    const struct chain_file *last = &chain->files[chain->file_count - 1];
    if (executable->file.identity.inode == 0)
        identify(reading, executable);
    return chain->file_count > 0 && executable->is_known &&
           last->device == executable->file.identity.device && last->inode == executable->file.identity.inode;
}

/* Reads the chain of the name that the program was given. */
static enum resolution read_given_chain(struct reading *reading, const char *given)
{
    return cbpd_read_chain(&reading->place, AT_FDCWD, given, 0, given, &reading->chain);
}

/* Makes a chain of the program alone, without a look at what may have led to it. */
static bool name_program(struct reading *reading, const struct executable *executable, const char *given)
{
    cbpd_chain_clear(&reading->chain);
    return cbpd_chain_add(&reading->chain, &executable->file, given);
}

/* Says whether a script may have led to the program: then its path is among the arguments. */
static bool may_have_come_by_script(const struct reading *reading)
{
    const char *argument = reading->arguments, *end = reading->arguments + reading->arguments_size;
    if (!reading->is_complete)
        return true;
    for (int place = 0; argument && place < PLACES_MAX && argument < end;
         place++, argument += strlen(argument) + 1)
        if (place > 0 && strcmp(argument, reading->given) == 0)
            return true;
    return false;
}

/* Says whether the arguments begin as this chain makes them begin. Takes off what the caller did not give,
 * except the script's path, which stands for the caller's first argument. */
static bool take_off_interpreters(struct reading *reading)
{
    const struct chain *chain = &reading->chain;
    size_t skipped = 0;
    if (!reading->is_complete || !reading->arguments)
        return false;
    if (chain->is_foreign) /* the name of an interpreter that only the kernel knew comes first */
        skipped = strlen(reading->arguments) + 1;
    const struct text *prefix = &chain->prefix;
    const char *given = chain->names.bytes + chain->files[0].given_at;
    const char *start = prefix->size > 0 ? prefix->bytes : given;
    size_t size = prefix->size > 0 ? prefix->size : strlen(given) + 1;
    if (skipped + size > reading->arguments_size || memcmp(reading->arguments + skipped, start, size) != 0)
        return false;
    skipped += size - (strlen(given) + 1);
    reading->arguments += skipped;
    reading->arguments_size -= (uint32_t) skipped;
    return true;
}

/* Finds the chain that has led to the program. If that is not known any more, the chain has what is known,
 * with the program last. */
static bool find_chain(struct reading *reading, struct executable *executable)
{
    struct chain *chain = &reading->chain;
    bool is_known = executable->is_known && reading->given[0] != 0;
    if (!is_known || !may_have_come_by_script(reading))
        return name_program(reading, executable, reading->given) && is_known;
    enum resolution resolution = read_given_chain(reading, reading->given);
    if (resolution == RESOLVED && ends_with(reading, executable))
        return chain->dropped == 0 || take_off_interpreters(reading);
    const char *first = reading->is_complete && reading->arguments_size > 0 ? reading->arguments : "";
    bool is_consistent = resolution == UNKNOWN && chain->is_foreign && take_off_interpreters(reading);
    if (chain->file_count == 0)
        first = reading->given;
    return cbpd_chain_add(chain, &executable->file, first) && is_consistent;
}

static bool is_as_approved(struct reading *reading, struct executable *executable)
{
    const struct execution_facts *approved = &reading->approved;
    if (!executable->is_known || !reading->is_complete || reading->given[0] == 0 ||
        !cbpd_digest_equals(cbpd_digest_of(reading->arguments, reading->arguments_size), approved->arguments))
        return false;
    bool is_known = approved->is_direct ? name_program(reading, executable, reading->given)
                                        : read_given_chain(reading, reading->given) == RESOLVED &&
                                              ends_with(reading, executable);
    struct digest digest;
    return is_known && digest_chain(&reading->chain, &reading->composed, &digest) &&
           cbpd_digest_equals(digest, approved->chain);
}

bool cbpd_read_stop(struct reading *reading)
{
    struct executable executable;
    begin_reading(reading);
    if (reading->has_registers)
        cbpd_read_new_stack(reading);
    find_executable(reading, reading->needs_path_only && !reading->has_approved, &executable);
    if (!reading->is_short && reading->has_approved && is_as_approved(reading, &executable))
        return true;
    reading->is_vague = reading->is_short || !find_chain(reading, &executable);
    if (reading->is_short)
        (void) name_program(reading, &executable, reading->given);
    (void) forget_if_lacking(reading);
    return false;
}

void cbpd_read_running(struct reading *reading, const char *given)
{
    struct executable executable;
    find_executable(reading, false, &executable);
    reading->is_vague = reading->is_short;
    /* A relative path counted from a working directory that may have changed since. */
    if (reading->is_short || given[0] != '/' || read_given_chain(reading, given) != RESOLVED ||
        !ends_with(reading, &executable))
        (void) name_program(reading, &executable, given);
    (void) forget_if_lacking(reading);
}

void cbpd_free_reading(struct reading *reading)
{
    struct text *texts[TEXTS_OF_READING];
    texts_of(reading, texts);
    for (size_t i = 0; i < TEXTS_OF_READING; i++)
        free(texts[i]->bytes);
}
