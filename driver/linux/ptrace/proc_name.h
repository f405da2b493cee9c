/* Names below /proc, for what is looked up for each execution: without the cost of printf. Any thread. */
#ifndef PROC_NAME_H
#define PROC_NAME_H

#include <stdint.h>

enum { PROC_NAME_SIZE = 64 };

/* "/proc/ID" and then rest, which is '/' and up to 40 more bytes: somewhere in room. */
const char *proc_name(char room[PROC_NAME_SIZE], uint32_t id, const char *rest);

#endif
