/* Pairs the rights to a process with those to a thread of it that a strip rule takes, too. It is for every
 * program here, also for BPF. */
#ifndef CBP_RIGHT_PAIRS_H
#define CBP_RIGHT_PAIRS_H

#include "cbp_constants.h"

#define CBP_RIGHT_PAIR_LIST(X)                                                                               \
    X(CBP_PROCESS_TERMINATE, CBP_THREAD_TERMINATE)                                                           \
    X(CBP_PROCESS_SUSPEND_RESUME, CBP_THREAD_SUSPEND_RESUME | CBP_THREAD_RESUME)                             \
    X(CBP_PROCESS_VM_READ, CBP_THREAD_GET_CONTEXT)                                                           \
    X(CBP_PROCESS_VM_WRITE, CBP_THREAD_SET_CONTEXT)                                                          \
    X(CBP_PROCESS_SET_INFORMATION, CBP_THREAD_SET_INFORMATION | CBP_THREAD_SET_LIMITED_INFORMATION)          \
    X(CBP_PROCESS_QUERY_INFORMATION, CBP_THREAD_QUERY_INFORMATION)                                           \
    X(CBP_PROCESS_QUERY_LIMITED_INFORMATION, CBP_THREAD_QUERY_LIMITED_INFORMATION)                           \
    X(CBP_PROCESS_SYNCHRONIZE, CBP_THREAD_SYNCHRONIZE)

#endif
