/* Offers the locks under which events, fast mutexes and rundown protection change, to files of the shim. Objects
 * have different locks, as far as possible, so that the locks of the shim hide no race of the driver. */
#ifndef SHIM_WAITS_H
#define SHIM_WAITS_H

void shim_dispatcher_lock(const void *object);
void shim_dispatcher_unlock(const void *object);
void shim_dispatcher_wait(const void *object); /* until something has changed; may return early */
void shim_dispatcher_wake(const void *object); /* something that others wait for has changed */

#endif
