/* Loads rules: the watching thread (watching.c) copies the core's block from its memory file. */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tracer.h"

enum { BLOCK_ALIGNMENT = 4096 }; /* the sections of a block are laid out from a page's beginning */

static int block_fd;

void cbpd_begin_loading_rules(struct tracer *self, const struct cbp_rules *request, int fd)
{
    block_fd = fd;
    cbpd_begin_loading(&self->helper, request);
}

static bool read_all(int fd, char *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t got = pread(fd, bytes + done, size - done, (off_t) done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        done += (size_t) got;
    }
    return true;
}

static uint32_t copy_block(int fd, uint64_t size, void **block)
{
    struct stat status;
    if (fd < 0 || size == 0 || fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) ||
        (uint64_t) status.st_size < size)
        return CBP_ERROR_INVALID_DATA;
    void *copy = aligned_alloc(BLOCK_ALIGNMENT, ((size_t) size | (BLOCK_ALIGNMENT - 1)) + 1);
    if (!copy)
        return CBP_ERROR_NOT_ENOUGH_MEMORY;
    if (!read_all(fd, copy, (size_t) size)) {
        free(copy);
        return CBP_ERROR_INVALID_DATA;
    }
    *block = copy;
    return 0;
}

uint32_t cbpd_copy_rules(struct cbpd_helper *helper, void **block)
{
    uint32_t error = copy_block(block_fd, helper->loading.request.block_size, block);
    if (block_fd >= 0)
        close(block_fd);
    return error;
}
