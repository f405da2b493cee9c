/* Registers the system's callbacks while there are sessions. Knows no rule and no message.
 *
 * One lock makes opening, closing and arming one after the other. No callback takes it, because its owner may
 * wait until callbacks have ended. Receives of a session that closes are completed with it held, which is at
 * PASSIVE_LEVEL, and nothing that completes a request takes it. */
#include "kernel.h"

enum { ALTITUDE_SIZE_MAX = 32, LOCK_SLICE = 2500000 /* units of 100 ns */ };

static struct {
    KEVENT lock; /* set: nobody has it */
    bool is_armed;
    bool is_exact; /* the callbacks have this altitude, and not a neighbour's */
    uint32_t altitude_size;
    char altitude[ALTITUDE_SIZE_MAX];
} arming;

void cbpd_arming_begin(void)
{
    KeInitializeEvent(&arming.lock, SynchronizationEvent, TRUE);
}

/* A thread that has the lock must not be suspended. It stays at PASSIVE_LEVEL, as registering callbacks needs. */
static void lock(void)
{
    LARGE_INTEGER timeout = {.QuadPart = -LOCK_SLICE};
    KeEnterCriticalRegion();
    while (KeWaitForSingleObject(&arming.lock, Executive, KernelMode, FALSE, &timeout) == STATUS_TIMEOUT)
        continue;
}

static void unlock(void)
{
    (void) KeSetEvent(&arming.lock, IO_NO_INCREMENT, FALSE);
    KeLeaveCriticalRegion();
}

/* ---- Callbacks. With the lock ---- */

static uint32_t arm_handles(const char *altitude, uint32_t size, bool is_strict)
{
    uint32_t error = cbpd_handle_notify_arm(altitude, size, true);
    arming.is_exact = error == 0;
    if (error == CBP_ERROR_ALREADY_EXISTS && !is_strict)
        error = cbpd_handle_notify_arm(altitude, size, false);
    return error;
}

static uint32_t arm(const char *altitude, uint32_t size, bool is_strict)
{
    uint32_t error = cbpd_process_notify_arm();
    if (error != 0)
        return error;
    error = cbpd_thread_notify_arm();
    if (error == 0) {
        error = arm_handles(altitude, size, is_strict);
        if (error != 0)
            cbpd_thread_notify_disarm();
    }
    if (error != 0)
        cbpd_process_notify_disarm();
    return error;
}

/* The callbacks go with the last session. */
static void disarm_if_idle(void)
{
    bool is_idle = cbpd_books_lock()->session_count == 0;
    cbpd_books_unlock();
    if (!is_idle || !arming.is_armed)
        return;
    cbpd_handle_notify_disarm();
    cbpd_thread_notify_disarm();
    cbpd_process_notify_disarm();
    arming.is_armed = false;
}

/* ---- Sessions ---- */

uint32_t cbpd_session_set(struct cbpd_controller *controller, const struct cbp_session_settings *settings)
{
    lock();
    uint32_t error = cbpd_session_open(cbpd_books_lock(), controller, settings);
    cbpd_books_unlock();
    unlock();
    return error;
}

/* Digits, and at most one point between them. */
static bool is_altitude(const char *text, uint32_t size)
{
    uint32_t points = 0;
    if (size == 0 || size > ALTITUDE_SIZE_MAX || text[0] == '.' || text[size - 1] == '.')
        return false;
    for (uint32_t i = 0; i < size; i++) {
        points += text[i] == '.';
        if (text[i] != '.' && (text[i] < '0' || text[i] > '9'))
            return false;
    }
    return points <= 1;
}

static uint32_t arm_for(const char *altitude, uint32_t size, bool is_strict)
{
    if (arming.is_armed) {
        bool is_that =
            arming.is_exact && arming.altitude_size == size && memcmp(arming.altitude, altitude, size) == 0;
        return is_strict && !is_that ? CBP_ERROR_ALREADY_EXISTS : 0;
    }
    uint32_t error = arm(altitude, size, is_strict);
    if (error != 0)
        return error;
    arming.is_armed = true;
    arming.altitude_size = size;
    memcpy(arming.altitude, altitude, size);
    return 0;
}

uint32_t cbpd_session_arm(struct cbpd_controller *controller, const struct cbp_kernel_session *request)
{
    const char *altitude = (const char *) request + request->altitude_offset;
    uint32_t place;
    if (!is_altitude(altitude, request->altitude_size))
        return CBP_ERROR_INVALID_PARAMETER;
    lock();
    uint32_t error =
        cbpd_find_session(cbpd_books_lock(), cbpd_controller_id(controller), request->session_id, &place);
    cbpd_books_unlock();
    if (error == 0)
        error = arm_for(altitude, request->altitude_size, request->is_strict != 0);
    disarm_if_idle(); /* the controller may have ended meanwhile */
    unlock();
    return error;
}

uint32_t cbpd_session_close(struct cbpd_controller *controller, uint32_t session_id)
{
    uint32_t place;
    lock();
    struct cbpd_policy *policy = cbpd_books_lock();
    uint32_t error = cbpd_find_session(policy, cbpd_controller_id(controller), session_id, &place);
    if (error == 0)
        cbpd_session_end(policy, controller, place);
    cbpd_books_unlock();
    disarm_if_idle();
    unlock();
    return error;
}

void cbpd_sessions_close(struct cbpd_controller *controller)
{
    lock();
    struct cbpd_policy *policy = cbpd_books_lock();
    cbpd_controller_shut(controller);
    cbpd_sessions_end(policy, controller);
    cbpd_books_unlock();
    disarm_if_idle();
    unlock();
}
