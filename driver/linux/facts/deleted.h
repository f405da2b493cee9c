/* The path of a file that a process executes, without what the kernel puts behind it once the file is gone.
 * For the core and for the helper; any thread. Knows /proc; neither rules nor events. */
#ifndef CBPD_DELETED_H
#define CBPD_DELETED_H

#include <stddef.h>
#include <stdint.h>

/* path, *size bytes and room for a NUL, is what the link says (/proc/PID/exe, say): the kernel ends it with
 * " (deleted)" where the file has been deleted, or replaced by another one of its name. Takes that off, and
 * gives 1; or 0 where the file is there, and may itself have such a name. id is a process, or a thread, from
 * whose root the path may lead to the file, if not from ours. Asks no file system that could keep us waiting.
 */
int cbpd_take_off_deleted(const char *link, uint32_t id, char *path, size_t *size);

#endif
