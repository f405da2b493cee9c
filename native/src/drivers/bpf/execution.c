/* Follows executions by their threads: which opened file begins one, which belongs to one that was decided, and
 * whether what was executed is what was decided. See execution.h.
 *
 * The kernel opens, in one call: the named file; on overlayfs the file behind it; interpreters of scripts; the
 * loader. A file is a part of a decided execution if the thread is in the same call still, given the same path,
 * and the file is the next one that was found when it was decided about. Another thread that shares the memory
 * can make two calls look like one; what has been executed then differs from what was decided. */
#include "execution.h"

#include "execution_reading.h"

#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A text is known by its digest, or not at all. */
struct known_text {
    bool is_known;
    struct digest digest;
};

/* The files of a script's execution with their names, or of one for an interpreter that only the kernel knows. */
struct kept_chain {
    struct chain_file files[CHAIN_FILE_MAX];
    struct text names, prefix;
    uint32_t dropped;
};

/* An execution is under way in a thread. */
struct cbpi_under_way {
    struct cbpi_under_way *next;
    uint32_t thread_id, process_id;
    struct cbpi_call call;
    bool is_decided;         /* and was allowed */
    bool has_failed_before;  /* one of this thread, which the owner has not been told of yet */
    bool awaits_interpreter; /* after these files the kernel opens an interpreter that only it knows */
    /* The kernel opens these one after the other, and then the loader. */
    struct file_identity files[CHAIN_FILE_MAX];
    uint32_t file_count, next_file;
    bool has_loader;
    struct file_identity loader;
    struct cbpi_file_version last, program; /* the last opened file; the executable, once it is opened */
    struct kept_chain kept;                 /* of use if there are several files, or more are awaited */
    /* What has been executed is compared with these. */
    uint64_t device, inode;
    struct known_text path, name, arguments; /* of the executable; as the kernel calls it; those it gets */
};

/* ---- What is under way ---- */

static struct cbpi_under_way **bucket_of(struct cbpi_executions *executions, uint32_t thread_id)
{
    return &executions->buckets[thread_id % CBPI_UNDER_WAY_BUCKETS];
}

static struct cbpi_under_way *find(struct cbpi_executions *executions, uint32_t thread_id)
{
    struct cbpi_under_way *one = *bucket_of(executions, thread_id);
    while (one && one->thread_id != thread_id)
        one = one->next;
    return one;
}

static struct cbpi_under_way *find_or_make(struct cbpi_executions *executions, uint32_t thread_id)
{
    struct cbpi_under_way *one = find(executions, thread_id);
    if (one)
        return one;
    one = calloc(1, sizeof *one);
    if (!one)
        return NULL;
    struct cbpi_under_way **bucket = bucket_of(executions, thread_id);
    one->thread_id = thread_id;
    one->next = *bucket;
    *bucket = one;
    return one;
}

static void drop(struct cbpi_executions *executions, uint32_t thread_id)
{
    struct cbpi_under_way **at = bucket_of(executions, thread_id);
    while (*at && (*at)->thread_id != thread_id)
        at = &(*at)->next;
    struct cbpi_under_way *one = *at;
    if (!one)
        return;
    *at = one->next;
    free(one->kept.names.bytes);
    free(one->kept.prefix.bytes);
    free(one);
}

struct cbpi_executions *cbpi_executions_make(const struct cbpi_guard *guard)
{
    struct cbpi_executions *executions = calloc(1, sizeof *executions);
    int program = guard ? guard->descriptors[CBP_GUARD_FD_LOOK] : -1;
    int map = guard ? guard->descriptors[CBP_GUARD_FD_LOOKS] : -1;
    if (executions && cbpd_digest_init() && cbpi_looks_open(&executions->looks, program, map))
        return executions;
    free(executions);
    return NULL;
}

void cbpi_executions_free(struct cbpi_executions *executions)
{
    if (!executions)
        return;
    for (size_t i = 0; i < CBPI_UNDER_WAY_BUCKETS; i++)
        while (executions->buckets[i])
            drop(executions, executions->buckets[i]->thread_id);
    cbpi_looks_close(&executions->looks);
    cbpi_free_reading(&executions->reading);
    cbpi_forget_programs(&executions->programs);
    free(executions);
}

uint32_t cbpi_execution_process_of(uint32_t thread_id)
{
    struct status_facts facts;
    if (syscall(SYS_tgkill, thread_id, thread_id, 0) == 0)
        return thread_id;
    return cbpd_read_status_file(thread_id, &facts) ? facts.group : 0;
}

/* ---- Parts ---- */

/* Says whether the file is the one behind the last opened one: overlayfs opens it, and shows its times. */
static bool is_behind(const struct cbpi_under_way *one, const struct cbpi_file_version *version)
{
    return one->last.identity.device != version->identity.device &&
           one->last.change_ns == version->change_ns && one->last.size == version->size;
}

/* Says whether the program's loader is this file now: it may have been exchanged, or the thread has another root
 * than the one that executed the program before. */
static bool is_loader_now(struct cbpi_executions *executions, struct cbpi_under_way *one,
                          const struct file_identity *identity)
{
    struct cbpi_known_program *program = cbpi_find_program(&executions->programs, &one->program);
    const struct place place = {.pid = one->process_id, .tid = one->thread_id};
    struct cbpi_opened_file loader;
    int fd = program && program->loader_path ? cbpd_look_up(&place, AT_FDCWD, program->loader_path, 0) : -1;
    if (fd < 0)
        return false;
    bool is_it = cbpi_describe_file(fd, &loader) && cbpi_is_same_file(&loader.version.identity, identity);
    close(fd);
    if (is_it)
        program->loader = *identity;
    return is_it;
}

/* Says whether the next file of the execution is this one. */
static bool is_next(struct cbpi_executions *executions, struct cbpi_under_way *one,
                    const struct file_identity *identity)
{
    if (one->next_file < one->file_count)
        return cbpi_is_same_file(&one->files[one->next_file], identity);
    return one->has_loader &&
           (cbpi_is_same_file(&one->loader, identity) || is_loader_now(executions, one, identity));
}

/* Says whether the thread is still in the call that one is about. */
static bool is_in_call(struct cbpi_executions *executions, const struct cbpi_under_way *one)
{
    struct cbpi_execution_reading *reading = &executions->reading;
    const struct cbp_machine_look *look = cbpi_look(&executions->looks, one->thread_id, -1);
    return look && cbpi_read_call(reading, look) && cbpi_is_same_call(&reading->call, &one->call);
}

/* Takes a file that the execution was expected to open. False: it is another execution's. */
static bool take_part(struct cbpi_executions *executions, struct cbpi_under_way *one,
                      const struct cbpi_opened_file *file)
{
    const struct cbpi_file_version *version = &file->version;
    bool is_expected = is_next(executions, one, &version->identity);
    if ((!is_expected && !is_behind(one, version)) || !is_in_call(executions, one))
        return false;
    one->last = *version;
    if (is_expected && one->next_file < one->file_count) {
        one->next_file++;
        one->program = *version;
    } else if (is_expected) {
        one->has_loader = false;
    }
    return true;
}

/* ---- New ones ---- */

static bool keep_chain(struct kept_chain *kept, const struct chain *chain)
{
    memcpy(kept->files, chain->files, sizeof kept->files);
    kept->dropped = chain->dropped;
    kept->names.size = kept->prefix.size = 0;
    return cbpd_append_from(&kept->names, &chain->names, 0) &&
           cbpd_append_from(&kept->prefix, &chain->prefix, 0);
}

/* Begins the chain with the files that the present call has opened so far. */
static bool resume_chain(struct chain *chain, const struct cbpi_under_way *one)
{
    const struct kept_chain *kept = &one->kept;
    cbpd_chain_clear(chain);
    memcpy(chain->files, kept->files, sizeof chain->files);
    chain->file_count = one->next_file;
    chain->dropped = kept->dropped;
    return cbpd_append_from(&chain->names, &kept->names, 0) &&
           cbpd_append_from(&chain->prefix, &kept->prefix, 0);
}

static struct known_text know_text(bool is_known, const char *text, size_t size)
{
    struct known_text known = {.is_known = is_known};
    if (is_known)
        known.digest = cbpd_digest_of(text, size);
    return known;
}

/* Keeps what later files and the execution itself are compared with. */
static void remember(struct cbpi_under_way *one, const struct cbpi_execution_reading *reading,
                     const struct cbp_machine_look *look, const struct cbpi_opened_file *file,
                     uint32_t opened_count)
{
    const struct chain *chain = &reading->chain;
    const struct chain_file *executable = &chain->files[chain->file_count - 1];
    one->process_id = look->process_id;
    one->call = reading->call;
    one->last = one->program = file->version;
    one->next_file = opened_count;
    one->file_count = chain->file_count;
    for (uint32_t i = 0; i < chain->file_count; i++)
        one->files[i] = (struct file_identity){chain->files[i].device, chain->files[i].inode};
    one->has_loader = chain->has_loader;
    one->loader = chain->loader;
    one->path = know_text(true, chain->names.bytes + executable->path_at, executable->path_size);
    one->name = know_text(!reading->is_by_kernel, reading->name.bytes, reading->name.size - 1);
    /* After what the kernel or another thread has put in, nobody knows what the program gets. */
    one->arguments = know_text(reading->are_arguments_known && opened_count == 1, reading->composed.bytes,
                               reading->composed.size);
    /* The look has the identity as the kernel's own programs see it; of other files, stat's is known. */
    bool is_opened = opened_count == chain->file_count && look->inode != 0;
    one->device = is_opened ? look->device : executable->device;
    one->inode = is_opened ? look->inode : executable->inode;
    if ((chain->file_count > 1 || one->awaits_interpreter) && !keep_chain(&one->kept, chain))
        one->file_count = 0; /* without memory nothing that follows is a part */
}

/* Reads what the opened file begins, or goes on with. */
static enum cbpi_execution_kind begin(struct cbpi_executions *executions, struct cbpi_under_way *one,
                                      const struct cbp_machine_look *look,
                                      const struct cbpi_opened_file *file, struct cbpi_execution *execution)
{
    struct cbpi_execution_reading *reading = &executions->reading;
    /* The first file again means that the call has been made again. */
    bool goes_on = (one->awaits_interpreter || one->next_file < one->file_count) &&
                   cbpi_is_same_call(&reading->call, &one->call) &&
                   !cbpi_is_same_file(&one->files[0], &file->version.identity);
    bool is_foreign = goes_on && one->awaits_interpreter && one->next_file == one->file_count;
    uint32_t opened_count = goes_on && resume_chain(&reading->chain, one) ? one->next_file : 0;
    if (opened_count == 0)
        cbpd_chain_clear(&reading->chain);
    one->has_failed_before |= one->is_decided && !goes_on;
    one->is_decided = false;
    enum cbpi_reading_result result = cbpi_read_execution(reading, &executions->programs, look, file);
    if (result == CBPI_READING_NO_EXECUTION) {
        one->file_count = one->next_file = 0;
        one->has_loader = one->awaits_interpreter = false;
        return CBPI_EXECUTION_NOTHING;
    }
    one->awaits_interpreter = result == CBPI_READING_FOREIGN;
    remember(one, reading, look, file, opened_count + 1);
    if (one->awaits_interpreter)
        return CBPI_EXECUTION_NOTHING;
    cbpi_fill_execution(reading, look->process_id, look->thread_id, execution);
    execution->user_id = look->user_id;
    execution->start_ns = look->start_ns;
    execution->device = one->device;
    execution->inode = one->inode;
    execution->is_unsure = (look->flags & CBP_MACHINE_LOOK_SHARED) != 0;
    execution->is_vague = result == CBPI_READING_VAGUE;
    execution->is_changed = goes_on && !is_foreign;
    execution->has_failed_before = one->has_failed_before;
    one->has_failed_before = false;
    return CBPI_EXECUTION_NEW;
}

enum cbpi_execution_kind cbpi_execution_read(struct cbpi_executions *executions,
                                             const struct cbpi_file_event *event,
                                             struct cbpi_execution *execution)
{
    struct cbpi_opened_file file;
    struct cbpi_under_way *one = find(executions, event->thread_id);
    if (!cbpi_describe_file(event->descriptor, &file))
        return CBPI_EXECUTION_UNKNOWN;
    if (one && one->file_count > 0 && take_part(executions, one, &file))
        return CBPI_EXECUTION_PART;
    const struct cbp_machine_look *look = cbpi_look(&executions->looks, event->thread_id, event->descriptor);
    one = look ? find_or_make(executions, event->thread_id) : NULL;
    if (!one)
        return CBPI_EXECUTION_UNKNOWN;
    if (cbpi_read_call(&executions->reading, look))
        return begin(executions, one, look, &file, execution);
    return CBPI_EXECUTION_NOTHING;
}

/* ---- How it goes on ---- */

void cbpi_execution_decided(struct cbpi_executions *executions, uint32_t thread_id, bool refused)
{
    struct cbpi_under_way *one = find(executions, thread_id);
    if (!one)
        return;
    one->is_decided = !refused;
    if (refused)
        one->file_count = 0; /* the call fails, and opens nothing more */
}

bool cbpi_execution_over(struct cbpi_executions *executions, uint32_t thread_id)
{
    struct cbpi_under_way *one = find(executions, thread_id);
    bool has_failed = one && (one->is_decided || one->has_failed_before);
    drop(executions, thread_id);
    return has_failed;
}

/* Says whether a text without a NUL is that of the digest, or cannot be compared. */
static bool is_text(const struct known_text *known, const char *text, size_t size)
{
    return !known->is_known || cbpd_digest_equals(cbpd_digest_of(text, size), known->digest);
}

/* Says whether the record is about the file that was decided about. Where stat(2) shows other numbers than the
 * kernel has (overlayfs, btrfs), the path has to do. */
static bool is_decided_file(const struct cbpi_under_way *one, const struct cbp_machine_exec *record)
{
    return (one->device == record->device && one->inode == record->inode) ||
           (record->path_size > 0 && is_text(&one->path, (const char *) (record + 1), record->path_size));
}

enum cbpi_execution_outcome cbpi_execution_happened(struct cbpi_executions *executions,
                                                    const struct cbp_machine_exec *record,
                                                    const char *arguments, uint32_t arguments_size,
                                                    bool are_arguments_whole)
{
    enum cbpi_execution_outcome outcome = CBPI_EXECUTION_UNDECIDED;
    const struct cbpi_under_way *one = find(executions, record->old_thread_id);
    if (one && one->is_decided) {
        const char *given = (const char *) (record + 1) + record->path_size;
        bool is_same = is_decided_file(one, record) &&
                       (record->given_size == 0 || is_text(&one->name, given, record->given_size)) &&
                       (!are_arguments_whole || is_text(&one->arguments, arguments, arguments_size));
        outcome = is_same ? CBPI_EXECUTION_AS_DECIDED : CBPI_EXECUTION_CHANGED;
    }
    drop(executions, record->old_thread_id);
    return outcome;
}
