/* Finds out which files have led to a program that runs, or has just been executed; see running.c. */
#ifndef CBPD_RUNNING_H
#define CBPD_RUNNING_H

#include "argument_list.h"
#include "chain.h"

/* This is a running program as /proc shows it. */
struct executable {
    struct located_file file; /* its identity is not known until it is needed */
    uint32_t tid;
    bool is_known;
};

/* A file was looked at shortly before. */
struct known_file {
    const char *path;
    size_t path_size;
    uint64_t device, inode;
    int64_t changed_ns; /* 0: the file cannot be known again */
};

/* Says whether the program is this file, and takes its path from there. It is, if it has the number and the time of
 * change: a file that has been made since with that number has a later time, and so has one that has got
 * another name, or one more. That holds only if the file had one name when it was looked at, if its time was
 * past then by more than the steps of the kernel's clock, and if the kernel itself has the file system.
 *
 * The path is the one of the look, and may not be the one that led to the program, where that leaves no trace
 * in the file:
 * - A folder above it has got another name. Nothing tells that from a program that was executed first, and
 *   whose folder was renamed then.
 * - The file is mounted at a second place. The caller has to rule out mounts of the tree's own, so that it
 *   was an administrator's mount.
 * - The file system is FAT, which has no such time, and the file has been renamed. */
bool cbpd_find_known_executable(uint32_t tid, const struct known_file *known, struct executable *executable);

void cbpd_find_executable(uint32_t tid, bool needs_path_only, struct executable *executable);

/* Makes a chain of the program alone, without a look at what may have led to it. False: no memory. */
bool cbpd_name_program(struct chain *chain, const struct executable *executable, const char *given);

/* Reads the chain of the name that the program was given. False: it does not end with the program. */
bool cbpd_read_chain_to(struct chain *chain, const struct place *place, struct executable *executable,
                        const char *given);

/* A program has these arguments, each with its NUL. */
struct seen_arguments {
    const char *bytes; /* NULL: they are not known */
    uint32_t size;
    bool is_complete;
};

/* Finds the chain that has led to the program, and takes off the arguments what a script's first line has put
 * there. given is AT_EXECFN, "" if it is not known. False: some of it is not known any more; the chain then has
 * what is known, with the program last. */
bool cbpd_find_chain(struct chain *chain, const struct place *place, struct executable *executable,
                     const char *given, struct seen_arguments *arguments);

/* Finds the chain of a running program, as far as it is still known. given may be "". */
void cbpd_read_running_chain(struct chain *chain, const struct place *place, const char *given);

/* Reads the path that the running program was started by from the vector that the kernel has left it. */
bool cbpd_read_execfn(struct window *window, uint32_t tid, struct text *path);

#endif
