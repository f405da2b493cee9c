/* Remembers of programs that their headers are in order, and which loader they name; see known_headers.c. */
#ifndef CBPD_KNOWN_HEADERS_H
#define CBPD_KNOWN_HEADERS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

enum { KNOWN_HEADERS_MAX = 256, KNOWN_LOADER_SIZE = 64 };

/* A program for this machine has this number, time of change and size; it is no script. */
struct known_header {
    uint64_t device, inode, size;
    int64_t changed_ns;
    char loader[KNOWN_LOADER_SIZE]; /* the path; empty: it has none */
};

struct known_headers {
    struct known_header rows[KNOWN_HEADERS_MAX]; /* a program has one place, and may lose it */
};

/* NULL: the program is not known, or headers is NULL. */
const struct known_header *cbpd_find_header(const struct known_headers *headers, const struct stat *status);

/* Remembers a program whose header has been read after the status, if nobody but root can change it unnoticed. */
void cbpd_remember_header(struct known_headers *headers, const struct stat *status, const char *loader);

/* Says whether a file that is made or changed from now on surely has another time of change than this. An
 * unprivileged program can set neither that time nor the clock. The kernel's clock has steps of up to 10 ms. */
bool cbpd_is_settled(int64_t changed_ns);

#endif
