/* Says whether /proc is there, and belongs to this PID namespace. */
#ifndef CBPD_PROC_STATE_H
#define CBPD_PROC_STATE_H

/* Says in a sentence what is wrong with /proc; NULL if nothing is. A /proc that was mounted for another PID
 * namespace shows its ids, which belong to other processes here. */
const char *cbpd_proc_obstacle(void);

#endif
