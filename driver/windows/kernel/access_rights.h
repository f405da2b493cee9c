/* Says which rights may be taken out of a handle. */
#ifndef CBPD_ACCESS_RIGHTS_H
#define CBPD_ACCESS_RIGHTS_H

#include "cbp_constants.h"

/* A driver may take these rights out of a handle of a process. No other is documented, so no other is taken:
 * reading memory, querying and waiting stay. Source: Microsoft, OB_PRE_CREATE_HANDLE_INFORMATION. */
#define CBPD_REMOVABLE_PROCESS_RIGHTS                                                                        \
    ((uint32_t) (CBP_PROCESS_CREATE_PROCESS | CBP_PROCESS_CREATE_THREAD | CBP_PROCESS_DUP_HANDLE |           \
                 CBP_PROCESS_SET_QUOTA | CBP_PROCESS_SET_INFORMATION | CBP_PROCESS_SUSPEND_RESUME |          \
                 CBP_PROCESS_TERMINATE | CBP_PROCESS_VM_OPERATION | CBP_PROCESS_VM_WRITE))

/* A driver may take these rights out of a handle of a thread. */
#define CBPD_REMOVABLE_THREAD_RIGHTS                                                                         \
    ((uint32_t) (CBP_THREAD_DIRECT_IMPERSONATION | CBP_THREAD_IMPERSONATE | CBP_THREAD_SET_CONTEXT |         \
                 CBP_THREAD_SET_INFORMATION | CBP_THREAD_SET_LIMITED_INFORMATION |                           \
                 CBP_THREAD_SET_THREAD_TOKEN | CBP_THREAD_SUSPEND_RESUME | CBP_THREAD_TERMINATE))

#endif
