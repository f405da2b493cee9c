/* A Landlock domain that signals do not leave. */
#ifndef CBP_LAUNCH_SCOPE_H
#define CBP_LAUNCH_SCOPE_H

/* From now on the calling process, and all it will create, can signal nobody else. Gives 0 or an errno. */
int scope_signals(void);

#endif
