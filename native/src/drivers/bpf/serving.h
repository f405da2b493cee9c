/* Waits for what happens on the machine, takes it in, and gives deliveries to workers. Workers of a session
 * wait at an epoll of theirs, and the reserve thread at one behind all of them: an edge of the gate or of
 * fanotify wakes one thread only. */
#ifndef CBPI_SERVING_H
#define CBPI_SERVING_H

#include "machine.h"

enum { CBPI_RESERVE_PERIOD_MS = 100 };

enum cbpi_sources {
    CBPI_SOURCE_RING = 1,
    CBPI_SOURCE_UPPER = 2, /* this and LOWER are groups of fanotify */
    CBPI_SOURCE_LOWER = 4,
    CBPI_SOURCE_FILES = CBPI_SOURCE_UPPER | CBPI_SOURCE_LOWER,
    CBPI_SOURCE_GATE = 8,
    CBPI_SOURCE_BELL = 16,
    CBPI_SOURCE_GUARD = 32, /* it has ended */
    CBPI_SOURCES_OF_WORKERS = CBPI_SOURCE_RING | CBPI_SOURCE_FILES | CBPI_SOURCE_GATE | CBPI_SOURCE_BELL,
    CBPI_SOURCES_OF_RESERVE = CBPI_SOURCE_FILES | CBPI_SOURCE_GATE | CBPI_SOURCE_BELL | CBPI_SOURCE_GUARD,
};

/* ---- sources.c ---- */
/* Makes an epoll for these sources, and its bell. CBP_ERROR_TOO_MANY_OPEN_FILES. */
uint32_t cbpi_sources_open(const struct cbpi_guard *guard, uint32_t sources, int *epoll, int *bell);
void cbpi_sources_close(int *epoll, int *bell);
/* Lets the epoll of the reserve wait behind those that have been opened since. */
void cbpi_sources_move_behind(const struct cbpi_guard *guard, int epoll);
/* Waits up to so many ms (CBPI_WAIT_FOREVER: without limit). Gives the sources that have something. */
uint32_t cbpi_sources_wait(int epoll, uint32_t timeout_ms);

/* ---- serving.c ---- */
void cbpi_serving_init(struct cbpi_machine_session *session);
/* Takes in what these sources have, and what the ring has. The mutex is held. */
void cbpi_machine_serve(struct cbpi_machine *machine, uint32_t sources);

/* These are operations of a transport. */
uint32_t cbpi_serving_receive(struct cbpi_machine_session *session, struct cbpi_delivery *delivery,
                              uint32_t timeout_ms, uint32_t *pending);
void cbpi_serving_skip(struct cbpi_machine_session *session, uint32_t *pending);
uint32_t cbpi_serving_backlog(struct cbpi_machine_session *session);
uint32_t cbpi_serving_answer(struct cbpi_machine_session *session, const struct cbpi_delivery *delivery);
uint32_t cbpi_serving_check(struct cbpi_machine_session *session, const struct cbpi_delivery *delivery);
uint32_t cbpi_serving_extend(struct cbpi_machine_session *session, const struct cbpi_delivery *delivery,
                             uint32_t timeout_ms);
uint32_t cbpi_serving_beat(struct cbpi_machine_session *session);

#endif
