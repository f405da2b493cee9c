/* Brings processes into the books that were not told of at their creation: all that run when the driver begins
 * to watch, and later any that an operation is about. The system is asked first, and then the books are taken.
 * Knows no sessions and no reports. */
#include "kernel.h"

enum { PROCESS_INFORMATION = 5, LIST_SIZE_FIRST = 256 * 1024, LIST_SIZE_MAX = 64 * 1024 * 1024 };

/* A process that was not told of may have been created by the first to operate on it for so long. */
static const uint64_t new_for = 10u * 1000u * 1000u; /* 1 s in units of 100 ns */

/* The system's list begins with this for each process, and has its threads behind it. Source: winternl.h and
 * Microsoft's page on NtQuerySystemInformation, whose reserved members are named here as far as they are used.
 */
struct listed {
    ULONG next_offset; /* to the next one; 0: this is the last one */
    ULONG thread_count;
    LARGE_INTEGER reserved[3];
    LARGE_INTEGER create_time, user_time, kernel_time;
    UNICODE_STRING name;
    LONG priority;
    HANDLE pid, parent_pid;
};

static struct listed *next_listed(struct listed *at)
{
    return at->next_offset != 0 ? (struct listed *) (void *) ((char *) at + at->next_offset) : NULL;
}

/* ---- One process ---- */

/* Says whether a process that has just got into the books has begun to end: then its end may have been told of
 * before. */
static bool is_ending(PEPROCESS object)
{
    return PsGetProcessExitStatus(object) != STATUS_PENDING;
}

/* Adds a process that the system has been asked about, unless that has been done in the meantime. NULL: it is
 * ending, or there is no memory. */
static struct cbpd_kernel_process *add(struct cbpd_policy *policy, PEPROCESS object,
                                       const struct cbpd_facts *facts, struct cbpd_kernel_process *creator)
{
    struct cbpd_kernel_process *process = cbpd_process_of(policy, facts->pid);
    if (process && process->base.start_time == facts->start_time)
        return process;
    process = cbpd_process_begin(policy, facts, creator);
    if (!process)
        return NULL;
    process->has_threads = true;
    if (!is_ending(object))
        return process;
    cbpd_process_end(policy, process);
    return NULL;
}

/* ---- All processes ---- */

/* Finds the creator that the list names. Ids are used again: a process older than its parent has an earlier
 * parent with that id. */
static struct cbpd_kernel_process *find_parent(struct cbpd_policy *policy, const struct cbpd_facts *facts)
{
    struct cbpd_kernel_process *parent = cbpd_process_of(policy, facts->parent_pid);
    return parent && parent->base.start_time <= facts->start_time ? parent : NULL;
}

/* The list has names of processes without a program, such as System, and of others their program's name alone. */
static void take_listed_name(const struct listed *at, struct cbpd_facts *facts)
{
    if (!facts->path)
        facts->path = cbpd_name_of_text(&at->name, &facts->path_size);
    facts->is_vague |= !facts->path;
}

/* Adds one process of the list. */
static uint32_t add_listed(const struct listed *at, const struct cbpd_drives *drives)
{
    PEPROCESS object;
    struct cbpd_facts facts;
    uint32_t pid = HandleToUlong(at->pid);
    if (pid == 0 || !NT_SUCCESS(PsLookupProcessByProcessId(at->pid, &object)))
        return 0; /* it has ended, or is no process */
    cbpd_facts_read(object, drives, &facts);
    facts.parent_pid = HandleToUlong(at->parent_pid);
    take_listed_name(at, &facts);
    struct cbpd_policy *policy = cbpd_books_lock();
    bool is_added = add(policy, object, &facts, find_parent(policy, &facts));
    cbpd_books_unlock();
    bool is_lacking = !is_added && !is_ending(object);
    ObDereferenceObject(object);
    cbpd_facts_free(&facts);
    return is_lacking ? CBP_ERROR_NOT_ENOUGH_MEMORY : 0;
}

/* Says whether the parent of a process comes later in the list. */
static bool waits_for_parent(struct listed *at)
{
    for (struct listed *other = next_listed(at); other && at->parent_pid; other = next_listed(other))
        if (other->pid == at->parent_pid && other->create_time.QuadPart <= at->create_time.QuadPart)
            return true;
    return false;
}

/* Adds all of the list. The system lists processes in the order of their creation, so one pass does it; another
 * order takes several, and each of them adds those whose parents are there. */
static uint32_t add_all(struct listed *list, const struct cbpd_drives *drives)
{
    bool any_waits = true;
    uint32_t error = 0;
    while (any_waits && error == 0) {
        any_waits = false;
        for (struct listed *at = list; at && error == 0; at = next_listed(at)) {
            if (at->pid == NULL)
                continue;
            if (waits_for_parent(at)) {
                any_waits = true;
                continue;
            }
            error = add_listed(at, drives);
            at->pid = NULL; /* done */
        }
    }
    return error;
}

/* Reads the system's list, which can grow between two questions. NULL: *error says why. */
static struct listed *read_list(uint32_t *error)
{
    for (ULONG size = LIST_SIZE_FIRST; size <= LIST_SIZE_MAX; size *= 2) {
        ULONG needed = 0;
        void *list = cbpd_pool_allocate(size);
        NTSTATUS status = list ? cbpd_system_information(PROCESS_INFORMATION, list, size, &needed)
                               : STATUS_INSUFFICIENT_RESOURCES;
        if (NT_SUCCESS(status))
            return list;
        cbpd_pool_free(list);
        *error = cbpd_error_of(status);
        if (status != STATUS_INFO_LENGTH_MISMATCH)
            return NULL;
    }
    return NULL;
}

uint32_t cbpd_processes_read(void)
{
    uint32_t error = CBP_ERROR_NOT_ENOUGH_MEMORY;
    struct cbpd_drives *drives = cbpd_drives_read();
    struct listed *list = drives ? read_list(&error) : NULL;
    if (list)
        error = add_all(list, drives);
    cbpd_pool_free(list);
    cbpd_pool_free(drives);
    return error;
}

/* ---- The processes of an operation ---- */

/* Says whether the books have the party, and not an earlier process with its id. */
static bool find_party(struct cbpd_policy *policy, struct cbpd_party *party)
{
    party->process = cbpd_process_of(policy, party->pid);
    if (party->process && party->object &&
        party->process->base.start_time != (uint64_t) PsGetProcessCreateTimeQuadPart(party->object))
        party->process = NULL;
    return party->process;
}

static bool find_parties(struct cbpd_policy *policy, struct cbpd_party *parties, uint32_t count)
{
    bool are_all_there = true;
    for (uint32_t i = 0; i < count; i++)
        are_all_there &= find_party(policy, &parties[i]);
    return are_all_there;
}

/* Says whether the originator may be the creator of a process that nobody has told of: the creator's own handle
 * of a new process may be opened before its creation is told. */
static bool may_have_created(const struct cbpd_party *originator, const struct cbpd_facts *facts)
{
    uint64_t now = cbpd_system_time();
    return originator->process && originator->pid != facts->pid && now >= facts->start_time &&
           now - facts->start_time <= new_for && originator->process->base.start_time <= facts->start_time;
}

/* Adds a party. A guessed creator gets the handles of its creation, and leaves to it what rules oblige to: a
 * guess must never exempt a process. */
static void add_party(struct cbpd_party *parties, uint32_t index, PEPROCESS object,
                      const struct cbpd_facts *facts)
{
    struct cbpd_policy *policy = cbpd_books_lock();
    if (!find_party(policy, &parties[index])) {
        struct cbpd_kernel_process *process = add(policy, object, facts, NULL);
        if (process && index > 0 && find_party(policy, &parties[0]) && may_have_created(&parties[0], facts)) {
            cbpd_inherit_obligations(policy, &process->base, &parties[0].process->base);
            process->creator_pid = parties[0].pid;
            process->creator_tid = HandleToUlong(PsGetCurrentThreadId());
            process->birthrights = CBPD_ALL_BIRTHRIGHTS;
        }
    }
    cbpd_books_unlock();
}

/* Asks the system about a party and adds it, unless it is ending. The books are free. */
static void introduce(struct cbpd_party *parties, uint32_t index, bool can_read_names)
{
    struct cbpd_party *party = &parties[index];
    PEPROCESS object = party->object;
    if (!object && !NT_SUCCESS(PsLookupProcessByProcessId(UlongToHandle(party->pid), &object)))
        return;
    if (!is_ending(object)) {
        struct cbpd_drives *drives = can_read_names ? cbpd_drives_read() : NULL;
        struct cbpd_facts facts;
        cbpd_facts_read(object, drives, &facts);
        add_party(parties, index, object, &facts);
        cbpd_facts_free(&facts);
        cbpd_pool_free(drives);
    }
    if (!party->object)
        ObDereferenceObject(object);
}

struct cbpd_policy *cbpd_books_lock_for(struct cbpd_party *parties, uint32_t count, bool can_read_names)
{
    struct cbpd_policy *policy = cbpd_books_lock();
    if (find_parties(policy, parties, count))
        return policy;
    cbpd_books_unlock();
    for (uint32_t i = 0; i < count; i++)
        if (!parties[i].process)
            introduce(parties, i, can_read_names);
    policy = cbpd_books_lock();
    (void) find_parties(policy, parties, count);
    return policy;
}
