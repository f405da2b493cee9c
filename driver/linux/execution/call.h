/* Composes what a call of execve or execveat makes of its arguments; see call.c. */
#ifndef CBPD_CALL_H
#define CBPD_CALL_H

#include <fcntl.h>

#include "chain.h"

/* execveat executes something with these flags alone: AT_EXECVE_CHECK executes nothing, and the kernel refuses
 * flags that it does not know. */
enum { EXECVEAT_FLAGS = AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW };

/* Composes the name that the kernel gives to the program: its path, or the descriptor that opened it. False: no
 * memory. path has its NUL, and so has name. */
bool cbpd_compose_name(const struct text *path, int fd, struct text *name, bool *is_by_descriptor);

/* Composes the arguments that the program will get, to compare them with those that it got. A script's header
 * comes before them and replaces the first. False: no memory. */
bool cbpd_compose_arguments(const struct chain *chain, const struct text *list, struct text *composed);

/* Says whether a script was given by a descriptor that will be closed before its interpreter runs. */
bool cbpd_closes_on_execution(uint32_t tid, int fd);

/* Appends a text, which may have no memory yet, from that offset on. False: no memory. */
bool cbpd_append_from(struct text *text, const struct text *other, size_t offset);

#endif
