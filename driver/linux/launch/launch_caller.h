/* What the launcher gives to the target in place of what it has itself, where whoever started it is a wrapper
 * that its own caller shall not notice: what the caller has blocked and ignored, what a fork does not pass
 * on, and the target's id for the program that is handed sockets (LISTEN_PID). Knows nothing of channels. */
#ifndef CBP_LAUNCH_CALLER_H
#define CBP_LAUNCH_CALLER_H

/* words is "MASK IGNORED DEATH REAPER LISTEN", hexadecimal numbers with a blank before each: two sets of
 * signals, signal 1 being the lowest bit; the signal for the parent's death, 0: none; whether this process is
 * a reaper of orphans, and whether LISTEN_PID becomes its id. Without words nothing changes. */
void cbpd_take_callers_place(const char *words, char **environment);

#endif
