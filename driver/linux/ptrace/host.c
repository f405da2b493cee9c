/* Provides what the policy and the helper need from this driver. Knows no stops. */
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tracer.h"

static void wake_worker(struct cbpd_helper *helper, uint32_t session_id)
{
    syscall(SYS_futex, &cbpd_channel_of(helper, session_id)->bell, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void discard_slot(void *slot, size_t size)
{
    (void) madvise((char *) slot + 4096, size - 4096, MADV_REMOVE);
}

const struct cbpd_host cbpd_policy_host = {.allocate = cbpd_allocate,
                                           .release = cbpd_free_surely,
                                           .process_size = sizeof(struct process),
                                           .name_comparison = CBP_COMPARE_BYTES,
                                           .path_leads_to_file = cbpd_path_leads_to_file};

const struct cbpd_helper_host cbpd_helper_host = {.task_size = sizeof(struct task),
                                                  .held_size = sizeof(struct operation),
                                                  .capabilities_of = cbpd_capabilities_of,
                                                  .now_ns = cbpd_now_ns,
                                                  .wall_ns = cbpd_wall_ns,
                                                  .wake_worker = wake_worker,
                                                  .parent_pid_of = cbpd_parent_of,
                                                  .discard_slot = discard_slot,
                                                  .copy_rules = cbpd_copy_rules,
                                                  .attach_process = cbpd_attach_process,
                                                  .attach_matching = cbpd_attach_matching,
                                                  .let_released_go = cbpd_let_released_go,
                                                  .identify_programs = cbpd_identify_programs};
