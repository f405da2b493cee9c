/* Offers the one lock under which events, fast mutexes and rundown protection change, to files of the shim. */
#ifndef SHIM_WAITS_H
#define SHIM_WAITS_H

void shim_dispatcher_lock(void);
void shim_dispatcher_unlock(void);
void shim_dispatcher_wait(void); /* until something has changed; may return early */
void shim_dispatcher_wake(void); /* something that others wait for has changed */

#endif
