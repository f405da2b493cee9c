/* Implements kernel_session.h. */
#include "kernel_session.h"

#include "altitude.h"
#include "errors.h"
#include "kernel_deliveries.h"
#include "kernel_link.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct kernel_session {
    struct cbpi_helper_session base;
    struct cbpi_kernel_deliveries deliveries;
    struct cbpi_session_settings settings; /* that the driver has */
};

static struct kernel_session *own(struct cbpi_transport *transport)
{
    return (struct kernel_session *) transport;
}

static uint32_t send(struct kernel_session *session, struct cbp_message_header *message)
{
    return cbpi_link_request(session->base.link, message, NULL, NULL);
}

/* ---- Settings ---- */

static uint32_t check_settings(const struct cbpi_session_settings *settings)
{
    return cbpi_helper_refuse_scopes(settings, "Windows");
}

/* The driver sees every process: there is none that it has to be attached to. */
static const char *attach_obstacle(uint32_t error)
{
    (void) error;
    return NULL;
}

static const struct cbpi_helper_driver kernel_driver = {
    .link_ops = &cbpi_kernel_link_ops,
    .check_settings = check_settings,
    .attach_obstacle = attach_obstacle,
};

/* Takes the session's place among the drivers of the system. */
static uint32_t send_altitude(struct kernel_session *session, const struct cbpi_session_settings *settings)
{
    struct {
        struct cbp_kernel_session message;
        char altitude[CBPI_ALTITUDE_SIZE];
    } request = {.message = {.header = {.type = CBP_MESSAGE_KERNEL_SESSION},
                             .session_id = session->base.session_id,
                             .is_strict = settings->strict_altitude,
                             .altitude_offset = sizeof request.message}};
    cbpi_altitude_format(settings->policy.altitude, request.altitude, sizeof request.altitude);
    request.message.altitude_size = (uint32_t) strlen(request.altitude);
    request.message.header.size = (uint32_t) sizeof request.message + request.message.altitude_size;
    uint32_t error = send(session, &request.message.header);
    return error == CBP_ERROR_ALREADY_EXISTS
               ? cbpi_fail(error, "another driver has the altitude %s", request.altitude)
               : error;
}

static bool is_elsewhere(const struct cbpi_session_settings *a, const struct cbpi_session_settings *b)
{
    return a->policy.altitude != b->policy.altitude || a->strict_altitude != b->strict_altitude;
}

/* Goes back to the earlier settings, or closes a session that had none. Keeps the error's sentence. */
static void take_back(struct kernel_session *session, uint32_t error)
{
    char detail[256];
    snprintf(detail, sizeof detail, "%s", cbp_error_detail());
    if (session->settings.policy.altitude != 0)
        (void) cbpi_helper_update(&session->base.base, &session->settings);
    else
        (void) cbpi_helper_close(&session->base);
    (void) cbpi_fail(error, "%s", detail);
}

/* The first altitude is a change, too. */
static uint32_t update(struct cbpi_transport *transport, const struct cbpi_session_settings *settings)
{
    struct kernel_session *session = own(transport);
    uint32_t error = cbpi_helper_update(transport, settings);
    if (error == 0 && is_elsewhere(settings, &session->settings)) {
        error = send_altitude(session, settings);
        if (error != 0)
            take_back(session, error);
    }
    if (error == 0)
        session->settings = *settings;
    return error;
}

/* ---- Deliveries ---- */

static uint32_t receive(struct cbpi_transport *transport, struct cbpi_delivery *delivery, uint32_t timeout_ms,
                        uint32_t *pending)
{
    return cbpi_kernel_deliveries_receive(&own(transport)->deliveries, delivery, timeout_ms, pending);
}

static void skip(struct cbpi_transport *transport, uint32_t *pending)
{
    cbpi_kernel_deliveries_skip(&own(transport)->deliveries, pending);
}

static uint32_t backlog(struct cbpi_transport *transport)
{
    return cbpi_kernel_deliveries_backlog(&own(transport)->deliveries);
}

static uint32_t answer(struct cbpi_transport *transport, const struct cbpi_delivery *delivery)
{
    return cbpi_kernel_deliveries_answer(&own(transport)->deliveries, delivery);
}

static uint32_t check(struct cbpi_transport *transport, const struct cbpi_delivery *delivery)
{
    return cbpi_kernel_deliveries_check(&own(transport)->deliveries, delivery);
}

static uint32_t extend(struct cbpi_transport *transport, const struct cbpi_delivery *delivery,
                       uint32_t timeout_ms)
{
    return cbpi_kernel_deliveries_extend(&own(transport)->deliveries, delivery, timeout_ms);
}

static uint32_t beat(struct cbpi_transport *transport)
{
    struct kernel_session *session = own(transport);
    uint32_t error = cbpi_kernel_deliveries_beat(&session->deliveries);
    return cbpi_link_look(session->base.link) == CBPI_LINK_GONE ? CBP_ERROR_BROKEN_PIPE : error;
}

static void counts(struct cbpi_transport *transport, struct cbp_statistics *counts)
{
    cbpi_kernel_deliveries_counts(&own(transport)->deliveries, counts);
}

/* The driver is told of an execution once it is sure. */
static bool next_failed(struct cbpi_transport *transport, uint64_t *seen_count,
                        struct cbpi_failed_execution *failed)
{
    (void) transport;
    (void) seen_count;
    (void) failed;
    return false;
}

int64_t cbpi_kernel_session_token(struct cbpi_transport *transport, const struct cbpi_delivery *delivery)
{
    return cbpi_kernel_deliveries_token(&own(transport)->deliveries, delivery);
}

/* ---- Workers ---- */

static uint32_t tell_worker(struct cbpi_transport *transport, uint32_t is_worker)
{
    struct kernel_session *session = own(transport);
    struct cbp_kernel_worker message = {.header = {.size = sizeof message, .type = CBP_MESSAGE_KERNEL_WORKER},
                                        .session_id = session->base.session_id,
                                        .is_worker = is_worker};
    return send(session, &message.header);
}

uint32_t cbpi_kernel_session_enter_worker(struct cbpi_transport *transport)
{
    return tell_worker(transport, 1);
}

void cbpi_kernel_session_leave_worker(struct cbpi_transport *transport)
{
    (void) tell_worker(transport, 0); /* after the session's end the driver knows no worker of it */
}

/* ---- Opening and closing ---- */

static uint32_t close_session(struct cbpi_transport *transport)
{
    struct kernel_session *session = own(transport);
    cbpi_kernel_deliveries_close(&session->deliveries);
    return cbpi_helper_close(&session->base);
}

/* What the driver still has of the session ends with its device. */
static void release(struct cbpi_transport *transport)
{
    struct kernel_session *session = own(transport);
    cbpi_kernel_deliveries_destroy(&session->deliveries);
    cbpi_helper_leave(&session->base);
    free(session);
}

static const struct cbpi_transport_ops transport_ops = {
    .close = close_session,
    .release = release,
    .update = update,
    .set_rules = cbpi_helper_set_rules,
    .process_capabilities = cbpi_helper_process_capabilities,
    .receive = receive,
    .skip = skip,
    .backlog = backlog,
    .answer = answer,
    .check = check,
    .extend = extend,
    .beat = beat,
    .trouble = cbpi_helper_trouble,
    .counts = counts,
    .next_failed = next_failed,
};

uint32_t cbpi_kernel_session_open(const struct cbpi_session_settings *settings,
                                  struct cbpi_transport **transport)
{
    struct kernel_session *made = calloc(1, sizeof *made);
    if (!made)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for a session");
    struct cbpi_transport *base = &made->base.base;
    base->ops = &transport_ops;
    uint32_t error = cbpi_helper_join(&made->base, &kernel_driver, settings);
    if (error != 0) {
        free(made);
        return error;
    }
    cbpi_kernel_deliveries_init(&made->deliveries, cbpi_kernel_link_device(made->base.link),
                                made->base.session_id);
    error = update(base, settings);
    if (error == 0)
        *transport = base;
    else
        release(base);
    return error;
}
