/* What the policy and the helper want of this driver. Knows no stop of a task. */
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tracer.h"

static struct tracer *tracer_of(struct cbpd_helper *helper)
{
    return (struct tracer *) (void *) helper;
}

static void wake_worker(struct cbpd_helper *helper, uint32_t session_id)
{
    syscall(SYS_futex, &cbpd_channel_of(helper, session_id)->bell, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static const void *name_units(void *context, const char *name, uint32_t size, size_t *count)
{
    (void) context;
    *count = size;
    return name;
}

static void discard_slot(void *slot, size_t size)
{
    (void) madvise((char *) slot + 4096, size - 4096, MADV_REMOVE);
}

static uint32_t parent_pid_of(struct cbpd_helper *helper, const struct cbpd_process *process)
{
    return cbpd_parent_of(tracer_of(helper), process_of(process));
}

static uint32_t capabilities_of(const struct cbpd_process *process)
{
    return cbpd_capabilities_of(process_of(process));
}

static uint32_t host_attach(struct cbpd_helper *helper, uint32_t pid, uint64_t start_time, bool children)
{
    return cbpd_attach_process(tracer_of(helper), pid, start_time, children);
}

static uint32_t host_attach_named(struct cbpd_helper *helper, struct cbpd_rule_set *set,
                                  uint32_t wanted_rule_id)
{
    return cbpd_attach_matching(tracer_of(helper), set, wanted_rule_id);
}

static void host_let_go(struct cbpd_helper *helper)
{
    cbpd_let_released_go(tracer_of(helper));
}

static void host_identify(struct cbpd_helper *helper)
{
    cbpd_identify_programs(tracer_of(helper));
}

const struct cbpd_host cbpd_policy_host = {.allocate = cbpd_allocate,
                                           .release = cbpd_free_surely,
                                           .process_size = sizeof(struct process),
                                           .name_comparison = CBP_COMPARE_BYTES,
                                           .name_units = name_units,
                                           .path_leads_to_file = cbpd_path_leads_to_file};

const struct cbpd_helper_host cbpd_helper_host = {.task_size = sizeof(struct task),
                                                  .held_size = sizeof(struct operation),
                                                  .capabilities_of = capabilities_of,
                                                  .now_ns = cbpd_now_ns,
                                                  .wall_ns = cbpd_wall_ns,
                                                  .wake_worker = wake_worker,
                                                  .parent_pid_of = parent_pid_of,
                                                  .discard_slot = discard_slot,
                                                  .attach_process = host_attach,
                                                  .attach_matching = host_attach_named,
                                                  .let_released_go = host_let_go,
                                                  .identify_programs = host_identify};
