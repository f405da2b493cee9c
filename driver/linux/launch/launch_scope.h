/* Offers a Landlock domain that signals do not leave, or in which no file of /proc can be written. */
#ifndef CBP_LAUNCH_SCOPE_H
#define CBP_LAUNCH_SCOPE_H

#include <stdint.h>

/* Puts the calling process and all that it creates into a domain, as the go-ahead's flags say. A process in
 * it cannot read the memory, environment or descriptors of a process outside. With LAUNCH_FLAG_SCOPE_SIGNALS
 * it cannot signal one. With LAUNCH_FLAG_SCOPE_PROC_FILES it can open no file below /proc for writing, and
 * mount nothing. Gives 0 or an errno. */
int cbpd_enter_scope(uint32_t flags);

#endif
