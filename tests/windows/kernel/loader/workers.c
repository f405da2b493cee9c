/* Plays a controller's workers: each receives messages, answers them as the oracle decides, and now and then does
 * what real ones do rarely or hostile ones do on purpose: cancels, answers twice, answers what is not its own,
 * gives a buffer that is too small, asks for a token, moves the deadline, or never answers. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cbp_kernel_control.h"
#include "stage.h"

enum { BUFFER_SIZE = 8192, CANCEL_DELAY_US = 200, SHORT_TIMEOUT_MS = 3000 };

struct worker {
    struct crew *crew;
    pthread_mutex_t lock;
    struct io_request *waiting; /* for others to cancel; NULL: nothing */
    uint32_t is_ready;          /* atomic */
    union {
        struct cbp_event_message message;
        unsigned char bytes[BUFFER_SIZE];
    } buffer;
};

static bool happens(struct player *player, unsigned share)
{
    return share > 0 && random_below(&player->random, 256) < share;
}

/* ---- Receiving ---- */

static void offer_to_cancel(struct worker *worker, struct io_request *request)
{
    pthread_mutex_lock(&worker->lock);
    worker->waiting = request;
    pthread_mutex_unlock(&worker->lock);
}

/* Receives one message; id 0: the next one. CODE_CLOSED as status: the worker has to end. */
static NTSTATUS receive(struct player *player, uint64_t id, uint32_t room, uint64_t *size)
{
    struct worker *worker = player->context;
    struct crew *crew = worker->crew;
    struct cbp_kernel_receive message = {
        .header = {.size = sizeof message, .type = CBP_MESSAGE_KERNEL_RECEIVE, .id = id},
        .session_id = crew->session};
    struct io_file *file = controller_hold(crew->controller);
    if (!file)
        return STATUS(CODE_CLOSED);
    struct io_request *request =
        io_prepare(file, CBP_KERNEL_RECEIVE, &message, sizeof message, &worker->buffer, room);
    offer_to_cancel(worker, request);
    bool is_cancelled = happens(player, crew->manners.cancel), is_early = random_below(&player->random, 2);
    if (is_cancelled && is_early)
        io_cancel(request);
    io_start(request);
    if (is_cancelled && is_early && !io_is_complete(request))
        wrong("a request that was cancelled before the driver got it is pended");
    if (is_cancelled && !is_early) {
        usleep(random_below(&player->random, CANCEL_DELAY_US));
        io_cancel(request);
    }
    io_wait(request);
    offer_to_cancel(worker, NULL);
    NTSTATUS status = io_finish(request, size);
    io_release(file);
    return status;
}

/* ---- Answering ---- */

static struct cbp_kernel_answer answer_for(const struct worker *worker, uint32_t code, uint32_t access)
{
    const struct cbp_event_message *message = &worker->buffer.message;
    struct cbp_kernel_answer answer = {
        .header = {.size = sizeof answer, .type = CBP_MESSAGE_KERNEL_ANSWER, .id = message->header.id},
        .session_id = worker->crew->session,
        .item_count = message->item_count,
        .item0 = message->item0};
    answer.item0.result_code = code;
    answer.item0.desired_access = access;
    return answer;
}

static uint32_t send_answer(struct worker *worker, const struct cbp_kernel_answer *answer)
{
    return controller_request(worker->crew->controller, answer, sizeof *answer, NULL);
}

/* An answer that is not for a held message of this session changes nothing. */
static void send_strays(struct player *player)
{
    struct worker *worker = player->context;
    struct cbp_kernel_answer answer = answer_for(worker, CBP_ERROR_GEN_FAILURE, 0);
    uint32_t code;
    answer.item_count = 3;
    code = send_answer(worker, &answer);
    if (code == 0)
        wrong("an answer with three items to a message of one is accepted");
    answer = answer_for(worker, CBP_ERROR_GEN_FAILURE, 0);
    answer.header.id += UINT64_C(1) << 40;
    code = send_answer(worker, &answer);
    if (code != CBP_ERROR_NOT_FOUND && code != CODE_CLOSED)
        wrong("an answer to a message that never was ends with %u", code);
    answer = answer_for(worker, CBP_ERROR_GEN_FAILURE, 0);
    answer.session_id += 5;
    code = send_answer(worker, &answer);
    if (code != CBP_ERROR_NOT_FOUND && code != CODE_CLOSED)
        wrong("an answer to a session that is not there ends with %u", code);
    answer = answer_for(worker, CBP_ERROR_GEN_FAILURE, 0);
    code = worker->crew->rival ? controller_request(worker->crew->rival, &answer, sizeof answer, NULL)
                               : CODE_CLOSED;
    if (code != CBP_ERROR_NOT_FOUND && code != CODE_CLOSED)
        wrong("an answer of another controller ends with %u", code);
}

static void ask_for_token(struct worker *worker)
{
    struct cbp_kernel_token token = {
        .header = {sizeof token, CBP_MESSAGE_KERNEL_TOKEN, worker->buffer.message.header.id, 0},
        .session_id = worker->crew->session};
    struct cbp_reply reply;
    uint32_t code = controller_request(worker->crew->controller, &token, sizeof token, &reply);
    if (code == 0 && !handle_close(worker->crew->controller->process, reply.value))
        wrong("the token's handle 0x%llx is not the controller's", (unsigned long long) reply.value);
}

static void move_deadline(struct worker *worker)
{
    struct cbp_kernel_deadline deadline = {
        .header = {sizeof deadline, CBP_MESSAGE_KERNEL_DEADLINE, worker->buffer.message.header.id, 0},
        .session_id = worker->crew->session,
        .moves = 1,
        .timeout_ms = SHORT_TIMEOUT_MS};
    struct cbp_reply reply;
    uint32_t code = controller_request(worker->crew->controller, &deadline, sizeof deadline, &reply);
    if (code == 0 && reply.value < time_now_ns() - UINT64_C(60000000000))
        wrong("a deadline was moved to a time long ago");
}

static void answer(struct player *player, struct told *told)
{
    struct worker *worker = player->context;
    const struct manners *manners = &worker->crew->manners;
    uint32_t code, access;
    oracle_decide(worker->crew->session, &worker->buffer.message, &code, &access);
    struct cbp_kernel_answer message = answer_for(worker, code, access);
    uint64_t deadline_ns = worker->buffer.message.header.deadline_ns;
    bool is_late = deadline_ns != 0 && time_now_ns() > deadline_ns && manners->deadline == 0;
    uint32_t result = send_answer(worker, &message);
    if (result == 0 && is_late)
        wrong("an answer after its deadline is accepted");
    if (result == 0)
        oracle_answered(told, code, access);
    else if (result != CODE_CLOSED && result != CBP_ERROR_TIMEOUT &&
             !(result == CBP_ERROR_NOT_FOUND && oracle_session_has_ended(worker->crew->session)))
        wrong("an answer ends with %u", result);
    if (happens(player, manners->twice)) {
        message.item0.result_code = CBP_ERROR_GEN_FAILURE;
        if (send_answer(worker, &message) == 0)
            wrong("a second answer is accepted");
    }
}

/* What a handler does itself fires nothing, and so does not wait for its own answer. */
static void act(struct worker *worker)
{
    struct nt_process *own = thread_process(actor());
    uint32_t left =
        callback_handle(&(struct handle_operation){.object = worker->crew->bystander, .access = 0x1fffff});
    callback_thread(own, thread_id(actor()) + 4096, true);
    if (left != 0x1fffff)
        wrong("a worker loses rights");
}

/* Does something with a message that waits for an answer. told NULL: it is about a process of another
 * controller, and goes on. */
static void handle(struct player *player, struct told *told)
{
    struct worker *worker = player->context;
    const struct manners *manners = &worker->crew->manners;
    if (!told) {
        const struct cbp_event_item *item = &worker->buffer.message.item0;
        struct cbp_kernel_answer message = answer_for(worker, item->result_code, item->desired_access);
        (void) send_answer(worker, &message);
        return;
    }
    if (happens(player, manners->act))
        act(worker);
    if (happens(player, manners->stray))
        send_strays(player);
    if (happens(player, manners->token))
        ask_for_token(worker);
    if (happens(player, manners->deadline))
        move_deadline(worker);
    if (happens(player, manners->defer))
        usleep(random_below(&player->random, 2000));
    if (!happens(player, manners->drop))
        answer(player, told);
}

/* Gets the message of which only the fixed part has come: with a buffer of its size, and not with one of a byte
 * less. False: it has expired or was let go, or there is no file any more. */
static bool receive_whole(struct player *player, bool *is_closed)
{
    struct worker *worker = player->context;
    const struct cbp_event_message *message = &worker->buffer.message;
    uint64_t id = message->header.id, size;
    uint32_t whole = message->header.size;
    NTSTATUS status = receive(player, id, whole - 1, &size);
    if (status == STATUS_SUCCESS)
        wrong("a message of %u bytes is given into a buffer of one less", whole);
    if (status == STATUS_BUFFER_OVERFLOW)
        status = receive(player, id, whole, &size);
    *is_closed = status == STATUS(CODE_CLOSED);
    if (status != STATUS_SUCCESS)
        return false;
    if (message->header.id != id || size != whole)
        wrong("a receive by id gives another message, or a part of it");
    return true;
}

/* Receives one message and handles it. False: the worker has to end. */
static bool work(struct player *player)
{
    struct worker *worker = player->context;
    uint64_t size;
    bool is_closed = false, is_small = happens(player, worker->crew->manners.small);
    NTSTATUS status = receive(player, 0, is_small ? sizeof worker->buffer.message : BUFFER_SIZE, &size);
    bool is_partial = status == STATUS_BUFFER_OVERFLOW;
    if (status == STATUS_CANCELLED)
        return !oracle_session_has_ended(worker->crew->session);
    if (status == STATUS(CODE_CLOSED))
        return false;
    if (status != STATUS_SUCCESS && !is_partial)
        wrong("a receive ends with 0x%x", (unsigned) status);
    struct told *told = oracle_deliver(worker->crew->session, &worker->buffer.message, size, is_partial);
    if (is_partial && !receive_whole(player, &is_closed))
        return !is_closed;
    if ((worker->buffer.message.item0.flags & CBP_EVENT_FLAG_HELD) != 0)
        handle(player, told);
    return true;
}

static uint32_t say_worker(struct worker *worker, uint32_t is_worker)
{
    struct cbp_kernel_worker message = {.header = {sizeof message, CBP_MESSAGE_KERNEL_WORKER, 7, 0},
                                        .session_id = worker->crew->session,
                                        .is_worker = is_worker};
    return controller_request(worker->crew->controller, &message, sizeof message, NULL);
}

static void play(struct player *player)
{
    struct worker *worker = player->context;
    uint32_t code = say_worker(worker, 1);
    if (code != 0)
        wrong("a thread cannot become a worker: %u", code);
    __atomic_store_n(&worker->is_ready, 1, __ATOMIC_SEQ_CST);
    while (work(player))
        ;
    __atomic_sub_fetch(&worker->crew->running, 1, __ATOMIC_SEQ_CST);
}

/* ---- The crew ---- */

void crew_start(struct crew *crew, uint64_t seed)
{
    uint32_t pid = process_id(crew->controller->process);
    crew->workers = calloc(crew->count, sizeof *crew->workers);
    crew->running = crew->count;
    memset(crew->players, 0, sizeof crew->players);
    for (unsigned i = 0; i < crew->count; i++) {
        struct worker *worker = &crew->workers[i];
        worker->crew = crew;
        pthread_mutex_init(&worker->lock, NULL);
        random_open(&crew->players[i].random, seed, crew->session * 100 + i);
        crew->players[i].self =
            thread_create(pid + 8 + (crew->session * WORKERS_MAX + i) * 4, crew->controller->process);
        crew->players[i].context = worker;
        crew->players[i].play = play;
    }
    players_start(crew->players, crew->count);
}

void crew_wait_ready(struct crew *crew)
{
    for (unsigned i = 0; i < crew->count; i++)
        while (!__atomic_load_n(&crew->workers[i].is_ready, __ATOMIC_SEQ_CST))
            usleep(100);
}

static void cancel_all(struct crew *crew)
{
    for (unsigned i = 0; i < crew->count; i++) {
        struct worker *worker = &crew->workers[i];
        pthread_mutex_lock(&worker->lock);
        if (worker->waiting)
            io_cancel(worker->waiting);
        pthread_mutex_unlock(&worker->lock);
    }
}

/* A thread that ends has its requests cancelled. One may send another request just before it ends. */
void crew_kill(struct crew *crew)
{
    while (__atomic_load_n(&crew->running, __ATOMIC_SEQ_CST) > 0) {
        cancel_all(crew);
        usleep(100);
    }
}

void crew_join(struct crew *crew, bool are_threads_told)
{
    struct nt_thread *self = actor();
    players_join(crew->players, crew->count);
    for (unsigned i = 0; i < crew->count; i++) {
        struct nt_thread *thread = crew->players[i].self;
        actor_set(thread);
        if (are_threads_told)
            callback_thread(crew->controller->process, thread_id(thread), false);
        thread_forget(thread);
        pthread_mutex_destroy(&crew->workers[i].lock);
    }
    actor_set(self);
    free(crew->workers);
}
