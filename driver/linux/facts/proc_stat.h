/* What /proc/ID/stat says of a process, or of a thread; for the core and the helper, any thread. Source:
 * proc_pid_stat(5). */
#ifndef CBPD_PROC_STAT_H
#define CBPD_PROC_STAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { STAT_SIZE_MAX = 2048 /* 52 numbers of up to 20 digits and a name of up to 64 bytes */ };

struct stat_facts {
    const char *name; /* within the line; it may hold anything, parentheses too */
    size_t name_size;
    char state;
    uint32_t parent_pid, flags, thread_count;
    uint64_t start_time; /* in ticks since boot */
};

/* False: it is no such line. */
bool cbpd_parse_stat(const char *line, struct stat_facts *facts);

#endif
