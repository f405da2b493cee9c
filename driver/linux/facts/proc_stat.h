/* Parses /proc/ID/stat of a process or thread, for the core and the helper. Source: proc_pid_stat(5). */
#ifndef CBPD_PROC_STAT_H
#define CBPD_PROC_STAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { STAT_SIZE_MAX = 2048 /* 52 numbers of up to 20 digits and a name of up to 64 bytes */ };

struct stat_facts {
    const char *name; /* inside the line; it may have any characters, also parentheses */
    size_t name_size;
    char state;
    uint32_t parent_pid, flags, thread_count;
    uint64_t start_time; /* in ticks since boot */
};

/* Parses a line. False: it has another form. */
bool cbpd_parse_stat(const char *line, struct stat_facts *facts);

#endif
