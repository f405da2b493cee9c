/* Serves control requests. Each type of message has a row in one table, which says what has to be checked, what
 * is done, and what is replied. A request is one buffer of the system's, which no other thread can change
 * (METHOD_BUFFERED), so that checking it once is enough. The reply overwrites it. */
#include "cbp_message_check.h"
#include "kernel.h"

/* One request is served. */
struct serving {
    struct cbpd_controller *controller;
    const void *message; /* checked */
    size_t size;         /* of the message and of what is behind it */
    union {
        struct cbp_reply reply;
        struct cbp_kernel_counts counts;
    } out;
};

/* Locks the books and finds the session in them. Gives a Win32 code, and the books in any case. */
static uint32_t lock_session(const struct serving *self, uint32_t session_id, struct cbpd_policy **policy,
                             uint32_t *place)
{
    *policy = cbpd_books_lock();
    return cbpd_find_session(*policy, cbpd_controller_id(self->controller), session_id, place);
}

static uint32_t serve_hello(struct serving *self)
{
    const struct cbp_hello *hello = self->message;
    if (hello->magic != CBP_PROTOCOL_MAGIC || hello->version != CBP_PROTOCOL_VERSION)
        return CBP_ERROR_INVALID_KERNEL_INFO_VERSION;
    /* The controller states deadlines in its clock, which must be the driver's. */
    if (hello->clock_ns > cbpd_now_ns())
        return CBP_ERROR_APP_INIT_FAILURE;
    self->out.reply.value = CBP_KERNEL_CAPABILITIES;
    return 0;
}

static uint32_t serve_session(struct serving *self)
{
    return cbpd_session_set(self->controller, self->message);
}

static uint32_t serve_kernel_session(struct serving *self)
{
    return cbpd_session_arm(self->controller, self->message);
}

static uint32_t serve_session_close(struct serving *self)
{
    const struct cbp_session_close *request = self->message;
    return cbpd_session_close(self->controller, request->session_id);
}

/* ---- Rules ---- */

/* Copies and validates the block behind the message. It may be long, so nothing else waits for it. */
static uint32_t make_set(const struct serving *self, const struct cbpd_host *host, struct cbpd_rule_set **set)
{
    const struct cbp_rules *request = self->message;
    size_t size = (size_t) request->block_size;
    void *block = cbpd_pool_allocate(size);
    if (!block)
        return CBP_ERROR_NOT_ENOUGH_MEMORY;
    memcpy(block, request + 1, size);
    return cbpd_make_rule_set(host, block, size, set);
}

/* The driver sees the whole machine, so there is nothing to attach to. */
static uint32_t serve_rules(struct serving *self)
{
    const struct cbp_rules *request = self->message;
    struct cbpd_policy *policy;
    struct cbpd_rule_set *set;
    uint32_t place, error = lock_session(self, request->session_id, &policy, &place);
    const struct cbpd_host *host = policy->host; /* does not change */
    cbpd_books_unlock();
    if (error == 0)
        error = make_set(self, host, &set);
    if (error != 0)
        return error;
    error = lock_session(self, request->session_id, &policy, &place); /* it may have closed meanwhile */
    if (error == 0)
        error = cbpd_can_install(policy, request, place, set);
    if (error == 0)
        cbpd_install_rules(policy, request, place, set);
    else
        cbpd_free_rule_set(set);
    cbpd_books_unlock();
    return error;
}

/* ---- Launches and processes ---- */

static uint32_t serve_launch(struct serving *self)
{
    const struct cbp_launch *request = self->message;
    struct cbpd_policy *policy;
    uint32_t place, error = lock_session(self, request->session_id, &policy, &place);
    if (error == 0)
        error =
            cbpd_launcher_set(self->controller, request->session_id, request->thread_id, request->rule_id);
    cbpd_books_unlock();
    return error;
}

static uint32_t serve_launch_forget(struct serving *self)
{
    const struct cbp_launch_forget *request = self->message;
    struct cbpd_policy *policy;
    uint32_t place;
    if (cbpd_launcher_forget(self->controller, request->session_id, request->rule_id))
        return 0;
    uint32_t error = lock_session(self, request->session_id, &policy, &place);
    if (error == 0)
        error = cbpd_forget_launch(policy, place, request->rule_id);
    cbpd_books_unlock();
    return error;
}

static uint32_t serve_process_query(struct serving *self)
{
    const struct cbp_process_query *query = self->message;
    const struct cbpd_kernel_process *process = cbpd_process_of(cbpd_books_lock(), query->process_id);
    bool is_supervised = process && !process->is_exempt;
    cbpd_books_unlock();
    self->out.reply.value = is_supervised ? CBP_KERNEL_CAPABILITIES : 0;
    return is_supervised ? 0 : CBP_ERROR_NOT_FOUND;
}

/* ---- Workers, messages, the heartbeat ---- */

static uint32_t serve_worker(struct serving *self)
{
    const struct cbp_kernel_worker *request = self->message;
    struct cbpd_policy *policy;
    uint32_t place, error = lock_session(self, request->session_id, &policy, &place);
    if (error == 0 && request->is_worker)
        error = cbpd_worker_add(self->controller, request->session_id);
    else if (error == 0)
        cbpd_worker_remove();
    cbpd_books_unlock();
    return error;
}

static uint32_t serve_answer(struct serving *self)
{
    return cbpd_deliveries_answer(self->controller, self->message);
}

static uint32_t serve_deadline(struct serving *self)
{
    return cbpd_deliveries_deadline(self->controller, self->message, &self->out.reply.value);
}

static uint32_t serve_token(struct serving *self)
{
    return cbpd_deliveries_token(self->controller, self->message, &self->out.reply.value);
}

static uint32_t serve_beat(struct serving *self)
{
    const struct cbp_kernel_beat *request = self->message;
    uint32_t error = cbpd_deliveries_beat(self->controller, request->session_id, &self->out.counts);
    if (error != 0)
        return error;
    self->out.counts.supervised = cbpd_books_lock()->process_count;
    cbpd_books_unlock();
    return 0;
}

/* ---- The table ---- */

struct request_row {
    uint32_t type;       /* CBP_MESSAGE_ */
    uint32_t size;       /* of the message: the least, if texts follow */
    uint32_t reply_type; /* whose size is reply_size */
    uint32_t reply_size;
    uint32_t (*serve)(struct serving *self);
};

#define REPLIED(structure) sizeof(struct cbp_##structure), CBP_MESSAGE_REPLY, sizeof(struct cbp_reply)
#define COUNTED(structure)                                                                                   \
    sizeof(struct cbp_##structure), CBP_MESSAGE_KERNEL_COUNTS, sizeof(struct cbp_kernel_counts)

static const struct request_row rows[] = {
    {CBP_MESSAGE_HELLO, REPLIED(hello), serve_hello},
    {CBP_MESSAGE_SESSION, REPLIED(session_settings), serve_session},
    {CBP_MESSAGE_SESSION_CLOSE, REPLIED(session_close), serve_session_close},
    {CBP_MESSAGE_RULES, REPLIED(rules), serve_rules},
    {CBP_MESSAGE_LAUNCH, REPLIED(launch), serve_launch},
    {CBP_MESSAGE_LAUNCH_FORGET, REPLIED(launch_forget), serve_launch_forget},
    {CBP_MESSAGE_PROCESS_QUERY, REPLIED(process_query), serve_process_query},
    {CBP_MESSAGE_KERNEL_SESSION, REPLIED(kernel_session), serve_kernel_session},
    {CBP_MESSAGE_KERNEL_WORKER, REPLIED(kernel_worker), serve_worker},
    {CBP_MESSAGE_KERNEL_ANSWER, REPLIED(kernel_answer), serve_answer},
    {CBP_MESSAGE_KERNEL_DEADLINE, REPLIED(kernel_deadline), serve_deadline},
    {CBP_MESSAGE_KERNEL_TOKEN, REPLIED(kernel_token), serve_token},
    {CBP_MESSAGE_KERNEL_BEAT, COUNTED(kernel_beat), serve_beat},
};

/* Finds the row of a well-formed request. NULL: it is malformed. */
static const struct request_row *row_of(const void *message, size_t size)
{
    const struct cbp_message_header *header = message;
    const struct request_row *row = NULL;
    for (size_t i = 0; size >= sizeof *header && i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].type == header->type)
            row = &rows[i];
    if (!row || size < row->size)
        return NULL;
    if (row->type != CBP_MESSAGE_RULES && row->type != CBP_MESSAGE_KERNEL_SESSION && size != row->size)
        return NULL;
    size_t block_size = row->type == CBP_MESSAGE_RULES ? size - row->size : 0;
    if (cbpd_message_check(message, size - block_size, row->type) != 0)
        return NULL;
    if (row->type == CBP_MESSAGE_RULES) {
        const struct cbp_rules *rules = message;
        if (rules->block_size != block_size || block_size > CBP_KERNEL_RULES_SIZE_MAX ||
            rules->section_handle != 0)
            return NULL;
    }
    return row;
}

NTSTATUS cbpd_requests_serve(struct cbpd_controller *controller, void *buffer, size_t size, size_t reply_max,
                             size_t *reply_size)
{
    const struct request_row *row = row_of(buffer, size);
    if (!row)
        return STATUS_INVALID_PARAMETER;
    if (reply_max < row->reply_size)
        return STATUS_BUFFER_TOO_SMALL;
    struct serving self = {.controller = controller, .message = buffer, .size = size};
    uint32_t error = row->serve(&self);
    struct cbp_message_header header = {.size = row->reply_size,
                                        .type = row->reply_type,
                                        .id = ((const struct cbp_message_header *) buffer)->id};
    if (row->reply_type == CBP_MESSAGE_REPLY) {
        self.out.reply.header = header;
        self.out.reply.status = error;
        self.out.reply.version = CBP_PROTOCOL_VERSION;
        self.out.reply.clock_ns = cbpd_now_ns();
    } else {
        self.out.counts.header = header;
        self.out.counts.status = error;
        self.out.counts.version = CBP_PROTOCOL_VERSION;
    }
    memcpy(buffer, &self.out, row->reply_size);
    *reply_size = row->reply_size;
    return STATUS_SUCCESS;
}
