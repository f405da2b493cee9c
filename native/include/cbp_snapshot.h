/* Is a part of cbprocess.h, whose conventions hold: the processes that run at one moment. Needs no session.
 */
#ifndef CBP_SNAPSHOT_H
#define CBP_SNAPSHOT_H

#include "cbp_api.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Describes one process of a snapshot. Its texts stand in the snapshot's texts, each with a NUL behind it
 * that its size does not count. Its name is the executable's path, or a short name where the system does not
 * tell the path (a kernel thread, another user's process). */
#define CBP_FIELDS_process_record(X, S)                                                                      \
    X(S, uint32_t, process_id)                                                                               \
    X(S, uint32_t, parent_process_id)                                                                        \
    X(S, uint64_t, start_time)   /* as cbp_event.start_time; 0: the system does not tell this caller */      \
    X(S, uint32_t, thread_count) /* 0: as above */                                                           \
    X(S, uint32_t, process_name_size)                                                                        \
    X(S, uint64_t, process_name_offset)                                                                      \
    X(S, uint64_t, arguments_offset) /* each argument with its NUL, counted; none if not asked for */        \
    X(S, uint32_t, arguments_size)                                                                           \
    X(S, uint32_t, flags)   /* SNAPSHOT_FLAG_ bits */                                                        \
    X(S, uint32_t, user_id) /* the one whose rights it has, Linux: the effective one; Windows: 0 */          \
    X(S, uint32_t, reserved)

struct cbp_process_record {
    CBP_FIELDS_process_record(CBP_EVENT_MEMBER_, process_record)
};
CBP_ASSERT_SIZE(struct cbp_process_record, 56);

/* Holds the processes that ran at one moment, by rising id. Later versions may append fields, here and to a
 * record: go from one record to the next by record_size. */
struct cbp_snapshot {
    uint32_t count;
    uint32_t record_size;
    const struct cbp_process_record *records;
    const char *texts;
    uint64_t texts_size;
};

/* Lists the processes that the caller can see; options are SNAPSHOT_WITH_ARGUMENTS or 0, and one of the FROM
 * bits or none. A process that starts or ends meanwhile may be missing. *snapshot is the caller's until
 * cbp_snapshot_destroy(). CBP_ERROR_TOO_MANY_OPEN_FILES, CBP_ERROR_NOT_ENOUGH_MEMORY, CBP_ERROR_GEN_FAILURE
 * if the system's list cannot be read (Linux: no /proc).
 *
 * SNAPSHOT_FROM_DRIVER (Linux: root, kernel 6.1 or later): programs in the kernel list the processes, about
 * ten times as fast as /proc, with equal records. Its first call in a process loads them, which takes a tenth
 * of a second and more; they do nothing but answer, and go with the process. CBP_ERROR_NOT_SUPPORTED says in
 * a sentence why that cannot be done. Without a FROM bit the library uses them, where it can, from the third
 * snapshot of a process on. */
CBP_API uint32_t CBP_CALL cbp_snapshot_create(uint32_t options, const struct cbp_snapshot **snapshot);

/* Frees the snapshot; NULL does nothing. */
CBP_API void CBP_CALL cbp_snapshot_destroy(const struct cbp_snapshot *snapshot);

#ifdef __cplusplus
}
#endif

#endif
