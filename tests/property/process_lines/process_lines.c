/* A driver without an operating system: processes come, execute and end as a test says, and the rules that
 * driver/common works out for them can be looked at. Counts the blocks of memory; allocations fail as the
 * test says. */
#include <stdlib.h>
#include <string.h>

#include "supervisor.h"

struct supervisor self;

/* ---- What is counted ---- */

uint64_t lines_blocks, lines_allocations;
uint64_t lines_failing_from, lines_failing_to; /* numbers of allocations */

void *allocate_surely(size_t size)
{
    uint64_t number = lines_allocations++;
    void *memory = number >= lines_failing_from && number < lines_failing_to ? NULL : calloc(1, size);
    lines_blocks += memory != NULL;
    return memory;
}

void free_surely(void *memory)
{
    lines_blocks -= memory != NULL;
    free(memory);
}

/* ---- What driver/common wants of a driver ---- */

const uint32_t name_comparison = CBP_COMPARE_BYTES;

const void *name_units(const char *name, uint32_t size, size_t *count)
{
    *count = size;
    return name;
}

bool path_leads_to_file(const struct image_file *file)
{
    (void) file;
    return true;
}

void identify_programs(void)
{
}

void let_released_go(void)
{
}

uint32_t attach_process(uint32_t pid, uint64_t start_time, bool children)
{
    (void) pid, (void) start_time, (void) children;
    return CBP_ERROR_INVALID_PARAMETER;
}

uint32_t attach_matching(struct rule_set *set, uint32_t wanted_rule_id)
{
    (void) set, (void) wanted_rule_id;
    return CBP_ERROR_BUSY;
}

/* ---- What the test says ---- */

void lines_begin(void);
struct process *lines_add(uint32_t pid, struct process *parent);
bool lines_execute(struct process *process, const char *path, const char *given);
uint32_t lines_install(const void *block, size_t size);
void lines_end_session(void);
uint32_t lines_inherited(const struct process *process, struct rule_ref *refs, uint32_t capacity);
uint32_t lines_bequest(struct process *process, struct rule_ref *refs, uint32_t capacity);
bool lines_is_refused(struct process *process);
void lines_end(struct process *process);

void lines_begin(void)
{
    self.sessions[0].open = true;
    self.sessions[0].opened++;
    self.sessions[0].last_rule_id = 0;
    self.rules.generation++;
}

struct process *lines_add(uint32_t pid, struct process *parent)
{
    struct process *process = add_process(pid, parent);
    if (process == NULL)
        return NULL;
    process->reference_count = 1;
    process->start_time = pid;
    if (parent != NULL) {
        process->image = share_image(parent->image);
        inherit_rules(process, parent);
    }
    return process;
}

bool lines_execute(struct process *process, const char *path, const char *given)
{
    const struct image_file file = {.path = path,
                                    .path_size = (uint32_t) strlen(path),
                                    .given = given,
                                    .given_size = (uint32_t) strlen(given)};
    struct image *image = make_chain_image(&file, 1, false);
    if (image == NULL)
        return false;
    release_image(process->image);
    process->image = image;
    rename_standing(process);
    return true;
}

uint32_t lines_install(const void *block, size_t size)
{
    const struct cbp_rules request = {.part = CBP_RULES_PART_MAIN, .attach_rule_id = CBP_ATTACH_NONE};
    uint64_t failed_rule_id;
    struct rule_set *set;
    void *copy = aligned_alloc(64, (size | 63) + 1);
    if (copy == NULL)
        return CBP_ERROR_NOT_ENOUGH_MEMORY;
    memcpy(copy, block, size);
    uint32_t error = make_rule_set(copy, size, &set);
    return error != 0 ? error : install_rules(&request, set, &failed_rule_id);
}

void lines_end_session(void)
{
    remove_session_rules(0);
    self.sessions[0].open = false;
}

/* UINT32_MAX: unknown. */
static uint32_t tell_list(const struct rule_list *list, struct rule_ref *refs, uint32_t capacity)
{
    if (list == &unknown_rules)
        return UINT32_MAX;
    for (uint32_t i = 0; list != NULL && i < list->count && i < capacity; i++)
        refs[i] = list->refs[i];
    return list != NULL ? list->count : 0;
}

uint32_t lines_inherited(const struct process *process, struct rule_ref *refs, uint32_t capacity)
{
    return tell_list(process->standing.inherited, refs, capacity);
}

uint32_t lines_bequest(struct process *process, struct rule_ref *refs, uint32_t capacity)
{
    return tell_list(bequest_of(process), refs, capacity);
}

/* Whether everything is. */
bool lines_is_refused(struct process *process)
{
    const struct cbp_stance *stance = stances_of(process);
    return stance->deny.code != 0 && stance->strip_mask == UINT32_MAX;
}

void lines_end(struct process *process)
{
    end_process(process);
    release_process(process);
}
