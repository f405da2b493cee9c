/* Reads what an execution is about: all names of the files that it goes through, and its arguments. See
 * reading.h. execution.c acts on it. */
#include "reading.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "deleted.h"
#include "syscalls.h"

/* The given path may be one of so many arguments: two for each interpreter, and one more. */
enum { PLACES_MAX = 13 };

/* ---- Memory ---- */

enum { TEXTS_OF_READING = 7 };

static void texts_of(struct reading *reading, struct text *texts[TEXTS_OF_READING])
{
    struct text *all[TEXTS_OF_READING] = {&reading->chain.names, &reading->chain.prefix, &reading->path,
                                          &reading->name,        &reading->list,         &reading->composed,
                                          &reading->words};
    memcpy(texts, all, sizeof all);
}

static void begin_reading(struct reading *reading)
{
    struct text *texts[TEXTS_OF_READING];
    texts_of(reading, texts);
    for (size_t i = 0; i < TEXTS_OF_READING; i++)
        texts[i]->is_lacking = false;
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
    done = done && text_append(scratch, chain->names.bytes, chain->names.size) &&
           text_append(scratch, chain->prefix.size > 0 ? chain->prefix.bytes : "", chain->prefix.size);
    if (done)
        *digest = cbpd_digest_of(scratch->bytes, scratch->size);
    return done;
}

/* ---- At the entry of execve ---- */

/* Composes the arguments that the program will get, to compare them with those that it got. A script's header
 * comes before them and replaces the first. */
static bool compose_arguments(struct reading *reading)
{
    const struct text *list = &reading->list;
    const struct chain *chain = &reading->chain;
    size_t skip = 0;
    reading->composed.size = 0;
    for (uint32_t i = 0; i < chain->dropped && skip < list->size; i++)
        skip += strlen(list->bytes + skip) + 1;
    if (!text_append(&reading->composed, chain->prefix.size > 0 ? chain->prefix.bytes : "",
                     chain->prefix.size) ||
        !text_append(&reading->composed, list->size > 0 ? list->bytes + skip : "", list->size - skip))
        return false;
    return reading->composed.size > 0 || text_append(&reading->composed, "", 1); /* like the kernel's */
}

/* Composes the name that the kernel gives to the program: its path, or the descriptor that opened it. */
static bool compose_name(struct reading *reading, int fd, bool *is_by_descriptor)
{
    const struct text *path = &reading->path;
    *is_by_descriptor = path->bytes[0] != '/' && fd != AT_FDCWD;
    reading->name.size = 0;
    if (*is_by_descriptor) {
        char prefix[32];
        int size = snprintf(prefix, sizeof prefix, "/dev/fd/%d%s", fd, path->size > 1 ? "/" : "");
        if (!text_append(&reading->name, prefix, (size_t) size))
            return false;
    }
    return text_append(&reading->name, path->bytes, path->size);
}

/* Says whether a script was given by a descriptor that will be closed before its interpreter runs. */
static bool closes_on_execution(uint32_t tid, int fd)
{
    char path[64], text[512] = "";
    snprintf(path, sizeof path, "/proc/%u/fdinfo/%d", tid, fd);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = file >= 0 ? read(file, text, sizeof text - 1) : 0;
    if (file >= 0)
        close(file);
    const char *flags = size > 0 ? strstr(text, "flags:\t") : NULL;
    return flags && (strtoul(flags + strlen("flags:\t"), NULL, 8) & O_CLOEXEC) != 0;
}

static enum resolution read_call(const struct place *place, const struct syscall_entry *entry,
                                 struct reading *reading)
{
    bool is_at = syscall_kind(entry->architecture, entry->number) == SYSCALL_EXECVEAT, is_by_descriptor;
    const uint64_t *arguments = entry->arguments + (is_at ? 1 : 0);
    int fd = is_at ? (int) (int32_t) entry->arguments[0] : AT_FDCWD;
    int flags = is_at ? (int) entry->arguments[4] : 0;
    /* AT_EXECVE_CHECK executes nothing, and the kernel refuses flags that it does not know. */
    if (flags & ~(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
        return BOUND_TO_FAIL;
    if (!cbpd_read_string(&reading->window, place->tid, arguments[0], &reading->path))
        return BOUND_TO_FAIL;
    if (!compose_name(reading, fd, &is_by_descriptor))
        return UNKNOWN;
    enum resolution resolution =
        cbpd_read_chain(place, fd, reading->path.bytes, flags, reading->name.bytes, &reading->chain);
    if (resolution != RESOLVED)
        return resolution;
    if (is_by_descriptor && reading->chain.dropped > 0 && closes_on_execution(place->tid, fd))
        return BOUND_TO_FAIL;
    struct argument_places places = {.arguments = arguments[1],
                                     .environment = arguments[2],
                                     .is_32bit = entry->is_32bit,
                                     .name_size = reading->name.size,
                                     .prefix_size = reading->chain.prefix.size};
    if (!cbpd_read_argument_list(&reading->window, place->tid, &places, &reading->list, &reading->composed))
        return BOUND_TO_FAIL;
    if (!compose_arguments(reading))
        return UNKNOWN;
    reading->is_vague = reading->chain.is_unreadable;
    reading->is_complete = true;
    /* The kernel adds an empty argument to an empty list. */
    reading->arguments = reading->list.size > 0 ? reading->list.bytes : "";
    reading->arguments_size = reading->list.size > 0 ? (uint32_t) reading->list.size : 1;
    reading->facts.arguments = cbpd_digest_of(reading->composed.bytes, reading->composed.size);
    reading->facts.is_direct = reading->chain.file_count == 1;
    return digest_chain(&reading->chain, &reading->composed, &reading->facts.chain) ? RESOLVED : UNKNOWN;
}

enum resolution cbpd_read_entry(const struct place *place, const struct syscall_entry *entry,
                                struct reading *reading)
{
    begin_reading(reading);
    enum resolution resolution = read_call(place, entry, reading);
    return forget_if_lacking(reading) ? RESOLVED : resolution;
}

/* ---- After execve ---- */

/* This is the running program as /proc shows it. */
struct executable {
    uint32_t tid;
    char path[PATH_MAX];
    size_t path_size;
    struct file_identity identity; /* not known until it is needed */
    bool is_known, is_deleted;
};

static void identify(struct executable *executable)
{
    executable->is_known =
        executable->is_known && cbpd_read_program_identity(executable->tid, &executable->identity);
}

static void find_executable(uint32_t tid, bool needs_path_only, struct executable *executable)
{
    char room[PROC_NAME_SIZE];
    const char *link = cbpd_proc_name(room, tid, "/exe");
    ssize_t size = readlink(link, executable->path, sizeof executable->path);
    executable->tid = tid;
    executable->path_size = size > 0 ? (size_t) size : 0;
    executable->is_known = size > 0 && size < (ssize_t) sizeof executable->path;
    executable->is_deleted =
        executable->is_known && cbpd_take_off_deleted(link, tid, executable->path, &executable->path_size);
    executable->identity = (struct file_identity){0, 0};
    if (!needs_path_only)
        identify(executable);
}

static bool ends_with(const struct chain *chain, struct executable *executable)
{
    const struct chain_file *last = &chain->files[chain->file_count - 1];
    if (executable->identity.inode == 0)
        identify(executable);
    return chain->file_count > 0 && executable->is_known && last->device == executable->identity.device &&
           last->inode == executable->identity.inode;
}

static bool add_executable(struct chain *chain, const struct executable *executable, const char *given,
                           size_t given_size)
{
    if (!cbpd_chain_add(chain, &executable->identity, executable->path, executable->path_size, given,
                        given_size))
        return false;
    chain->files[chain->file_count - 1].is_deleted = executable->is_deleted;
    return true;
}

/* Says whether a script may have led to the program: then its path is among the arguments. */
static bool may_have_come_by_script(const struct new_stack *stack)
{
    const char *argument = stack->arguments, *end = stack->arguments + stack->arguments_size;
    if (!stack->complete || !stack->given)
        return true;
    for (int place = 0; argument && place < PLACES_MAX && argument < end;
         place++, argument += strlen(argument) + 1)
        if (place > 0 && strlen(argument) == stack->given_size &&
            memcmp(argument, stack->given, stack->given_size) == 0)
            return true;
    return false;
}

/* Says whether the arguments begin as this chain makes them begin. Takes off what the caller did not give,
 * except the script's path, which stands for the caller's first argument. */
static bool take_off_interpreters(const struct chain *chain, struct new_stack *stack)
{
    size_t skipped = 0;
    if (!stack->complete || !stack->arguments)
        return false;
    if (chain->is_foreign) /* the name of an interpreter that only the kernel knew comes first */
        skipped = strlen(stack->arguments) + 1;
    const struct text *prefix = &chain->prefix;
    const char *given = chain->names.bytes + chain->files[0].given_at;
    const char *start = prefix->size > 0 ? prefix->bytes : given;
    size_t size = prefix->size > 0 ? prefix->size : strlen(given) + 1;
    if (skipped + size > stack->arguments_size || memcmp(stack->arguments + skipped, start, size) != 0)
        return false;
    skipped += size - (strlen(given) + 1);
    stack->arguments += skipped;
    stack->arguments_size -= (uint32_t) skipped;
    return true;
}

/* Finds the chain that has led to the program. If that is not known any more, the chain has what is known,
 * with the program last. */
static bool find_chain(const struct place *place, struct new_stack *stack, struct executable *executable,
                       struct chain *chain)
{
    const char *given = stack->given ? stack->given : "";
    size_t given_size = stack->given ? stack->given_size : 0;
    cbpd_chain_clear(chain);
    if (!executable->is_known || !stack->given || !may_have_come_by_script(stack)) {
        bool added = add_executable(chain, executable, given, given_size);
        return added && executable->is_known && stack->given;
    }
    enum resolution resolution = cbpd_read_chain(place, AT_FDCWD, given, 0, given, chain);
    if (resolution == RESOLVED && ends_with(chain, executable))
        return chain->dropped == 0 || take_off_interpreters(chain, stack);
    const char *first = stack->arguments && stack->arguments_size > 0 ? stack->arguments : "";
    bool is_consistent = resolution == UNKNOWN && chain->is_foreign && take_off_interpreters(chain, stack);
    if (chain->file_count == 0)
        first = given;
    return add_executable(chain, executable, first, strlen(first)) && is_consistent;
}

/* Makes a chain of the program alone, without a look at what may have led to it. */
static void name_program(const struct new_stack *stack, const struct executable *executable,
                         struct chain *chain)
{
    const char *given = stack->given ? stack->given : "";
    cbpd_chain_clear(chain);
    (void) add_executable(chain, executable, given, strlen(given));
}

static bool is_as_approved(const struct place *place, const struct new_stack *stack,
                           struct executable *executable, const struct execution_facts *approved,
                           struct reading *reading)
{
    struct chain *chain = &reading->chain;
    if (!executable->is_known || !stack->complete || !stack->given ||
        !cbpd_digest_equals(cbpd_digest_of(stack->arguments, stack->arguments_size), approved->arguments))
        return false;
    cbpd_chain_clear(chain);
    bool is_known = approved->is_direct ? add_executable(chain, executable, stack->given, stack->given_size)
                                        : cbpd_read_chain(place, AT_FDCWD, stack->given, 0, stack->given,
                                                          chain) == RESOLVED &&
                                              ends_with(chain, executable);
    struct digest digest;
    return is_known && digest_chain(chain, &reading->composed, &digest) &&
           cbpd_digest_equals(digest, approved->chain);
}

bool cbpd_read_stop(const struct place *place, const struct stop_registers *registers, uint32_t user_id,
                    const struct execution_facts *approved, struct reading *reading)
{
    struct new_stack stack = {0};
    struct executable executable;
    begin_reading(reading);
    reading->user_id = user_id;
    if (registers)
        cbpd_read_new_stack(place->tid, registers, reading, &stack);
    find_executable(place->tid, reading->needs_path_only && !approved, &executable);
    if (reading->is_short) {
        name_program(&stack, &executable, &reading->chain);
        reading->is_vague = true;
    } else if (approved && is_as_approved(place, &stack, &executable, approved, reading)) {
        return true;
    } else {
        reading->is_vague = !find_chain(place, &stack, &executable, &reading->chain);
    }
    reading->arguments = stack.arguments;
    reading->arguments_size = stack.arguments_size;
    reading->is_complete = stack.complete;
    (void) forget_if_lacking(reading);
    return false;
}

void cbpd_free_reading(struct reading *reading)
{
    struct text *texts[TEXTS_OF_READING];
    texts_of(reading, texts);
    for (size_t i = 0; i < TEXTS_OF_READING; i++)
        free(texts[i]->bytes);
}

static void find_running_chain(const struct place *place, const char *given, struct reading *reading)
{
    struct executable executable;
    struct chain *chain = &reading->chain;
    find_executable(place->tid, false, &executable);
    reading->is_vague = reading->is_short;
    if (reading->is_short) {
        name_program(&(struct new_stack){0}, &executable, chain);
        return;
    }
    /* A relative path counted from a working directory that may have changed since. */
    if (given[0] != '/' || cbpd_read_chain(place, AT_FDCWD, given, 0, given, chain) != RESOLVED ||
        !ends_with(chain, &executable)) {
        cbpd_chain_clear(chain);
        (void) add_executable(chain, &executable, given, strlen(given));
    }
}

void cbpd_read_running(const struct place *place, const char *given, struct reading *reading)
{
    find_running_chain(place, given, reading);
    (void) forget_if_lacking(reading);
}
