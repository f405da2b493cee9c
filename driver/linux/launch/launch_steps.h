/* Offers what the launcher does to itself before it becomes the target. Knows no channels. */
#ifndef CBP_LAUNCH_STEPS_H
#define CBP_LAUNCH_STEPS_H

#include "cbp_message.h"

/* ---- launch_filter.c ---- */
/* Installs the seccomp filter by which a supervised tree's operations stop before they happen: for the calling
 * process and all that it creates, with the parts in the go-ahead's flags. Without CAP_SYS_ADMIN it first sets
 * no_new_privs, as the kernel demands. Gives 0 or an errno. */
int cbpd_install_launch_filter(const struct cbp_launch_go *go);

/* ---- launch_scope.c ---- */
/* Puts the calling process and all that it creates into a Landlock domain, as the go-ahead's flags say. A
 * process in it cannot read the memory, environment or descriptors of a process outside. With
 * LAUNCH_FLAG_SCOPE_SIGNALS it cannot signal one. With LAUNCH_FLAG_SCOPE_PROC_FILES it can open no file below
 * /proc for writing, and mount nothing. Gives 0 or an errno. */
int cbpd_enter_scope(uint32_t flags);

/* ---- launch_caller.c ---- */
/* Gives the target the caller's blocked and ignored signals, what a fork does not pass on, and the target's
 * id for a program that is handed sockets (LISTEN_PID). A wrapper needs this if its own caller must not notice
 * it. words is "MASK IGNORED DEATH REAPER LISTEN", hexadecimal numbers with a blank before each. The first two
 * are sets of signals, with signal 1 as the lowest bit; DEATH is the signal for the parent's death, 0: none.
 * REAPER says whether this process reaps orphans, LISTEN whether LISTEN_PID becomes its id. */
void cbpd_take_callers_place(const char *words, char **environment);

#endif
