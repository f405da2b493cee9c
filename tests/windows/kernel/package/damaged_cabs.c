/* Installs packages that are damaged at each place, and cut off at each length:
 *
 *     damaged_cabs CAB STEP        every STEPth byte of the compressed files; of all that is before them, each
 *
 * Either the damage is noticed (11, 13 or 577) and the machine stays as it was, or it concerns what nobody reads
 * (a file's date) and the driver is installed as from the whole package. Runs under Wine. */
#define WIN32_LEAN_AND_MEAN
#include "state.h"

#include "cbprocess.h"

#include <windows.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GUID "{0F5D9C5B-6B8F-4B9C-9E59-0B8C8A3B6B10}"
#define DAMAGED "C:\\damaged.cab"
#define CABINET_SIZE_MAX (1024u * 1024u)

static unsigned char whole[CABINET_SIZE_MAX], damaged[CABINET_SIZE_MAX];
static size_t size;
static char *wanted;
static int failures, unnoticed, tried, noticed_by[1024];

static void write_damaged(size_t count)
{
    FILE *file = fopen(DAMAGED, "wb");
    if (!file || fwrite(damaged, 1, count, file) != count || fclose(file) != 0)
        exit(2);
}

static void fail(const char *what, size_t at, uint32_t error, const char *state)
{
    failures++;
    printf("FAILED at %u: %s: error %u: %s\n%s", (unsigned) at, what, (unsigned) error, cbp_error_detail(),
           state);
}

static void remove_driver(void)
{
    uint32_t restart;
    if (cbp_driver_uninstall(GUID, "kernel", "", "", CBP_UNINSTALL_VERSION_ALL, &restart) != 0)
        exit(2);
}

/* Tries the first count bytes of what was damaged at that place. */
static void try_package(size_t count, size_t at, bool is_cut)
{
    uint32_t restart;
    tried++;
    write_damaged(count);
    uint32_t error = cbp_driver_install(GUID, "kernel", DAMAGED, "", 0, &restart);
    char *state = state_read();
    if (error == 0) {
        unnoticed++;
        if (is_cut || strcmp(state, wanted) != 0)
            fail("something else is installed", at, error, state);
        remove_driver();
    } else {
        noticed_by[error < 1024 ? error : 0]++;
        bool is_known = error == CBP_ERROR_BAD_FORMAT || error == CBP_ERROR_INVALID_DATA ||
                        error == CBP_ERROR_INVALID_IMAGE_HASH;
        if (!is_known || *state)
            fail("not the machine as it was, or another error", at, error, state);
    }
    free(state);
}

static bool read_whole(const char *path)
{
    FILE *file = fopen(path, "rb");
    size = file ? fread(whole, 1, sizeof whole, file) : 0;
    return size > 64 && fclose(file) == 0;
}

int main(int count, char **arguments)
{
    static const unsigned char flips[] = {0x01, 0xfe};
    uint32_t restart, data_at;
    if (count != 3 || !read_whole(arguments[1]))
        return 2;
    setvbuf(stdout, NULL, _IONBF, 0);
    if (cbp_driver_install(GUID, "kernel", arguments[1], "", 0, &restart) != 0)
        return 2;
    wanted = state_read();
    remove_driver();
    memcpy(&data_at, whole + 36, sizeof data_at);
    size_t step = (size_t) atoi(arguments[2]);
    for (size_t at = 0; at < size; at += at < data_at ? 1 : step) {
        for (size_t i = 0; i < sizeof flips && (at < data_at || i == 0); i++) {
            memcpy(damaged, whole, size);
            damaged[at] ^= flips[i];
            try_package(size, at, false);
        }
        memcpy(damaged, whole, size);
        try_package(at, at, true);
    }
    DeleteFileA(DAMAGED);
    printf("%d packages: %d were no cabinet or for another machine, %d damaged, %d not signed, %d as good as "
           "whole; "
           "%d failures\n",
           tried, noticed_by[CBP_ERROR_BAD_FORMAT], noticed_by[CBP_ERROR_INVALID_DATA],
           noticed_by[CBP_ERROR_INVALID_IMAGE_HASH], unnoticed, failures);
    return failures != 0;
}
