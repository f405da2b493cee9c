/* A host of the policy without an operating system: processes come, execute and end as a test says, and the
 * rules that the policy works out for them can be looked at. Counts the blocks of memory; allocations fail as
 * the test says. */
#include <stdlib.h>
#include <string.h>

#include "policy.h"

static struct cbpd_policy policy;

/* ---- What is counted ---- */

uint64_t lines_blocks, lines_allocations;
uint64_t lines_failing_from, lines_failing_to; /* numbers of allocations that are surely wanted */

static void *allocate(size_t size, bool surely)
{
    uint64_t number = surely ? lines_allocations++ : UINT64_MAX;
    void *memory = number >= lines_failing_from && number < lines_failing_to ? NULL : calloc(1, size);
    lines_blocks += memory != NULL;
    return memory;
}

static void release(void *memory)
{
    lines_blocks -= memory != NULL;
    free(memory);
}

static const void *name_units(void *context, const char *name, uint32_t size, size_t *count)
{
    (void) context;
    *count = size;
    return name;
}

static const struct cbpd_host host = {.allocate = allocate,
                                      .release = release,
                                      .process_size = sizeof(struct cbpd_process),
                                      .name_comparison = CBP_COMPARE_BYTES,
                                      .name_units = name_units};

/* ---- What the test says ---- */

void lines_begin(void);
struct cbpd_process *lines_add(uint32_t pid, struct cbpd_process *parent);
bool lines_execute(struct cbpd_process *process, const char *path, const char *given);
uint32_t lines_install(const void *block, size_t size);
void lines_end_session(void);
uint32_t lines_inherited(const struct cbpd_process *process, struct cbpd_rule_ref *refs, uint32_t capacity);
uint32_t lines_bequest(struct cbpd_process *process, struct cbpd_rule_ref *refs, uint32_t capacity);
bool lines_is_refused(struct cbpd_process *process);
void lines_end(struct cbpd_process *process);
void lines_add_launch(uint32_t rule_id, struct cbpd_process *process);
uint32_t lines_forget_launch(uint32_t rule_id);
void lines_begin_search(const struct cbpd_process *ancestor);
const struct cbpd_process *lines_branch_of(struct cbpd_process *process);

void lines_begin(void)
{
    const struct cbp_session_settings settings = {.session_id = 0};
    uint32_t place;
    memset(&policy, 0, sizeof policy);
    (void) cbpd_policy_init(&policy, &host);
    (void) cbpd_set_session(&policy, 0, &settings, &place);
}

struct cbpd_process *lines_add(uint32_t pid, struct cbpd_process *parent)
{
    struct cbpd_process *process = cbpd_add_process(&policy, pid, parent);
    if (process == NULL)
        return NULL;
    process->reference_count = 1;
    process->start_time = pid;
    if (parent != NULL) {
        process->image = cbpd_share_image(parent->image);
        cbpd_inherit_rules(&policy, process, parent);
    }
    return process;
}

bool lines_execute(struct cbpd_process *process, const char *path, const char *given)
{
    const struct cbpd_image_file file = {.path = path,
                                         .path_size = (uint32_t) strlen(path),
                                         .given = given,
                                         .given_size = (uint32_t) strlen(given)};
    struct cbpd_image *image = cbpd_make_image(&policy, &file, 1, false);
    if (image != NULL)
        cbpd_execute(&policy, process, image, NULL);
    return image != NULL;
}

uint32_t lines_install(const void *block, size_t size)
{
    const struct cbp_rules request = {.part = CBP_RULES_PART_MAIN, .attach_rule_id = CBP_ATTACH_NONE};
    struct cbpd_rule_set *set;
    void *copy = allocate(size, false);
    memcpy(copy, block, size);
    uint32_t error = cbpd_make_rule_set(&host, copy, size, &set);
    if (error == 0)
        error = cbpd_can_install(&policy, &request, 0, set);
    if (error == 0)
        cbpd_install_rules(&policy, &request, 0, set);
    return error;
}

void lines_end_session(void)
{
    cbpd_close_session(&policy, 0);
    cbpd_policy_free(&policy);
}

/* UINT32_MAX: unknown. */
static uint32_t tell_list(const struct cbpd_rule_list *list, struct cbpd_rule_ref *refs, uint32_t capacity)
{
    if (list == cbpd_unknown_rules())
        return UINT32_MAX;
    for (uint32_t i = 0; list != NULL && i < list->count && i < capacity; i++)
        refs[i] = list->refs[i];
    return list != NULL ? list->count : 0;
}

uint32_t lines_inherited(const struct cbpd_process *process, struct cbpd_rule_ref *refs, uint32_t capacity)
{
    return tell_list(process->standing.inherited, refs, capacity);
}

uint32_t lines_bequest(struct cbpd_process *process, struct cbpd_rule_ref *refs, uint32_t capacity)
{
    return tell_list(cbpd_bequest_of(&policy, process), refs, capacity);
}

/* Whether everything is. */
bool lines_is_refused(struct cbpd_process *process)
{
    const struct cbp_stance *stance = cbpd_stances_of(&policy, process);
    return stance->deny.code != 0 && stance->strip_mask == UINT32_MAX;
}

void lines_end(struct cbpd_process *process)
{
    cbpd_end_process(&policy, process);
    cbpd_release_process(&policy, process);
}

void lines_add_launch(uint32_t rule_id, struct cbpd_process *process)
{
    cbpd_add_launch_rule(&policy, 0, rule_id, process);
}

uint32_t lines_forget_launch(uint32_t rule_id)
{
    return cbpd_forget_launch(&policy, 0, rule_id);
}

void lines_begin_search(const struct cbpd_process *ancestor)
{
    cbpd_begin_search(&policy, ancestor);
}

const struct cbpd_process *lines_branch_of(struct cbpd_process *process)
{
    return cbpd_branch_of(&policy, process);
}
