/* Does what player.h says. */
#include "player.h"

#include "test.h"

enum { ROOM = 4096 };

static uint32_t draw(struct player *player, uint32_t limit)
{
    player->seed = player->seed * 1664525u + 1013904223u;
    return (player->seed >> 8) % limit;
}

/* Gives the next message, or NULL when the session has closed. */
static struct cbp_event_message *next(struct player *player)
{
    for (;;) {
        NTSTATUS status;
        struct shim_call *call = actor_receive(&player->actor, player->session_id, 0, ROOM);
        bool cancels = player->seed != 0 && draw(player, 8) == 0;
        bool was_pended = cancels && shim_call_cancel(call);
        CHECK(shim_call_wait(call, 10 * WAIT_MS));
        struct cbp_event_message *message = actor_taken(call, &status);
        if (message || (status == STATUS_CANCELLED && !was_pended))
            return message;
    }
}

static void answer(struct player *player, const struct cbp_event_message *message)
{
    uint64_t deadline;
    if (player->seed != 0 && draw(player, 16) == 0)
        (void) actor_deadline(&player->actor, message, true, 5000, &deadline);
    uint32_t error = actor_answer(&player->actor, message, player->result_code);
    player->asked_count++;
    player->answered_count += error == 0;
    player->late_count += error == CBP_ERROR_TIMEOUT;
    CHECK(error == 0 || error == CBP_ERROR_TIMEOUT || error == CBP_ERROR_NOT_FOUND);
}

static void *play(void *argument)
{
    struct player *player = argument;
    struct cbp_event_message *message;
    while ((message = next(player)) != NULL) {
        player->told_count += message->item_count;
        if ((message->item0.flags & CBP_EVENT_FLAG_HELD) != 0)
            answer(player, message);
        free(message);
    }
    return NULL;
}

void player_start(struct player *player, const struct actor *actor, uint32_t tid, uint32_t session_id,
                  uint32_t result_code)
{
    player->actor = *actor;
    player->actor.tid = tid;
    player->session_id = session_id;
    player->result_code = result_code;
    CHECK_EQ(pthread_create(&player->thread, NULL, play, player), 0);
}

void player_end(struct player *player)
{
    CHECK_EQ(pthread_join(player->thread, NULL), 0);
}
