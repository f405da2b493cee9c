/* Models how messages of cbprocess.sys wait for their answers: driver/windows/kernel/pending.c and deliveries.c.
 * Knows nothing of rules, of what is in a message, and of what an answer says.
 *
 * run_model.py compares the states and the table below with the C: CBPD_ stands before a state there, and the
 * functions that move a message are these and no others. All of it happens under the spin lock of deliveries.
 *
 * transitions:
 *     -      QUEUED    cbpd_pending_send       into the session's list; an operation waits, or none does
 *     QUEUED HELD      take                    a receive gets it whole, or its fixed part if its buffer is small
 *     QUEUED -         take                    a receive gets it whole, and no operation waits: freed
 *     HELD   -         take                    a receive by its id, and no operation waits: freed
 *     HELD   ANSWERED  cbpd_deliveries_answer  in time, by its own controller, for its own session
 *     QUEUED EXPIRED   expire                  the wait sees its deadline passed, or its heartbeat too old
 *     HELD   EXPIRED   expire
 *     QUEUED LET_GO    let_go                  its session or its controller closes, or its controller has died
 *     HELD   LET_GO    let_go
 * end of transitions
 *
 * Owners: a message with an operation is freed by cbpd_pending_destroy() alone, and leaves the session's list when
 * it becomes ANSWERED, EXPIRED or LET_GO. One without an operation belongs to the list. The operation's event is
 * set under the lock, because the operation may be gone as soon as the lock is. */

mtype = { QUEUED, HELD, ANSWERED, EXPIRED, LET_GO };
