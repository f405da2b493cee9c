/* Enters the processes that ran before the programs of the machine did. Those that begin and end meanwhile are
 * in the ring, too; the start time tells whether a record speaks of a process that is known. */
#include "machine.h"

#include "errors.h"
#include "masks.h"
#include "memory.h"
#include "proc_files.h"
#include "task_list.h"

#include <stdlib.h>

#define DOUBT_NS (2 * CBP_NS_PER_S)
#define PF_EXITING 0x4u /* the kernel's */

struct entry {
    uint32_t process_id, parent_id, user_id;
    uint64_t start_time;
    uint64_t start_ns, execution_count; /* 0 and UINT64_MAX: not known */
    bool is_entered;
};

struct census {
    struct entry *entries;
    uint64_t count, capacity;
};

/* ---- The list ---- */

static uint32_t add(struct census *census, const struct entry *entry)
{
    struct entry *entries = cbpi_grow(census->entries, sizeof *entries, census->count + 1, &census->capacity);
    if (!entries)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for the list of processes");
    census->entries = entries;
    entries[census->count++] = *entry;
    return 0;
}

static uint32_t note_listed(void *context, const struct cbpi_listed *listed)
{
    const struct entry entry = {.process_id = listed->facts.process_id,
                                .parent_id = listed->facts.parent_process_id,
                                .user_id = listed->real_user_id,
                                .start_time = listed->facts.start_time,
                                .start_ns = listed->start_ns,
                                .execution_count = listed->execution_count};
    return add(context, &entry);
}

static uint32_t note_in_proc(void *context, const struct cbpi_process_facts *facts)
{
    struct status_facts status;
    const struct entry entry = {.process_id = facts->process_id,
                                .parent_id = facts->parent_process_id,
                                .user_id =
                                    cbpd_read_status_file(facts->process_id, &status) ? status.user_id : 0,
                                .start_time = facts->start_time,
                                .execution_count = UINT64_MAX};
    return add(context, &entry);
}

/* Lists the processes by the iterator, or else as /proc has them. */
static uint32_t list(const struct cbpi_machine *machine, struct census *census)
{
    int iterator = machine->guard.descriptors[CBP_GUARD_FD_TASKS_ITERATOR];
    if (iterator >= 0 && cbpi_task_list_read(iterator, false, note_listed, census) == 0)
        return 0;
    census->count = 0;
    return cbpi_processes_visit(0, note_in_proc, census);
}

static struct entry *find(const struct census *census, uint32_t process_id)
{
    uint64_t low = 0, high = census->count; /* the list is by rising id */
    while (low < high) {
        uint64_t middle = (low + high) / 2;
        if (census->entries[middle].process_id < process_id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < census->count && census->entries[low].process_id == process_id ? &census->entries[low]
                                                                                : NULL;
}

/* ---- One process ---- */

static bool is_helper_of_ours(const struct cbpi_machine *machine, uint32_t process_id)
{
    return process_id == machine->guard.process_id || process_id == machine->guard.settings->gate_process_id;
}

/* Says whether the process has begun to end: then its record may have come before the programs did. */
static bool is_ending(uint32_t process_id)
{
    char line[STAT_SIZE_MAX];
    struct stat_facts facts;
    return cbpd_read_stat_file(process_id, "stat", line, &facts) && (facts.flags & PF_EXITING) != 0;
}

static bool enter(struct cbpi_machine *machine, const struct entry *entry)
{
    struct cbpi_machine_process *known = cbpi_machine_find(machine, entry->process_id);
    if (known && known->base.start_time == entry->start_time)
        return true;
    struct cbpi_machine_process *process = cbpi_machine_add(machine, entry->process_id, entry->start_time,
                                                            cbpi_machine_find(machine, entry->parent_id));
    if (!process)
        return false;
    process->parent_pid = entry->parent_id;
    process->user_id = entry->user_id;
    process->base.executed = true;
    process->is_exempt |= is_helper_of_ours(machine, entry->process_id);
    struct cbpd_image *image = cbpi_machine_image_of(machine, entry->process_id);
    cbpd_release_image(&machine->policy, process->base.image);
    process->base.image = image;
    cbpd_rename_standing(&process->base);
    process->is_doubtful = is_ending(entry->process_id);
    if (process->is_doubtful)
        machine->census_ns = cbpi_now_ns() + DOUBT_NS;
    cbpi_masks_enter(machine, process, entry->start_ns, entry->execution_count);
    return true;
}

/* Enters the process after its ancestors. */
static bool enter_line(struct cbpi_machine *machine, const struct census *census, struct entry *entry)
{
    struct entry *line[64]; /* a deeper one loses its oldest ancestors */
    uint32_t depth = 0;
    for (; entry && !entry->is_entered && depth < sizeof line / sizeof line[0]; depth++) {
        entry->is_entered = true;
        line[depth] = entry;
        entry = find(census, entry->parent_id);
    }
    while (depth > 0)
        if (!enter(machine, line[--depth]))
            return false;
    return true;
}

uint32_t cbpi_machine_census(struct cbpi_machine *machine)
{
    struct census census = {.entries = NULL};
    uint32_t error = list(machine, &census);
    for (uint64_t i = 0; error == 0 && i < census.count; i++)
        if (!enter_line(machine, &census, &census.entries[i]))
            error = cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for the processes of the machine");
    free(census.entries);
    return error;
}

void cbpi_machine_check_census(struct cbpi_machine *machine, uint64_t now_ns)
{
    if (machine->census_ns == 0 || now_ns < machine->census_ns)
        return;
    machine->census_ns = 0;
    for (struct cbpd_process *at = machine->policy.processes, *next; at; at = next) {
        struct cbpi_machine_process *process = cbpi_machine_process(at);
        uint64_t start_time;
        next = at->next;
        if (!process->is_doubtful)
            continue;
        process->is_doubtful = false;
        if (cbpi_process_start_time(at->pid, &start_time) != 0 || start_time != at->start_time)
            cbpi_machine_end(machine, process);
    }
}
