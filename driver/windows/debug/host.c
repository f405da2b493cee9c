/* Provides what the policy and the helper need from this driver. Knows no debug events. */
#include "cbp_wtf8.h"
#include "debugger.h"

static void wake_worker(struct cbpd_helper *helper, uint32_t session_id)
{
    (void) ReleaseSemaphore(debugger_of(helper)->bells[session_id], 1, NULL);
}

static const void *name_units(void *context, const char *name, uint32_t size, size_t *count)
{
    /* A name without memory would match no rule, so there is room for any that cbpd_read_facts() reads. */
    static uint16_t units[NAME_SIZE_MAX];
    (void) context;
    if (size > sizeof units / sizeof units[0])
        return NULL;
    *count = cbpd_wtf8_decode(name, size, units);
    return *count != SIZE_MAX ? units : NULL;
}

/* Every process sees a volume's files by the same paths: paths lead to files. */
const struct cbpd_host cbpd_policy_host = {.allocate = cbpd_allocate,
                                           .release = cbpd_free_surely,
                                           .process_size = sizeof(struct process),
                                           .name_comparison = CBP_COMPARE_UTF16,
                                           .name_units = name_units};

/* A section keeps its memory, so no slot is discarded. A Windows process begins with its program, whose file
 * need not be identified later. */
const struct cbpd_helper_host cbpd_helper_host = {.task_size = sizeof(struct task),
                                                  .held_size = sizeof(struct cbpd_held),
                                                  .capabilities_of = cbpd_capabilities_of,
                                                  .now_ns = cbpd_now_ns,
                                                  .wall_ns = cbpd_wall_ns,
                                                  .wake_worker = wake_worker,
                                                  .parent_pid_of = cbpd_parent_of,
                                                  .copy_rules = cbpd_copy_rules,
                                                  .attach_process = cbpd_attach_process,
                                                  .attach_matching = cbpd_attach_matching,
                                                  .let_released_go = cbpd_let_released_go};
