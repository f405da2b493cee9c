/* Reads all of the machine's state that installing can change, as one text. */
#ifndef PACKAGE_STATE_H
#define PACKAGE_STATE_H

/* Gives the text, which the caller frees: files, the registry's keys, the service's state, catalogs. */
char *state_read(void);

#endif
