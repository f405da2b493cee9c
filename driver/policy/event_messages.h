/* Declares reports, in which a driver says what happens, and makes the messages of them that sessions get.
 * Knows what the policy has selected for a session, but no channel, no clock and no waiting. */
#ifndef CBPD_EVENT_MESSAGES_H
#define CBPD_EVENT_MESSAGES_H

#include "policy.h"

/* A report holds the events of one task that belong together, before sessions are told. */
struct cbpd_report {
    struct cbpd_request request;
    const struct cbpd_process *process;
    const struct cbpd_image *image; /* the process is told under this image's names; NULL: it has none */
    const char *arguments;
    uint32_t arguments_size;
    uint32_t originator_pid, originator_tid;
    uint32_t user_id;
    uint32_t exit_status;
    uint32_t thread_id;
    uint32_t source_pid, target_pid; /* of a duplication of a handle */
    uint32_t capabilities;           /* the CAP_ bits that hold for the process */
    uint64_t since_ns;               /* deadlines count from here; 0: from now */
    bool is_past;                    /* the operation has already happened: nothing is held */
};

/* One session is told a report like this. */
struct cbpd_telling {
    const struct cbpd_selection *selection;
    uint32_t session_id; /* by which the session's controller knows it */
    uint32_t parent_pid;
    uint32_t added_flags; /* CBP_EVENT_FLAG_ for the items that no rule has decided */
    uint64_t sequence;    /* of the first item */
    uint64_t deadline_ns; /* 0: none */
    uint64_t time_ns;     /* since 1970 */
};

void cbpd_add_item(struct cbpd_report *report, uint32_t type, uint32_t flags);
/* Gives the size of each message about the report. */
uint32_t cbpd_event_message_size(const struct cbpd_report *report);
/* Writes all of a message except its id. message has room for that size. */
void cbpd_fill_event_message(struct cbp_event_message *message, const struct cbpd_report *report,
                             const struct cbpd_telling *telling);

#endif
