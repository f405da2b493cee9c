/* Removes from the path of a program's file what the kernel adds once the file is gone. For the core and the
 * helper, any thread. Knows /proc; no rules and no events. */
#ifndef CBPD_DELETED_H
#define CBPD_DELETED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* path has *size bytes and room for a NUL, as read from the link (such as /proc/PID/exe). The kernel ends it
 * with " (deleted)" if the file has been deleted, or replaced by another one of its name. Takes that ending
 * off. False: the file is there; its own name may end like that. id is a process or a
 * thread from whose root the path may lead to the file if it does not from the caller's. Asks no file system
 * that could make the caller wait. */
bool cbpd_take_off_deleted(const char *link, uint32_t id, char *path, size_t *size);

#endif
