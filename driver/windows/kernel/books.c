/* Owns the policy and its lock, and provides what the policy needs: pool memory, and names in UTF-16. Knows no
 * callback and no session. */
#include "cbp_wtf8.h"
#include "kernel.h"

/* A name of 32,767 units, each of three bytes, is the longest that the system gives. */
enum { NAME_SIZE_MAX = 3 * 32768 };

/* Only the owner of the lock touches what the pointers lead to. */
static struct {
    FAST_MUTEX lock;
    struct cbpd_policy *policy;
    uint16_t *units; /* the policy sees one name at a time here */
} books;

static void *allocate(size_t size, bool surely)
{
    (void) surely; /* the pool has no reserve: without memory the policy refuses */
    return cbpd_pool_allocate(size);
}

static const void *name_units(void *context, const char *name, uint32_t size, size_t *count)
{
    (void) context;
    if (size > NAME_SIZE_MAX)
        return NULL;
    *count = cbpd_wtf8_decode(name, size, books.units);
    return *count != SIZE_MAX ? books.units : NULL;
}

/* Every process sees a volume's files by the same paths: paths lead to files. */
static const struct cbpd_host host = {.allocate = allocate,
                                      .release = cbpd_pool_free,
                                      .process_size = sizeof(struct cbpd_kernel_process),
                                      .name_comparison = CBP_COMPARE_UTF16,
                                      .name_units = name_units};

bool cbpd_books_open(void)
{
    ExInitializeFastMutex(&books.lock);
    books.policy = cbpd_pool_allocate(sizeof *books.policy);
    books.units = cbpd_pool_allocate(NAME_SIZE_MAX * sizeof *books.units);
    if (books.policy && books.units && cbpd_policy_init(books.policy, &host))
        return true;
    cbpd_pool_free(books.policy);
    cbpd_pool_free(books.units);
    books.policy = NULL;
    books.units = NULL;
    return false;
}

void cbpd_books_close(void)
{
    if (!books.policy)
        return;
    cbpd_processes_forget(books.policy);
    cbpd_policy_free(books.policy);
    cbpd_pool_free(books.policy);
    cbpd_pool_free(books.units);
    books.policy = NULL;
    books.units = NULL;
}

struct cbpd_policy *cbpd_books_lock(void)
{
    ExAcquireFastMutex(&books.lock);
    return books.policy;
}

void cbpd_books_unlock(void)
{
    ExReleaseFastMutex(&books.lock);
    cbpd_deliveries_flush();
}
