/* Reads files of /proc, for the core and the helper, any thread. Each function answers for a process that is
 * gone. Knows no rules and no events. Source: proc_pid_stat(5), proc_pid_status(5). */
#ifndef CBPD_PROC_FILES_H
#define CBPD_PROC_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- proc_files.c ---- */
enum { PROC_NAME_SIZE = 64 };

/* Makes "/proc/ID" and then rest (a '/' and up to 40 more bytes) in room, without the cost of printf. */
const char *cbpd_proc_name(char room[PROC_NAME_SIZE], uint32_t id, const char *rest);

/* Opens a file or folder in a task's folder, with O_CLOEXEC; its name has up to 70 bytes. -1: errno says why.
 */
int cbpd_open_proc(uint32_t id, const char *name, int flags);

/* Reads as much of a file as one read gives, and adds a NUL. Gives the size, or 0. */
size_t cbpd_read_file(const char *path, char *buffer, size_t size);
/* Reads like that a file in a task's folder. */
size_t cbpd_read_proc_file(uint32_t id, const char *name, char *buffer, size_t size);

struct file_identity {
    uint64_t device, inode; /* 0: not known */
};

/* Identifies the file that a task executes without asking its file system. *changed_ns is when the file has
 * changed last, since 1970; NULL: that does not matter. */
bool cbpd_read_program_identity(uint32_t tid, struct file_identity *identity, int64_t *changed_ns);

/* Gives a living thread of a process: the first one, or another one if that has ended. /proc/PID's files
 * about memory and folders are the first thread's, and are empty or gone after its end; those in
 * /proc/PID/task/TID are there. */
uint32_t cbpd_living_thread(uint32_t pid);

/* Reads the path of the program that a process executes, and takes the kernel's ending off it if the file is
 * gone (deleted.h). Gives the size, without a NUL; 0 if it cannot be known. *tid is the thread that was
 * asked, by cbpd_living_thread(). */
size_t cbpd_read_program_path(uint32_t pid, char *path, size_t size, uint32_t *tid, bool *is_gone);

/* A reader gives a file line by line, however long a line or the file is: a user's groups or a descriptor's
 * locks can fill pages, and the wanted line may come after them. */
struct cbpd_lines {
    int fd;
    size_t start, size; /* the bytes that have been read and not given yet */
    size_t budget;      /* bytes that may still be read */
    bool is_cut;        /* its end was not reached */
    char bytes[4096];
};

/* Opens a file in a task's folder, of which at most size_max bytes are read. The caller closes the
 * descriptor. False: errno says why. */
bool cbpd_open_lines(struct cbpd_lines *reader, uint32_t id, const char *name, size_t size_max);
/* Gives the next line without its end, valid until the next call. Of a line that is longer than the buffer it
 * gives the last part, which begins with no label. NULL: there is none, or the file is too long. */
char *cbpd_next_line(struct cbpd_lines *reader);
/* Says whether the line has this label, and gives the text after it. */
bool cbpd_has_label(const char *line, const char *label, const char **text);

/* ---- proc_stat.c ---- */
enum { STAT_SIZE_MAX = 2048 /* 52 numbers of up to 20 digits and a name of up to 64 bytes */ };

struct stat_facts {
    const char *name; /* inside the line; it may have any characters, also parentheses */
    size_t name_size;
    char state;
    uint32_t parent_pid, flags, thread_count;
    uint64_t start_time; /* in ticks since boot */
};

/* Parses the line of /proc/ID/stat of a process or thread. False: it has another form. */
bool cbpd_parse_stat(const char *line, struct stat_facts *facts);
/* Reads the line from a file in a task's folder: "stat", or "task/TID/stat". False: errno says why. */
bool cbpd_read_stat_file(uint32_t id, const char *name, char line[STAT_SIZE_MAX], struct stat_facts *facts);

/* ---- proc_status.c ---- */
enum { STATUS_SIZE_MAX = 1 << 20 /* the groups of a user can fill pages */ };
enum { NAMESPACE_DEPTH_MAX = 33 }; /* the kernel allows 32 nested namespaces */

struct status_facts {
    char state;
    uint32_t group, parent_pid, tracer_pid;
    uint32_t user_id, effective_user_id, saved_user_id;
    bool has_filter;                   /* of system calls, by any program; also true if not known */
    uint32_t filter_count;             /* UINT32_MAX: the kernel does not say (before 5.9) */
    uint32_t depth;                    /* PID namespaces around it, from the reader's on */
    uint32_t ids[NAMESPACE_DEPTH_MAX]; /* its id in each of them */
    uint32_t group_depth;
    uint32_t group_ids[NAMESPACE_DEPTH_MAX]; /* its process group's */
};

/* Reads a task's status. False: it is gone or hidden, or not all of it can be known. */
bool cbpd_read_status_file(uint32_t tid, struct status_facts *facts);

#endif
