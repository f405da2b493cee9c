/* Implements product_records.h. A record is replaced by renaming a new file, which is on the disk before. */
#define _GNU_SOURCE
#include "product_records.h"

#include "errors.h"
#include "platform.h"
#include "version.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define STATE_FOLDER "/var/lib"
#define OWN_NAME "cbprocess"
#define PRODUCTS_NAME "products"
#define LOCK_NAME "lock"
#define INCOMING_NAME ".incoming"
#define ROOT_VARIABLE "CBPROCESS_TEST_ROOT"
#define GUID_DIGITS 36u /* without its braces */
#define RECORD_SIZE_MAX (CBPI_PRODUCT_VERSIONS_MAX * sizeof(struct cbpi_product_version))
#define LOCK_LIMIT_MS 30000u
#define LOCK_LOOK_MS 20u

/* The variable does not count for a program that has more rights than its user. */
static const char *test_root(void)
{
    const char *root = getuid() == 0 && geteuid() == 0 ? secure_getenv(ROOT_VARIABLE) : NULL;
    return root ? root : "";
}

uint32_t cbpi_product_root(const char *path, char *buffer, size_t size)
{
    int used = snprintf(buffer, size, "%s%s", test_root(), path);
    return used > 0 && (size_t) used < size ? 0 : cbpi_fail_path(ENAMETOOLONG, path, "");
}

uint32_t cbpi_product_open_system(const char *path, struct cbpi_trusted_folder *folder)
{
    char whole[CBPI_TRUSTED_PATH_SIZE];
    uint32_t error = cbpi_product_root(path, whole, sizeof whole);
    if (error != 0)
        return error;
    for (char *end = whole + strlen(test_root()); *test_root() && end; end = strchr(end + 1, '/')) {
        *end = 0;
        (void) mkdir(whole, 0755);
        *end = '/';
    }
    if (*test_root())
        (void) mkdir(whole, 0755);
    return cbpi_trusted_open(whole, folder);
}

bool cbpi_product_is_version(const char *text)
{
    size_t size = strspn(text, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.+-");
    return size > 0 && !text[size] && size < CBPI_PRODUCT_VERSION_SIZE && cbpi_version_words(text) != 0;
}

/* A file is named as the GUID, in small letters and without braces. */
static void record_name(const char *product_guid, char name[GUID_DIGITS + 1])
{
    for (size_t i = 0; i < GUID_DIGITS; i++) {
        char c = product_guid[i + 1];
        name[i] = (char) (c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c);
    }
    name[GUID_DIGITS] = 0;
}

/* ---- Opening and locking ---- */

uint32_t cbpi_product_records_open(struct cbpi_product_records *records)
{
    char path[CBPI_TRUSTED_PATH_SIZE];
    *records = (struct cbpi_product_records){.own.fd = -1, .products.fd = -1, .lock = -1};
    uint32_t error = cbpi_product_root(STATE_FOLDER "/" OWN_NAME "/" PRODUCTS_NAME, path, sizeof path);
    if (error == 0)
        error = cbpi_trusted_open(path, &records->products);
    return error == CBP_ERROR_PATH_NOT_FOUND ? 0 : error;
}

static bool is_still_there(const struct cbpi_trusted_folder *folder, int fd)
{
    struct stat held, named;
    return fstat(fd, &held) == 0 && fstatat(folder->fd, LOCK_NAME, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           held.st_dev == named.st_dev && held.st_ino == named.st_ino;
}

/* Tries to get the lock. *fd stays -1 while another program has it. Nobody but root can open the file, so
 * that nobody else can hold it. */
static uint32_t try_lock(const struct cbpi_trusted_folder *folder, int *fd)
{
    struct stat facts;
    int file = openat(folder->fd, LOCK_NAME, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    if (file < 0)
        return cbpi_fail_path(errno, folder->path, LOCK_NAME);
    uint32_t error = 0;
    if (fstat(file, &facts) != 0 || !S_ISREG(facts.st_mode) || facts.st_uid != 0)
        error = cbpi_fail_path(EACCES, folder->path, LOCK_NAME);
    else if (flock(file, LOCK_EX | LOCK_NB) != 0)
        error = errno == EWOULDBLOCK ? 0 : cbpi_fail_path(errno, folder->path, LOCK_NAME);
    else if (is_still_there(folder, file)) {
        *fd = file;
        return 0;
    }
    close(file);
    return error;
}

/* The program that had the lock may have removed it with its folder: then both are made once more. */
static uint32_t make_and_lock(struct cbpi_product_records *records)
{
    struct cbpi_trusted_folder state;
    uint32_t error = cbpi_product_open_system(STATE_FOLDER, &state);
    if (error != 0)
        return error;
    error = cbpi_trusted_make(&state, OWN_NAME, &records->own);
    if (error == 0)
        error = try_lock(&records->own, &records->lock);
    if (error == CBP_ERROR_FILE_NOT_FOUND)
        error = 0;
    if (error == 0 && records->lock >= 0)
        error = cbpi_trusted_make(&records->own, PRODUCTS_NAME, &records->products);
    if (error != 0 || records->lock < 0) {
        cbpi_product_records_close(records);
        (void) unlinkat(state.fd, OWN_NAME, AT_REMOVEDIR);
    }
    cbpi_trusted_close(&state);
    return error;
}

uint32_t cbpi_product_records_lock(struct cbpi_product_records *records)
{
    const struct timespec pause = {.tv_nsec = LOCK_LOOK_MS * (long) CBP_NS_PER_MS};
    uint64_t limit_ns = cbpi_now_ns() + LOCK_LIMIT_MS * CBP_NS_PER_MS;
    *records = (struct cbpi_product_records){.own.fd = -1, .products.fd = -1, .lock = -1};
    uint32_t error = make_and_lock(records);
    while (error == 0 && records->lock < 0) {
        if (cbpi_now_ns() >= limit_ns)
            return cbpi_fail(CBP_ERROR_BUSY, "another program is installing the driver");
        (void) nanosleep(&pause, NULL);
        error = make_and_lock(records);
    }
    return error;
}

void cbpi_product_records_close(struct cbpi_product_records *records)
{
    cbpi_trusted_close(&records->products);
    if (records->lock >= 0) {
        char state[CBPI_TRUSTED_PATH_SIZE];
        bool is_empty = unlinkat(records->own.fd, PRODUCTS_NAME, AT_REMOVEDIR) == 0 || errno == ENOENT;
        if (is_empty && unlinkat(records->own.fd, LOCK_NAME, 0) == 0) {
            memcpy(state, records->own.path, sizeof state);
            (void) rmdir(state);
        }
        close(records->lock);
        records->lock = -1;
    }
    cbpi_trusted_close(&records->own);
}

/* ---- Records ---- */

static uint32_t fail_damaged(const struct cbpi_product_records *records, const char *name)
{
    return cbpi_fail(CBP_ERROR_FS_DRIVER_REQUIRED,
                     "%.300s/%.100s, which says where the driver is installed, is damaged: install it once "
                     "more",
                     records->products.path, name);
}

/* Takes the line apart; it loses its end. */
static bool parse_line(char *line, struct cbpi_product_version *version)
{
    char *folder = strchr(line, ' ');
    if (!folder)
        return false;
    *folder++ = 0;
    if (!cbpi_product_is_version(line) || *folder != '/' || strlen(folder) >= sizeof version->folder)
        return false;
    memcpy(version->text, line, strlen(line) + 1);
    memcpy(version->folder, folder, strlen(folder) + 1);
    return true;
}

static bool parse(char *text, struct cbpi_product *product)
{
    product->count = 0;
    for (char *end; (end = strchr(text, '\n')) != NULL; text = end + 1) {
        *end = 0;
        if (product->count == CBPI_PRODUCT_VERSIONS_MAX ||
            !parse_line(text, &product->versions[product->count]))
            return false;
        product->count++;
    }
    return !*text && product->count > 0;
}

static uint32_t read_record(const struct cbpi_product_records *records, const char *name,
                            struct cbpi_product *product)
{
    char text[RECORD_SIZE_MAX + 1];
    uint32_t error = cbpi_trusted_read(&records->products, name, text, sizeof text);
    if (error == CBP_ERROR_ACCESS_DENIED || error == CBP_ERROR_INVALID_DATA)
        return fail_damaged(records, name);
    if (error != 0)
        return error;
    return parse(text, product) ? 0 : fail_damaged(records, name);
}

uint32_t cbpi_product_read(const struct cbpi_product_records *records, const char *product_guid,
                           struct cbpi_product *product)
{
    char name[GUID_DIGITS + 1];
    product->count = 0;
    if (records->products.fd < 0)
        return 0;
    record_name(product_guid, name);
    uint32_t error = read_record(records, name, product);
    if (error == 0 || error == CBP_ERROR_FILE_NOT_FOUND)
        return 0;
    product->count = 0;
    return error;
}

static uint32_t write_incoming(const struct cbpi_product_records *records, const struct cbpi_product *product)
{
    const struct cbpi_trusted_folder *folder = &records->products;
    int fd;
    uint32_t error = cbpi_trusted_create(folder, INCOMING_NAME, 0644, &fd);
    if (error != 0)
        return error;
    for (uint32_t i = 0; error == 0 && i < product->count; i++) {
        char line[sizeof(struct cbpi_product_version)];
        int size =
            snprintf(line, sizeof line, "%s %s\n", product->versions[i].text, product->versions[i].folder);
        error = cbpi_trusted_write(fd, folder->path, line, (size_t) size);
    }
    uint32_t end_error = cbpi_trusted_finish(fd, folder->path);
    return error ? error : end_error;
}

uint32_t cbpi_product_write(const struct cbpi_product_records *records, const char *product_guid,
                            const struct cbpi_product *product)
{
    const struct cbpi_trusted_folder *folder = &records->products;
    char name[GUID_DIGITS + 1];
    uint32_t error = 0;
    record_name(product_guid, name);
    if (product->count == 0) {
        if (unlinkat(folder->fd, name, 0) != 0 && errno != ENOENT)
            return cbpi_fail_path(errno, folder->path, name);
    } else {
        error = write_incoming(records, product);
        if (error == 0 && renameat(folder->fd, INCOMING_NAME, folder->fd, name) != 0)
            error = cbpi_fail_path(errno, folder->path, name);
        if (error != 0) {
            (void) unlinkat(folder->fd, INCOMING_NAME, 0);
            return error;
        }
    }
    /* What is renamed has happened, even if the disk should get to know it later. */
    (void) fsync(folder->fd);
    return 0;
}

static void remove_at(struct cbpi_product *product, uint32_t place)
{
    product->count--;
    for (uint32_t i = place; i < product->count; i++)
        product->versions[i] = product->versions[i + 1];
}

void cbpi_product_enter(struct cbpi_product *product, const struct cbpi_product_version *version)
{
    for (uint32_t i = 0; i < product->count; i++)
        if (strcmp(product->versions[i].text, version->text) == 0) {
            remove_at(product, i);
            break;
        }
    uint32_t place = 0;
    while (place < product->count &&
           cbpi_version_words(product->versions[place].text) > cbpi_version_words(version->text))
        place++;
    if (product->count == CBPI_PRODUCT_VERSIONS_MAX) {
        product->count--;
        place -= place > product->count;
    }
    for (uint32_t i = product->count++; i > place; i--)
        product->versions[i] = product->versions[i - 1];
    product->versions[place] = *version;
}

static bool record_has_folder(const struct cbpi_product_records *records, const char *name,
                              const char *folder)
{
    struct cbpi_product product;
    if (read_record(records, name, &product) != 0)
        return true;
    for (uint32_t i = 0; i < product.count; i++)
        if (strcmp(product.versions[i].folder, folder) == 0)
            return true;
    return false;
}

bool cbpi_product_folder_is_used(const struct cbpi_product_records *records, const char *folder)
{
    bool is_used = false;
    int fd = records->products.fd < 0 ? -1 : openat(records->products.fd, ".", O_RDONLY | O_CLOEXEC);
    DIR *entries = fd < 0 ? NULL : fdopendir(fd);
    if (!entries) {
        if (fd >= 0)
            close(fd);
        return records->products.fd >= 0;
    }
    struct dirent *entry;
    while (!is_used && (entry = readdir(entries)) != NULL)
        if (entry->d_name[0] != '.')
            is_used = record_has_folder(records, entry->d_name, folder);
    closedir(entries);
    return is_used;
}
