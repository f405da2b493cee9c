/* Parses /proc/ID/stat; see proc_stat.h. */
#include "proc_stat.h"

#include <stdlib.h>
#include <string.h>

/* The line has these fields, counted from 1. */
enum { FIELD_STATE = 3, FIELD_PARENT, FIELD_FLAGS = 9, FIELD_THREAD_COUNT = 20, FIELD_START_TIME = 22 };

bool cbpd_parse_stat(const char *line, struct stat_facts *facts)
{
    const char *name = strchr(line, '('), *end = strrchr(line, ')'), *at = end;
    if (!name || !end)
        return false;
    *facts = (struct stat_facts){.name = name + 1, .name_size = (size_t) (end - name - 1)};
    for (int field = FIELD_STATE; (at = strchr(at + 1, ' ')) != NULL; field++) {
        switch (field) {
        case FIELD_STATE:
            facts->state = at[1];
            break;
        case FIELD_PARENT:
            facts->parent_pid = (uint32_t) strtoul(at, NULL, 10);
            break;
        case FIELD_FLAGS:
            facts->flags = (uint32_t) strtoul(at, NULL, 10);
            break;
        case FIELD_THREAD_COUNT:
            facts->thread_count = (uint32_t) strtoul(at, NULL, 10);
            break;
        case FIELD_START_TIME:
            facts->start_time = strtoull(at, NULL, 10);
            return true;
        default:
            break;
        }
    }
    return false;
}
