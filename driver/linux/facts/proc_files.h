/* Files of /proc, for the core and the helper; any thread. Each answers for a process that is gone. Knows neither
 * rules nor events. */
#ifndef CBPD_PROC_FILES_H
#define CBPD_PROC_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PROC_NAME_SIZE = 64 };

/* "/proc/ID" and then rest, which is '/' and up to 40 more bytes: somewhere in room. Without the cost of printf. */
const char *cbpd_proc_name(char room[PROC_NAME_SIZE], uint32_t id, const char *rest);

/* As much of a file in a task's folder as one read gives, with a NUL behind it: how much; 0: nothing. */
size_t cbpd_read_proc_file(uint32_t id, const char *name, char *buffer, size_t size);

struct file_identity {
    uint64_t device, inode; /* 0: not known */
};

/* Which file a task executes, as the kernel has it at hand: the file's own system is not asked. */
bool cbpd_read_program_identity(uint32_t tid, struct file_identity *identity);

/* The thread of a process by which the others are known: the first one, or where that has ended another one that
 * lives. The files in /proc/PID that tell of memory and folders are the first thread's, and are empty or gone then;
 * those in /proc/PID/task/TID are there. */
uint32_t cbpd_living_thread(uint32_t pid);

/* Reads a file line by line, however long a line or the file is: the groups of a user and the locks of a
 * descriptor can fill pages, and what is asked for may stand behind them. */
struct cbpd_lines {
    int fd;
    size_t start, size; /* of what has been read and not given yet */
    size_t budget;      /* bytes that may still be read */
    bool is_cut;        /* its end was not reached */
    char bytes[4096];
};

/* Opens a file in a task's folder, of which no more than size_max bytes are read; to be closed by its descriptor.
 * False: errno. */
bool cbpd_open_lines(struct cbpd_lines *reader, uint32_t id, const char *name, size_t size_max);
/* The next line, without its end; valid until the next call. Of one that is longer than the buffer only the last
 * part is given, which begins with no label. NULL: there is none, or the file is too long. */
char *cbpd_next_line(struct cbpd_lines *reader);
/* The text behind a label, or NULL if the line has another one. */
const char *cbpd_labelled(const char *line, const char *label);

#endif
