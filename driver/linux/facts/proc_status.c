/* Reads /proc/ID/status; see proc_files.h. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

#include "proc_files.h"

/* Reads numbers after tabs: a task's id in each PID namespace, from that of /proc to its own. */
static uint32_t take_ids(const char *at, uint32_t ids[NAMESPACE_DEPTH_MAX])
{
    uint32_t count = 0;
    while (count < NAMESPACE_DEPTH_MAX && *at == '\t') {
        char *end;
        ids[count++] = (uint32_t) strtoul(at, &end, 10);
        at = end;
    }
    return count;
}

static void take_user_ids(const char *text, struct status_facts *facts)
{
    if (sscanf(text, "%" SCNu32 " %" SCNu32 " %" SCNu32, &facts->user_id, &facts->effective_user_id,
               &facts->saved_user_id) != 3)
        facts->user_id = UINT32_MAX;
}

/* Takes a fact from a line. The number of filters is in the last line needed. Source: proc_pid_status(5). */
static void take_status_line(const char *line, struct status_facts *facts)
{
    const char *text;
    if (cbpd_has_label(line, "State:\t", &text))
        facts->state = *text;
    else if (cbpd_has_label(line, "Tgid:\t", &text))
        facts->group = (uint32_t) strtoul(text, NULL, 10);
    else if (cbpd_has_label(line, "PPid:\t", &text))
        facts->parent_pid = (uint32_t) strtoul(text, NULL, 10);
    else if (cbpd_has_label(line, "TracerPid:\t", &text))
        facts->tracer_pid = (uint32_t) strtoul(text, NULL, 10);
    else if (cbpd_has_label(line, "Uid:\t", &text))
        take_user_ids(text, facts);
    else if (cbpd_has_label(line, "NSpid:", &text))
        facts->depth = take_ids(text, facts->ids);
    else if (cbpd_has_label(line, "NSpgid:", &text))
        facts->group_depth = take_ids(text, facts->group_ids);
    else if (cbpd_has_label(line, "Seccomp:\t", &text))
        facts->has_filter = *text != '0';
    else if (cbpd_has_label(line, "Seccomp_filters:\t", &text))
        facts->filter_count = (uint32_t) strtoul(text, NULL, 10);
}

/* A kernel without PID namespaces reports none. */
static void assume_one_namespace(uint32_t tid, struct status_facts *facts)
{
    facts->depth = facts->group_depth = 1;
    facts->ids[0] = tid;
    pid_t group = getpgid((pid_t) tid);
    facts->group_ids[0] = group > 0 ? (uint32_t) group : 0;
}

bool cbpd_read_status_file(uint32_t tid, struct status_facts *facts)
{
    struct cbpd_lines reader;
    const char *line;
    *facts = (struct status_facts){.state = '?', .has_filter = true, .filter_count = UINT32_MAX};
    facts->user_id = facts->effective_user_id = facts->saved_user_id = UINT32_MAX;
    if (!cbpd_open_lines(&reader, tid, "status", STATUS_SIZE_MAX))
        return false;
    while (facts->filter_count == UINT32_MAX && (line = cbpd_next_line(&reader)))
        take_status_line(line, facts);
    close(reader.fd);
    if (!reader.is_cut && facts->group != 0 && facts->depth == 0)
        assume_one_namespace(tid, facts);
    return facts->group != 0 && facts->user_id != UINT32_MAX && facts->group_depth != 0;
}
