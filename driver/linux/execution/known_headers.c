/* Remembers headers, so that a program that is executed again need not be opened and read. One thread. Knows no
 * rules and no events.
 *
 * A header must not change unnoticed, or the entry of execve would decide about the wrong interpreter. The time
 * of change does not tell it alone: who may write to a file can map it, wait, and write to the mapping without
 * another time. So a file is remembered only if it belongs to root and nobody else may write to it (the bits of
 * the group have what a list of further users allows), and its time was past when the header was read. Programs
 * that run as root are no adversaries of the helper; what they do otherwise gives another time.
 *
 * One writer is missed: a user who has mapped his file before root makes it root's own (chown). What he writes
 * from then on is found only at the stop after execve, where a refusal ends the process. */
#include "known_headers.h"

#include <string.h>
#include <time.h>

#include "cbp_time.h"

static int64_t changed_ns_of(const struct stat *status)
{
    return status->st_ctim.tv_sec * (int64_t) CBP_NS_PER_S + status->st_ctim.tv_nsec;
}

static uint64_t row_of(const struct stat *status)
{
    uint64_t mixed = (status->st_ino ^ (uint64_t) status->st_dev << 17) * UINT64_C(0x9e3779b97f4a7c15);
    return mixed >> 32 & (KNOWN_HEADERS_MAX - 1);
}

static bool is_roots_alone(const struct stat *status)
{
    return status->st_uid == 0 && (status->st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

bool cbpd_is_settled(int64_t changed_ns)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return changed_ns / (int64_t) CBP_NS_PER_S < now.tv_sec - 1;
}

const struct known_header *cbpd_find_header(const struct known_headers *headers, const struct stat *status)
{
    const struct known_header *row = headers ? &headers->rows[row_of(status)] : NULL;
    bool is_it = row && row->inode == status->st_ino && row->device == status->st_dev &&
                 row->size == (uint64_t) status->st_size && row->changed_ns == changed_ns_of(status) &&
                 is_roots_alone(status);
    return is_it ? row : NULL;
}

void cbpd_remember_header(struct known_headers *headers, const struct stat *status, const char *loader)
{
    int64_t changed_ns = changed_ns_of(status);
    if (!headers || !is_roots_alone(status) || strlen(loader) >= KNOWN_LOADER_SIZE ||
        !cbpd_is_settled(changed_ns))
        return;
    struct known_header *row = &headers->rows[row_of(status)];
    *row = (struct known_header){status->st_dev, status->st_ino, (uint64_t) status->st_size, changed_ns, ""};
    memcpy(row->loader, loader, strlen(loader) + 1);
}
