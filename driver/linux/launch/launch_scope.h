/* A Landlock domain that signals do not leave, or in which no file of /proc can be written. */
#ifndef CBP_LAUNCH_SCOPE_H
#define CBP_LAUNCH_SCOPE_H

#include <stdint.h>

/* Puts the calling process, and all it will create, into a domain as the go-ahead's flags say. Who is in one
 * can read the memory, the environment and the descriptors of nobody outside of it. With
 * LAUNCH_FLAG_SCOPE_SIGNALS it can signal nobody there; with LAUNCH_FLAG_SCOPE_PROC_FILES it can open no file
 * below /proc for writing, and mount nothing. Gives 0 or an errno. */
int cbpd_enter_scope(uint32_t flags);

#endif
