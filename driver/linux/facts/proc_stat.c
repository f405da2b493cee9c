/* Parses /proc/ID/stat; see proc_files.h. */
#include "proc_files.h"

#include <errno.h>
#include <string.h>

/* The line has these fields, counted from 1. */
enum { FIELD_PARENT = 4, FIELD_FLAGS = 9, FIELD_THREAD_COUNT = 20, FIELD_START_TIME = 22 };

/* Reads the number behind a space, and gives its end; NULL if there is none. strtoull() takes four times as
 * long, which would be seen in a snapshot of all processes. */
static const char *take_number(const char *at, uint64_t *value)
{
    bool is_negative = at[0] == ' ' && at[1] == '-';
    const char *digits = at + (is_negative ? 2 : 1);
    uint64_t number = 0;
    if (at[0] != ' ' || *digits < '0' || *digits > '9')
        return NULL;
    for (at = digits; *at >= '0' && *at <= '9'; at++)
        number = number * 10 + (uint64_t) (*at - '0');
    *value = is_negative ? 0 - number : number;
    return at;
}

bool cbpd_parse_stat(const char *line, struct stat_facts *facts)
{
    const char *name = strchr(line, '('), *end = strrchr(line, ')');
    uint64_t values[FIELD_START_TIME + 1];
    if (!name || !end || strlen(end) < strlen(") S "))
        return false;
    const char *at = end + strlen(") S");
    for (int field = FIELD_PARENT; field <= FIELD_START_TIME; field++) {
        at = take_number(at, &values[field]);
        if (!at)
            return false;
    }
    *facts = (struct stat_facts){
        .name = name + 1,
        .name_size = (size_t) (end - name - 1),
        .state = end[strlen(") ")],
        .parent_pid = (uint32_t) values[FIELD_PARENT],
        .flags = (uint32_t) values[FIELD_FLAGS],
        .thread_count = (uint32_t) values[FIELD_THREAD_COUNT],
        .start_time = values[FIELD_START_TIME],
    };
    return true;
}

bool cbpd_read_stat_file(uint32_t id, const char *name, char line[STAT_SIZE_MAX], struct stat_facts *facts)
{
    errno = ESRCH; /* if no call gives another reason */
    return cbpd_read_proc_file(id, name, line, STAT_SIZE_MAX) > 0 && cbpd_parse_stat(line, facts);
}
