/* Is the outer half of the contract test: what a program sees of requests, their completion and their
 * cancellation. Knows no system and no C library. */
#include "nt_contract.h"

enum { WAIT_MS = 5000 };

static const struct contract_host *self;
static uint32_t check_count, failure_count;

static void check(int holds, const char *what)
{
    check_count++;
    if (holds)
        return;
    failure_count++;
    self->say(what);
}

/* A request that is completed has a status, a size and an output. */
struct result {
    uint32_t status, size;
    unsigned char output[64];
};

static struct result call(void *file, uint32_t code, const void *input, uint32_t input_size, uint32_t room)
{
    struct result result = {.status = 0xffffffffu};
    for (uint32_t i = 0; i < sizeof result.output; i++)
        result.output[i] = 0x55;
    void *started = self->start(file, code, input, input_size, result.output, room);
    check(self->wait(started, WAIT_MS, &result.status, &result.size), "a request ends");
    self->release(started);
    return result;
}

static struct contract_counts counts_of(void *file)
{
    struct result result = call(file, CONTRACT_COUNT, 0, 0, sizeof(struct contract_counts));
    struct contract_counts counts;
    check(result.status == 0 && result.size == sizeof counts, "counts are given");
    for (uint32_t i = 0; i < sizeof counts; i++)
        ((unsigned char *) &counts)[i] = result.output[i];
    return counts;
}

/* Says what does not hold in the driver's half. */
static void say_failures(void *file, uint32_t count)
{
    for (uint32_t i = 0; i < count && i < CONTRACT_NAMES; i++) {
        struct result result = call(file, CONTRACT_NAME, &i, sizeof i, CONTRACT_NAME_SIZE);
        result.output[result.size <= CONTRACT_NAME_SIZE ? result.size : 0] = 0;
        self->say((const char *) result.output);
    }
}

/* ---- Completion ---- */

static void check_buffers(void *file)
{
    static const char input[8] = "abcdefg";
    struct result result = call(file, CONTRACT_ECHO, input, 8, 8);
    check(result.status == 0 && result.size == 8, "input comes back");
    check(result.output[0] == 'a' && result.output[6] == 'g', "output is copied");
    result = call(file, CONTRACT_ECHO, input, 8, 3);
    check(result.size == 3 && result.output[2] == 'c' && result.output[3] == 0x55,
          "output stays in its buffer");
    result = call(file, CONTRACT_ECHO, input, 2, 8);
    check(result.size == 2 && result.output[2] == 0x55, "only as much as the driver says is copied");
    result = call(file, CONTRACT_ECHO, 0, 0, 0);
    check(result.status == 0 && result.size == 0, "a request without buffers");
    struct contract_counts counts = counts_of(file);
    check(counts.is_wine || counts.null_buffers == 1, "a request without buffers has no system buffer");
    check(counts_of(file).bad_threads == 0, "a request comes in its thread");
    result = call(file, CONTRACT_BOTH, input, 4, 4);
    check(result.status == 0 && result.size == 4, "a code that needs both kinds of access, with both");
}

static void check_statuses(void *file)
{
    struct result result = call(file, CONTRACT_WARN, 0, 0, 8);
    check(result.status == 0x80000005u && result.size == 4, "a warning is given");
    check(result.output[0] == 0xab, "a warning has output");
    result = call(file, CONTRACT_FAIL, 0, 0, 8);
    check(result.status == 0xc000000du, "an error is given");
    check(result.output[0] == 0x55, "an error has no output");
    result = call(file, CONTRACT_CODE(0x8ff, 0u), 0, 0, 8);
    check(result.status == 0xc0000010u, "a code that the driver refuses");
}

/* ---- Pended requests ---- */

static void check_pended(void *file)
{
    unsigned char outputs[3][8];
    void *calls[3];
    uint32_t status, size;
    for (uint32_t i = 0; i < 3; i++) {
        calls[i] = self->start(file, CONTRACT_PEND, 0, 0, outputs[i], 8);
        check(!self->wait(calls[i], i == 0 ? 30 : 0, &status, &size), "a pended request does not end");
    }
    struct result result = call(file, CONTRACT_RELEASE, 0, 0, 0);
    check(result.status == 0, "a pended request is released");
    check(self->wait(calls[0], WAIT_MS, &status, &size) && status == 0 && size == 4,
          "it ends, the first one first");
    check(outputs[0][0] == 0xab, "it has output");
    uint32_t cancels = counts_of(file).cancels;
    self->cancel(calls[2]);
    check(self->wait(calls[2], WAIT_MS, &status, &size) && status == 0xc0000120u, "a request is cancelled");
    check(counts_of(file).cancels == cancels + 1, "by its cancel routine");
    check(!self->wait(calls[1], 0, &status, &size), "another one is not");
    call(file, CONTRACT_RELEASE, 0, 0, 0);
    check(self->wait(calls[1], WAIT_MS, &status, &size) && status == 0, "and is released");
    result = call(file, CONTRACT_RELEASE, 0, 0, 0);
    check(result.status == 0xc0000225u, "nothing is left to release");
    for (uint32_t i = 0; i < 3; i++)
        self->release(calls[i]);
    check(counts_of(file).bad_levels == 0, "cancel routines get the IRQL to return to");
}

/* ---- Files ---- */

static void check_files(void *file)
{
    unsigned char output[8];
    uint32_t status, size;
    struct contract_counts before = counts_of(file);
    void *other = self->open();
    check(other != 0, "the device opens twice");
    if (!other)
        return;
    void *pended = self->start(other, CONTRACT_PEND, 0, 0, output, 8);
    self->close(other);
    struct contract_counts after = counts_of(file);
    check(after.creates == before.creates + 1, "a create for each open");
    if (!after.is_wine) {
        check(self->wait(pended, WAIT_MS, &status, &size) && status == 0xc0000120u,
              "cleanup ends what is pended");
        check(after.cleanups == before.cleanups + 1, "a cleanup for each close");
    }
    self->release(pended);
    for (uint32_t i = 0; i < 50 && after.closes != before.closes + 1; i++) {
        void *wait = self->start(file, CONTRACT_PEND, 0, 0, output, 8);
        self->wait(wait, 10, &status, &size); /* the close comes when the system has done with the file */
        call(file, CONTRACT_RELEASE, 0, 0, 0);
        self->wait(wait, WAIT_MS, &status, &size);
        self->release(wait);
        after = counts_of(file);
    }
    check(after.closes == before.closes + 1, "a close after the cleanup");
}

uint32_t contract_calls(const struct contract_host *host, uint32_t *checks)
{
    self = host;
    check_count = failure_count = 0;
    void *file = host->open();
    check(file != 0, "the device can be opened");
    if (file) {
        struct contract_counts counts = counts_of(file);
        check(counts.checks > 0 && counts.failures == 0, "the driver's own half holds");
        say_failures(file, counts.failures);
        check_count += counts.checks;
        check_buffers(file);
        check_statuses(file);
        check_pended(file);
        check_files(file);
        host->close(file);
    }
    *checks = check_count;
    return failure_count;
}
