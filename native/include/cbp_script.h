/* Is a part of cbprocess.h, whose conventions hold: scripts that the driver simulated plays, and recordings,
 * which need no session. */
#ifndef CBP_SCRIPT_H
#define CBP_SCRIPT_H

#include "cbp_api.h"

#ifdef __cplusplus
extern "C" {
#endif

struct cbp_session;

/* ---- Scripts (driver simulated) ----------------------------------------------------------------------- */

/* Plays messages: event messages (CBP_MESSAGE_EVENT) and steps (CBP_MESSAGE_SCRIPT_STEP) of cbp_message.h,
 * each at a multiple of 8 bytes from the first, with zero bytes between. They are played in order, after the
 * Script file and after what earlier calls gave.
 *
 * An event message is an operation that is about to happen; the session's rules and EventsToFire decide
 * whether it is held, decided or silent. Of its item flags HELD (or TIMED_OUT) says that it can wait, and
 * DUPLICATION, FORK, CHANGED and ARGUMENTS_TRUNCATED are passed on. DECIDED_BY_RULE with a result code or
 * fewer rights is a decision that was recorded, which stands unless a rule decides. sequence, session_id and
 * deadline_ns are ignored. A message whose id is not 0 gets a verdict.
 *
 * No message is played before the messages in front of it, nor before the handlers have answered the earlier
 * operations of the process that acts in it (or their deadlines have passed). So what a script does, and in
 * which order, does not depend on time. Handlers may call this, too. CBP_ERROR_NOT_READY if the session is
 * not active; CBP_ERROR_NOT_SUPPORTED with another driver; CBP_ERROR_INVALID_DATA if anything is malformed
 * (nothing is played then; the detail names the offset). */
CBP_API uint32_t CBP_CALL cbp_script_play(struct cbp_session *session, const void *messages, uint64_t size);

/* Waits until everything that was to be played has been played and answered, and its handlers have returned.
 * It waits at most slice_ms milliseconds (0: as long as it takes): CBP_ERROR_TIMEOUT. CBP_ERROR_NOT_READY if
 * the session is not active or stops; CBP_ERROR_POSSIBLE_DEADLOCK in a handler of this session. */
CBP_API uint32_t CBP_CALL cbp_script_wait(struct cbp_session *session, uint32_t slice_ms);

/* Gives the oldest verdict (struct cbp_verdict, whose size is given), once, on a message with an id that
 * cbp_script_play() was given. Verdicts come in the order in which the operations were settled. Waits as
 * cbp_script_wait(); CBP_ERROR_NOT_READY once the session has stopped and none is left. */
CBP_API uint32_t CBP_CALL cbp_script_next_verdict(struct cbp_session *session, uint32_t slice_ms,
                                                  void *verdict, uint64_t size);

/* ---- Recordings --------------------------------------------------------------------------------------- */

/* Opens a recording or script to look into it. *first is its first message (struct cbp_recording), in memory
 * that lives until the close. CBP_ERROR_FILE_NOT_FOUND, CBP_ERROR_PATH_NOT_FOUND, CBP_ERROR_ACCESS_DENIED;
 * CBP_ERROR_BAD_FORMAT if it is no recording, or one of a later version; CBP_ERROR_INVALID_DATA if it is
 * damaged at its beginning. The detail names the offset. */
struct cbp_recording_file;
CBP_API uint32_t CBP_CALL cbp_recording_open(const char *path, struct cbp_recording_file **file,
                                             const void **first, uint64_t *first_size);

/* Gives the next message (an event, a verdict or a step), in memory that lives until the close.
 * CBP_ERROR_NOT_FOUND at the end of a complete recording; CBP_ERROR_INVALID_DATA where it is damaged or was
 * cut off. The detail then names the offset, and all earlier messages are sound. One thread at a time. */
CBP_API uint32_t CBP_CALL cbp_recording_next(struct cbp_recording_file *file, const void **message,
                                             uint64_t *size);

/* Frees the file; NULL does nothing. */
CBP_API void CBP_CALL cbp_recording_close(struct cbp_recording_file *file);

#ifdef __cplusplus
}
#endif

#endif
