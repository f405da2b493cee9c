/* Gives the target what the launcher itself does not have: the caller's blocked and ignored signals, what a
 * fork does not pass on, and the target's id for a program that is handed sockets (LISTEN_PID). A wrapper
 * needs this if its own caller must not notice it. Knows no channels. */
#ifndef CBP_LAUNCH_CALLER_H
#define CBP_LAUNCH_CALLER_H

/* words is "MASK IGNORED DEATH REAPER LISTEN", hexadecimal numbers with a blank before each. The first two
 * are sets of signals, with signal 1 as the lowest bit; DEATH is the signal for the parent's death, 0: none.
 * REAPER says whether this process reaps orphans, LISTEN whether LISTEN_PID becomes its id. */
void cbpd_take_callers_place(const char *words, char **environment);

#endif
