/* What is looked up below /proc for each execution: without the cost of printf. Any thread. */
#ifndef PROC_NAME_H
#define PROC_NAME_H

#include <stdbool.h>
#include <stdint.h>

enum { PROC_NAME_SIZE = 64 };

/* "/proc/ID" and then rest, which is '/' and up to 40 more bytes: somewhere in room. */
const char *cbpd_proc_name(char room[PROC_NAME_SIZE], uint32_t id, const char *rest);

struct file_identity {
    uint64_t device, inode; /* 0: not known */
};

/* Which file a task executes, as the kernel has it at hand: the file's own system is not asked. */
bool cbpd_read_program_identity(uint32_t tid, struct file_identity *identity);

#endif
