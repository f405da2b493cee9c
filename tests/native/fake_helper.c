/* A helper without processes, for the tests of the core: speaks the whole contract of the real one over
 * the descriptors 3 (channel), 4 (control) and 5 (controller), posts events on command and checks what comes
 * back. Knows the protocol only; shares no code with the core but the protocol's own.
 *
 * Commands come as name rules whose pattern begins with '!':
 *     !post COUNT ITEMS FLAGS TEXT   COUNT messages of ITEMS events with these flags, TEXT bytes of arguments
 *     !deadline MS                   the deadline of later posts; a post that passes it is let go
 *     !take ITEM RIGHTS              later posts: what rules have taken out of the access of this item
 *     !about PROCESS START CALLER    later posts, and launches: the process, its start time, and the
 * originator !refuse CODE                   answers later rules that attach with this code !settings one
 * event that carries the session's settings in its fields !malformed KIND                one message that is
 * wrong in a certain way !launch STATUS ERRNO           how later launches end !lose COUNT counts events as
 * lost !guess COUNT                   counts guesses !mute                          answers no request from
 * now on !unanswered                    takes these rules and does not answer !die ends at once, like a crash
 * and those of fake_rules.h.
 *
 * What it saw is told through the channel's counters: decided = events answered, refused = those with a
 * result code, failed_after = those whose access was changed, timed_out = messages let go at their deadline,
 * supervised_count = rules that it has, commands not counted. A process has the capabilities 16 * its id,
 * from 1000 on it is not supervised. A broken contract ends it with a line on stderr; the tests see that as
 * the driver's death. */
#define _GNU_SOURCE
#include "cbp_atomic.h"
#include "cbp_channel.h"
#include "cbp_message_check.h"
#include "fake_rules.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define CHANNEL_FD 3
#define CONTROL_FD 4
#define CONTROLLER_FD 5
#define RING_SIZE 4096u
#define ACCESS 0x1fu /* the original access of every event */

static struct cbp_channel *channel;
static unsigned char is_out[CBP_SLOT_COUNT]; /* posted and not yet back */
static uint32_t posted_access[CBP_SLOT_COUNT][CBP_BATCH_MAX];
static uint32_t taken[CBP_BATCH_MAX];
static struct {
    uint32_t process_id, originator_id;
    uint64_t start_time;
} about;
static uint32_t attach_code;
static uint64_t sequence[CBP_SESSION_MAX];
static struct cbp_session_settings settings[CBP_SESSION_MAX];
static uint64_t deadline_ms;
static uint32_t launch_status, launch_errno;
static int is_mute;

void broken(const char *what)
{
    dprintf(2, "fake helper: %s\n", what);
    _exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t) now.tv_sec * 1000000000u + (uint64_t) now.tv_nsec;
}

/* ---- Slots ---- */

static void take_back(uint32_t number)
{
    struct cbp_slot *slot = cbp_channel_slot(channel, number);
    struct cbp_channel_session *session = &channel->sessions[slot->session_id];
    uint32_t decision = cbp_load_u32(&slot->decision);
    if (!is_out[number])
        broken("a slot came back twice");
    if (decision != CBP_DECISION_ANSWERED && decision != CBP_DECISION_EXPIRED)
        broken("a slot came back undecided");
    is_out[number] = 0;
    const struct cbp_event_item *items = cbp_event_items_const(&slot->message);
    uint32_t count = slot->message.item_count < CBP_BATCH_MAX ? slot->message.item_count : CBP_BATCH_MAX;
    int is_held = (items[0].flags & CBP_EVENT_FLAG_HELD) != 0;
    if (!is_held) /* posted as decided; an answer changes nothing */
        cbp_add_u64(&session->decided, count);
    for (uint32_t i = 0; is_held && decision == CBP_DECISION_ANSWERED && i < count; i++) {
        if ((items[i].desired_access & ~posted_access[number][i]) != 0)
            broken("an answer adds access");
        cbp_add_u64(&session->decided, 1);
        if (items[i].result_code != 0)
            cbp_add_u64(&session->refused, 1);
        if (items[i].desired_access != posted_access[number][i])
            cbp_add_u64(&session->failed_after, 1);
    }
}

static void collect_answers(void)
{
    uint32_t next = cbp_swap_u32(&channel->answers, 0);
    while (next != 0) {
        if (next > CBP_SLOT_COUNT)
            broken("the answer list is damaged");
        uint32_t number = next - 1;
        next = cbp_load_u32(&cbp_channel_slot(channel, number)->next);
        take_back(number);
    }
}

static void wait_for_answers(void)
{
    uint32_t bell = cbp_load_u32(&channel->answer_bell);
    struct timespec timeout = {.tv_nsec = 2000000};
    cbp_store_u32(&channel->driver_sleeping, 1);
    if (cbp_load_u32(&channel->answers) == 0)
        syscall(SYS_futex, &channel->answer_bell, FUTEX_WAIT, bell, &timeout, NULL, 0);
    cbp_store_u32(&channel->driver_sleeping, 0);
    collect_answers();
}

static uint32_t free_slot(uint32_t size)
{
    uint32_t first = size <= cbp_channel_message_capacity(0) ? 0 : CBP_SMALL_SLOT_COUNT;
    for (;;) {
        for (uint32_t i = first; i < (first ? CBP_SLOT_COUNT : CBP_SMALL_SLOT_COUNT); i++)
            if (!is_out[i])
                return i;
        wait_for_answers();
    }
}

static void push(uint32_t session_id, uint32_t number, int is_held)
{
    struct cbp_channel_session *session = &channel->sessions[session_id];
    uint32_t tail = cbp_load_u32(&session->tail);
    cbp_store_u32(&session->ring[tail % RING_SIZE], number);
    cbp_store_u32(&session->tail, tail + 1);
    cbp_add_u32(&session->bell, 1);
    if (!is_held && cbp_load_u32(&session->dozers) > 0 &&
        cbp_load_u32(&session->tail) - cbp_load_u32(&session->head) < CBP_DOZE_BACKLOG_MAX)
        return;
    if (cbp_load_u32(&session->sleepers) > 0)
        syscall(SYS_futex, &session->bell, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* Lets go what is open: all of a session with by_close, else what has passed its deadline. */
static void expire(uint32_t session_id, int by_close)
{
    for (uint32_t i = 0; i < CBP_SLOT_COUNT; i++) {
        struct cbp_slot *slot = cbp_channel_slot(channel, i);
        if (!is_out[i] || (by_close && slot->session_id != session_id))
            continue;
        uint64_t deadline_ns = cbp_load_u64(&slot->deadline_ns);
        uint32_t open = CBP_DECISION_OPEN;
        if (!by_close && (deadline_ns == 0 || deadline_ns > now_ns()))
            continue;
        if (cbp_compare_swap_u32(&slot->decision, &open, CBP_DECISION_EXPIRED) && !by_close)
            cbp_add_u64(&channel->sessions[slot->session_id].timed_out, 1);
    }
}

/* ---- Events ---- */

static uint32_t put_text(struct cbp_event_message *message, const char *text, uint32_t size)
{
    uint32_t offset = message->header.size;
    memcpy((unsigned char *) message + offset, text, size);
    message->header.size += size;
    return offset;
}

/* A slot with a well-formed message, not yet pushed. */
static uint32_t make_message(uint32_t session_id, uint32_t items, uint32_t flags, uint32_t text_size)
{
    static const char name[] = "/usr/bin/program", image[] = "program";
    uint32_t number = free_slot((uint32_t) sizeof(struct cbp_event_message) + 64 + text_size);
    struct cbp_slot *slot = cbp_channel_slot(channel, number);
    struct cbp_event_message *message = &slot->message;
    memset(message, 0, sizeof *message);
    message->header.size = sizeof *message;
    message->header.type = CBP_MESSAGE_EVENT;
    message->header.deadline_ns = deadline_ms ? now_ns() + deadline_ms * 1000000u : 0;
    message->session_id = session_id;
    message->item_count = items;
    message->sequence = sequence[session_id] + 1;
    sequence[session_id] += items;
    message->process_id = about.process_id ? about.process_id : 1000 + (uint32_t) message->sequence % 1000;
    message->start_time = about.start_time;
    message->originator_process_id = about.originator_id;
    message->original_desired_access = ACCESS;
    for (uint32_t i = 0; i < items; i++) {
        posted_access[number][i] = ACCESS & ~taken[i];
        cbp_event_items(message)[i] = (struct cbp_event_item){1u << i, flags, 0, posted_access[number][i]};
    }
    message->process_name_size = sizeof name - 1;
    message->process_name_offset = put_text(message, name, sizeof name - 1);
    message->image_file_name_size = sizeof image - 1;
    message->image_file_name_offset = put_text(message, image, sizeof image - 1);
    message->arguments_offset = message->header.size;
    message->arguments_size = text_size;
    memset((unsigned char *) message + message->header.size, 'a', text_size);
    if (text_size > 0)
        ((char *) message)[message->header.size + text_size - 1] = '\0';
    message->header.size += text_size;
    slot->session_id = session_id;
    cbp_store_u64(&slot->deadline_ns, message->header.deadline_ns);
    cbp_store_u32(&slot->decision, (flags & CBP_EVENT_FLAG_HELD) ? CBP_DECISION_OPEN : CBP_DECISION_EXPIRED);
    return number;
}

static void post(uint32_t session_id, uint32_t number)
{
    uint32_t flags = cbp_channel_slot(channel, number)->message.item0.flags;
    is_out[number] = 1;
    push(session_id, number, (flags & CBP_EVENT_FLAG_HELD) != 0);
}

static void post_many(uint32_t session_id, const char *command)
{
    unsigned count, items, flags, text_size;
    if (sscanf(command, "!post %u %u %u %u", &count, &items, &flags, &text_size) != 4)
        broken("cannot read a post");
    for (unsigned i = 0; i < count; i++) {
        post(session_id, make_message(session_id, items, flags, text_size));
        if (i % 256 == 255)
            collect_answers();
    }
}

static void post_settings(uint32_t session_id)
{
    const struct cbp_session_settings *from = &settings[session_id];
    uint32_t number = make_message(session_id, 1, 0, 0);
    struct cbp_event_message *message = &cbp_channel_slot(channel, number)->message;
    message->process_id = from->events;
    message->thread_id = from->timeout_ms;
    message->parent_process_id = from->timeout_action;
    message->originator_process_id = from->refuse_with;
    message->originator_thread_id = from->flags;
    message->start_time = from->altitude;
    message->user_id = (uint32_t) getpid();
    post(session_id, number);
}

static void post_malformed(uint32_t session_id, const char *command)
{
    uint32_t number = make_message(session_id, 1, 0, 16);
    struct cbp_event_message *message = &cbp_channel_slot(channel, number)->message;
    switch (command[strlen("!malformed ")]) {
    case 's': /* size beyond the slot */
        message->header.size = UINT32_MAX;
        break;
    case 'o': /* a text outside the message */
        message->arguments_offset = message->header.size;
        break;
    case 'i': /* too many items */
        message->item_count = CBP_BATCH_MAX + 1;
        break;
    case 'w': /* another session's */
        message->session_id = session_id + 1;
        break;
    case 'n': /* no such slot */
        push(session_id, CBP_SLOT_COUNT + 7, 1);
        return;
    case 'v': /* texts that lie over one another, so that the event is larger than the message */
        message->process_name_offset = message->image_file_name_offset = sizeof *message;
        message->process_name_size = message->image_file_name_size = 16;
        break;
    default:
        broken("unknown way to be malformed");
    }
    post(session_id, number);
}

static void obey(uint32_t session_id, const char *command)
{
    unsigned one, two;
    unsigned long long number;
    if (sscanf(command, "!about %u %llu %u", &one, &number, &two) == 3) {
        about.process_id = one;
        about.start_time = number;
        about.originator_id = two;
        return;
    }
    if (strncmp(command, "!post ", 6) == 0)
        post_many(session_id, command);
    else if (strcmp(command, "!settings") == 0)
        post_settings(session_id);
    else if (strncmp(command, "!malformed ", 11) == 0)
        post_malformed(session_id, command);
    else if (sscanf(command, "!deadline %llu", &number) == 1)
        deadline_ms = number;
    else if (sscanf(command, "!lose %llu", &number) == 1)
        cbp_add_u64(&channel->sessions[session_id].lost, number);
    else if (sscanf(command, "!guess %llu", &number) == 1)
        cbp_add_u64(&channel->sessions[session_id].guessed, number);
    else if (sscanf(command, "!take %u %u", &one, &two) == 2)
        taken[one % CBP_BATCH_MAX] = two;
    else if (sscanf(command, "!refuse %u", &one) == 1)
        attach_code = one;
    else if (sscanf(command, "!launch %u %u", &one, &two) == 2) {
        launch_status = one;
        launch_errno = two;
    } else if (strcmp(command, "!mute") == 0)
        is_mute = 1;
    else if (strcmp(command, "!unanswered") == 0)
        return;
    else if (strcmp(command, "!die") == 0)
        _exit(9);
    else
        broken("unknown command");
}

/* ---- Requests ---- */

static void reply_to(const struct cbp_message_header *request, uint32_t status, uint64_t value)
{
    struct cbp_reply reply = {.header = {.size = sizeof reply, .type = CBP_MESSAGE_REPLY, .id = request->id},
                              .status = status,
                              .version = CBP_PROTOCOL_VERSION,
                              .value = value,
                              .clock_ns = now_ns()};
    if (!is_mute && send(CONTROL_FD, &reply, sizeof reply, MSG_NOSIGNAL) != sizeof reply)
        _exit(0);
}

static void take_rules(const struct cbp_rules *request, int fd)
{
    uint32_t rule_id = 0;
    uint32_t status = fake_rules_take(request, fd, attach_code, &rule_id);
    cbp_store_u32(&channel->supervised_count, fake_rules_count());
    is_mute = is_mute || fake_rules_has_heard("!mute");
    if (!fake_rules_has_heard("!unanswered"))
        reply_to(&request->header, status, rule_id);
    for (const char *command; (command = fake_rules_next_command()) != NULL;)
        obey(request->session_id, command);
}

static void forget_launch(const struct cbp_launch_forget *request)
{
    uint32_t status = fake_rules_forget_launch(request->session_id, request->rule_id);
    cbp_store_u32(&channel->supervised_count, fake_rules_count());
    reply_to(&request->header, status, 0);
}

/* The conversation with a launcher: it says that it is ready, is told to go, and the core how it ended. */
static void serve_launch(const struct cbp_launch *launch, const int *fds)
{
    struct cbp_launch_ready ready;
    struct cbp_launch_go go = {.header = {.size = sizeof go, .type = CBP_MESSAGE_LAUNCH_GO}};
    struct cbp_launch_result result = {.header = {.size = sizeof result, .type = CBP_MESSAGE_LAUNCH_RESULT},
                                       .status = launch_status,
                                       .os_error = launch_errno,
                                       .process_id = 4242 + launch->rule_id,
                                       .start_time = 77};
    if (about.process_id != 0) {
        result.process_id = about.process_id;
        result.start_time = about.start_time;
    }
    reply_to(&launch->header, 0, 0);
    if (recv(fds[0], &ready, sizeof ready, 0) != sizeof ready ||
        cbpd_message_check(&ready, sizeof ready, CBP_MESSAGE_LAUNCH_READY) != 0)
        result.status = CBP_ERROR_BROKEN_PIPE;
    else if (send(fds[0], &go, sizeof go, MSG_NOSIGNAL) != sizeof go)
        broken("the launcher left before it was told to go");
    if (result.status == 0 && result.os_error == 0 && launch->rule_id != 0)
        fake_rules_launch(launch->session_id, launch->rule_id);
    cbp_store_u32(&channel->supervised_count, fake_rules_count());
    if (result.status != CBP_ERROR_NOT_READY) /* this one stands for saying nothing at all */
        send(fds[1], &result, sizeof result, MSG_NOSIGNAL);
    close(fds[0]);
    close(fds[1]);
}

static void serve_session(const struct cbp_session_settings *message)
{
    settings[message->session_id] = *message;
    reply_to(&message->header, 0, 0);
}

static void close_session(const struct cbp_session_close *message)
{
    expire(message->session_id, 1);
    fake_rules_close(message->session_id);
    cbp_store_u32(&channel->supervised_count, fake_rules_count());
    reply_to(&message->header, 0, 0);
}

static void serve_query(const struct cbp_process_query *query)
{
    uint32_t is_supervised = query->process_id < 1000;
    reply_to(&query->header, is_supervised ? 0 : CBP_ERROR_NOT_FOUND,
             is_supervised ? 16 * query->process_id : 0);
}

static void serve_request(void *bytes, size_t size, const int *fds)
{
    const struct cbp_message_header *header = bytes;
    if (size < sizeof *header || cbpd_message_check(bytes, size, header->type) != 0)
        broken("a malformed request");
    switch (header->type) {
    case CBP_MESSAGE_HELLO:
        cbp_store_u32(&channel->driver_process_id, (uint32_t) getpid());
        reply_to(header, 0, CBP_CAP_LAUNCH);
        break;
    case CBP_MESSAGE_SESSION:
        serve_session(bytes);
        break;
    case CBP_MESSAGE_SESSION_CLOSE:
        close_session(bytes);
        break;
    case CBP_MESSAGE_RULES:
        take_rules(bytes, fds[0]);
        break;
    case CBP_MESSAGE_LAUNCH_FORGET:
        forget_launch(bytes);
        break;
    case CBP_MESSAGE_LAUNCH:
        serve_launch(bytes, fds);
        break;
    case CBP_MESSAGE_PROCESS_QUERY:
        serve_query(bytes);
        break;
    default:
        broken("an unexpected request");
    }
}

/* Receives one request with the descriptors that came along; 0 at the end. */
static ssize_t receive(void *buffer, size_t size, int *fds)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(2 * sizeof(int))];
    } ancillary;
    struct iovec vector = {buffer, size};
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &ancillary, .msg_controllen = sizeof ancillary};
    ssize_t got = recvmsg(CONTROL_FD, &message, MSG_CMSG_CLOEXEC);
    struct cmsghdr *found = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (found)
        memcpy(fds, CMSG_DATA(found), found->cmsg_len - CMSG_LEN(0));
    return got;
}

static void check_descriptors(void)
{
    struct stat status;
    int seals = fcntl(CHANNEL_FD, F_GET_SEALS);
    int wanted = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    struct pollfd controller = {.fd = CONTROLLER_FD, .events = POLLIN};
    if (fstat(CHANNEL_FD, &status) != 0 || (uint64_t) status.st_size != CBP_CHANNEL_SIZE)
        broken("the channel has the wrong size");
    if ((seals & wanted) != wanted)
        broken("the channel is not sealed");
    if (poll(&controller, 1, 0) != 0)
        broken("descriptor 5 is not a living process");
    for (int fd = 6; fd < 256; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            broken("an inherited descriptor too many");
    sigset_t mask;
    sigprocmask(SIG_SETMASK, NULL, &mask);
    for (int number = 1; number < 32; number++)
        if (sigismember(&mask, number) == 1)
            broken("a blocked signal was inherited");
}

int main(void)
{
    static _Alignas(8) unsigned char request[1024];
    check_descriptors();
    void *memory = mmap(NULL, CBP_CHANNEL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, CHANNEL_FD, 0);
    if (memory == MAP_FAILED)
        broken("cannot map the channel");
    channel = memory;
    if (channel->magic != CBP_PROTOCOL_MAGIC || channel->version != CBP_PROTOCOL_VERSION ||
        channel->size != CBP_CHANNEL_SIZE)
        broken("the channel's beginning is wrong");
    for (;;) {
        struct pollfd control = {.fd = CONTROL_FD, .events = POLLIN};
        if (poll(&control, 1, 1) > 0) {
            int fds[2] = {-1, -1};
            ssize_t got = receive(request, sizeof request, fds);
            if (got <= 0)
                return 0;
            serve_request(request, (size_t) got, fds);
        }
        collect_answers();
        expire(0, 0);
    }
}
