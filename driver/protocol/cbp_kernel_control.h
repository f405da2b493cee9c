/* Defines how the core and cbprocess.sys speak: by the control requests of one device. Knows no OS call.
 *
 * The file object is a controller's identity, and its end ends all of the controller's sessions. The core
 * opens the device once for each session, so that all that a device completes is that session's. All control
 * requests are METHOD_BUFFERED and need read and write access.
 *
 *     REQUEST  in: a message of the table in driver/windows/kernel/requests.c, alone (a RULES message: with
 *              its block behind it, at an offset of sizeof(struct cbp_rules)); out: a reply, which for BEAT is
 *              a kernel_counts. Completes at once.
 *     RECEIVE  in: a kernel_receive; out: an event message, the oldest one for the oldest of a session's
 *              receives. It is pended until there is one, the session or the controller closes
 *              (STATUS_CANCELLED), or it is cancelled. STATUS_BUFFER_OVERFLOW: the buffer has the message's
 *              fixed part alone, whose header says the size of all of it.
 *
 * A malformed request is completed with STATUS_INVALID_PARAMETER, an unknown code with
 * STATUS_INVALID_DEVICE_REQUEST, an output buffer below the reply's size with STATUS_BUFFER_TOO_SMALL; the
 * session does not notice. What is well-formed and fails has its Win32 code in the reply. */
#ifndef CBP_KERNEL_CONTROL_H
#define CBP_KERNEL_CONTROL_H

#include "cbp_message.h"

#define CBP_KERNEL_DEVICE_PATH "\\\\.\\CBProcess" /* for CreateFile */
#define CBP_KERNEL_DEVICE_NAME "\\Device\\CBProcess"
#define CBP_KERNEL_LINK_NAME "\\DosDevices\\CBProcess"
#define CBP_KERNEL_SERVICE_NAME "cbprocess" /* of the service; also the file's name, with .sys */

#define CBP_KERNEL_DEVICE_TYPE 0x8c0bu
#define CBP_KERNEL_CONTROL_CODE(function)                                                                    \
    (CBP_KERNEL_DEVICE_TYPE << 16 | 3u << 14 | (uint32_t) (function) << 2 | 0u)

#define CBP_KERNEL_REQUEST CBP_KERNEL_CONTROL_CODE(0x801)
#define CBP_KERNEL_RECEIVE CBP_KERNEL_CONTROL_CODE(0x802)

#define CBP_KERNEL_RULES_SIZE_MAX (64u * 1024u * 1024u) /* of a rule block */
/* A message with a command line and two paths of 32,767 units of UTF-16 each is no larger. */
#define CBP_KERNEL_MESSAGE_SIZE_MAX (512u * 1024u)

#endif
