/* Reads what an execution is about: all names of the files that it goes through, and its arguments. See
 * reading.h. execution.c acts on it. */
#include "reading.h"

#include <stdlib.h>
#include <string.h>

#include "syscalls.h"

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
        uint64_t words[] = {file->device, file->inode, (uint64_t) file->changed_ns, file->path_size,
                            file->given_size};
        done = done && text_append(scratch, (const char *) words, sizeof words);
    }
    done =
        done && cbpd_append_from(scratch, &chain->names, 0) && cbpd_append_from(scratch, &chain->prefix, 0);
    if (done)
        *digest = cbpd_digest_of(scratch->bytes, scratch->size);
    return done;
}

/* ---- At the entry of execve ---- */

/* Gives the time of change by which a chain's only file can be known again (running.h). 0: it cannot. */
static int64_t time_if_settled(const struct chain *chain)
{
    const struct chain_file *file = &chain->files[0];
    bool has_one_name = chain->file_count == 1 && chain->status.st_nlink == 1 && !file->is_deleted;
    return has_one_name && cbpd_is_settled(file->changed_ns) ? file->changed_ns : 0;
}

static enum resolution read_call(struct reading *reading, const struct syscall_entry *entry)
{
    bool is_at = syscall_kind(entry->architecture, entry->number) == SYSCALL_EXECVEAT, is_by_descriptor;
    const uint64_t *arguments = entry->arguments + (is_at ? 1 : 0);
    int fd = is_at ? (int) (int32_t) entry->arguments[0] : AT_FDCWD;
    int flags = is_at ? (int) entry->arguments[4] : 0;
    struct chain *chain = &reading->chain;
    if (flags & ~EXECVEAT_FLAGS)
        return BOUND_TO_FAIL;
    if (!cbpd_read_path(&reading->reader, reading->place.tid, arguments[0], arguments[1], &reading->path))
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
    reading->facts.changed_ns = time_if_settled(chain);
    return digest_chain(chain, &reading->composed, &reading->facts.chain) ? RESOLVED : UNKNOWN;
}

enum resolution cbpd_read_entry(struct reading *reading, const struct syscall_entry *entry)
{
    begin_reading(reading);
    enum resolution resolution = read_call(reading, entry);
    return forget_if_lacking(reading) ? RESOLVED : resolution;
}

/* ---- After execve ---- */

/* Finds the chain that has led to the program, see cbpd_find_chain(). */
static bool find_chain(struct reading *reading, struct executable *executable)
{
    struct seen_arguments seen = {reading->arguments, reading->arguments_size, reading->is_complete};
    bool is_known = cbpd_find_chain(&reading->chain, &reading->place, executable, reading->given, &seen);
    reading->arguments = seen.bytes;
    reading->arguments_size = seen.size;
    return is_known;
}

static bool is_as_approved(struct reading *reading, struct executable *executable)
{
    const struct execution_facts *approved = &reading->approved;
    if (!executable->is_known || !reading->is_complete || reading->given[0] == 0 ||
        !cbpd_digest_equals(cbpd_digest_of(reading->arguments, reading->arguments_size), approved->arguments))
        return false;
    bool is_known = approved->is_direct
                        ? cbpd_name_program(&reading->chain, executable, reading->given)
                        : cbpd_read_chain_to(&reading->chain, &reading->place, executable, reading->given);
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
    if (cbpd_find_known_executable(reading->place.tid, &reading->known, &executable) &&
        is_as_approved(reading, &executable))
        return true;
    cbpd_find_executable(reading->place.tid, reading->needs_path_only && !reading->has_approved, &executable);
    if (!reading->is_short && reading->has_approved && is_as_approved(reading, &executable))
        return true;
    reading->is_vague = reading->is_short || !find_chain(reading, &executable);
    if (reading->is_short)
        (void) cbpd_name_program(&reading->chain, &executable, reading->given);
    (void) forget_if_lacking(reading);
    return false;
}

void cbpd_read_running(struct reading *reading, const char *given)
{
    cbpd_read_running_chain(&reading->chain, &reading->place, reading->is_short ? "" : given);
    reading->is_vague = reading->is_short;
    (void) forget_if_lacking(reading);
}

void cbpd_free_reading(struct reading *reading)
{
    struct text *texts[TEXTS_OF_READING];
    texts_of(reading, texts);
    for (size_t i = 0; i < TEXTS_OF_READING; i++)
        free(texts[i]->bytes);
}
