/* Follows an execution through its files: from the one that execve is given, over the interpreters of scripts, to
 * the program that runs. Asks the file systems and /proc; knows no tasks' memory, no rules and no events. */
#ifndef CBPD_CHAIN_H
#define CBPD_CHAIN_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "known_headers.h"
#include "look_up.h"
#include "proc_files.h"
#include "text.h"

enum resolution { RESOLVED, BOUND_TO_FAIL, UNKNOWN };

enum { CHAIN_FILE_MAX = 8, CHAIN_HEADER_SIZE = 4096 };

/* An execution goes through this file; the chain has its names. */
struct chain_file {
    uint32_t path_at, path_size;   /* where the file lies */
    uint32_t given_at, given_size; /* the name that the task, or a script's header, gave */
    uint64_t device, inode;
    int64_t changed_ns; /* when it has changed last, since 1970; 0: not known */
    bool is_deleted;    /* its path led to it before, but no longer does */
};

/* A chain has the files from the one that execve is given to the program that runs: mostly one. */
struct chain {
    uint32_t file_count;
    struct chain_file files[CHAIN_FILE_MAX];
    struct text names;  /* each with its NUL */
    struct text prefix; /* what scripts' headers put before the arguments, each with its NUL */
    uint32_t dropped;   /* arguments that the prefix replaces: 1 for a script, else 0 */
    bool is_foreign;    /* the last file needs an interpreter that only the kernel knows */
    bool is_unreadable; /* the last file can be executed, but not read */
    bool wants_loader;  /* a wish: the loader's identity and path */
    bool has_loader;    /* the program names one, which is there */
    struct file_identity loader;
    struct text loader_path;          /* with its NUL */
    struct known_headers *headers;    /* a wish: these are used, and added to; NULL: none */
    const struct known_header *known; /* the last file's; NULL: it has to be read */
    struct stat status;               /* of the last file */
    unsigned char header[CHAIN_HEADER_SIZE + 1];
};

/* A link of /proc leads to such a file. */
struct located_file {
    char path[PATH_MAX];
    size_t path_size;
    struct file_identity identity;
    int64_t changed_ns; /* 0: not known */
    bool is_deleted;
};
/* Reads where a link of /proc leads, and leaves the other facts. False: that is not known, or cut off. */
bool cbpd_locate(const char *link, uint32_t tid, struct located_file *file);

void cbpd_chain_clear(struct chain *chain);
bool cbpd_chain_add(struct chain *chain, const struct located_file *file, const char *given);
/* Reads the chain of a path given to execve. The kernel will call the program name. */
enum resolution cbpd_read_chain(const struct place *place, int folder_fd, const char *path, int flags,
                                const char *name, struct chain *chain);
/* Reads the rest of a chain whose first file, of that name, has been added. fd is open for reading it; -1: it
 * cannot be read. */
enum resolution cbpd_follow_chain(const struct place *place, int fd, const char *name, struct chain *chain);

#endif
