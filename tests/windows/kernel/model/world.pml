/* Is the world around the driver of pending.pml: controllers with threads, the system, and operations. */

/* A lean world has less that can be chosen, and room for more that happens at the same time. */
#ifdef LEAN
#define MAY_GIVE_UP
#else
#define MAY_GIVE_UP || true
#endif

bool is_over[OPERATIONS];

#define IS_SHUT(c) (!controller[c].has_handle || controller[c].is_killed)

/* A callback of the system. It asks or tells all sessions, with or without a deadline. */
proctype operation(byte o)
{
    LOCALS;
    byte slices, place;
    bool asks;
    byte deadline;
    atomic {
        if
        :: is_armed -> callbacks++
        :: !is_armed && controller[0].is_gone && controller[CONTROLLERS - 1].is_gone -> is_over[o] = true; goto end
        fi;
        if
        :: asks = true; deadline = SLICES
        :: asks = true; deadline = NEVER
#ifndef LEAN
        :: asks = false; deadline = NEVER
#endif
        fi
    }
    atomic { books == NONE -> books = _pid; pending[o].is_alive = true };
    do
    :: place < SESSIONS && session[place].is_known -> send(o * SESSIONS + place, asks, deadline); place++
    :: place < SESSIONS && !session[place].is_known -> place++
    :: else -> break
    od;
#ifndef FAULT_WAIT_WITH_BOOKS
    atomic { place = 0; RELEASE(books) };
    UNLOCK_BOOKS;
#endif
    if
    :: asks -> wait(o)
    :: !asks MAY_GIVE_UP /* nobody asked, or the driver gives up before it waits */
    fi;
#ifdef FAULT_WAIT_WITH_BOOKS
    atomic { place = 0; RELEASE(books) };
    UNLOCK_BOOKS;
#endif
    destroy(o);
    d_step { asks = false; deadline = 0; callbacks--; is_over[o] = true }
end:
    skip
}

/* A thread of a controller: opens the session, receives, and answers what it has received or not. */
proctype receiver(byte i)
{
    LOCALS;
    byte wanted = NONE, n = NONE, receives;
    if
    :: atomic { i < SESSIONS && !IS_SHUT(OWNER(i)) -> controller[OWNER(i)].requests++ };
        open(i);
        controller[OWNER(i)].requests--
    :: else
    fi;
    do
    :: receives == RECEIVES || IS_SHUT(OWNER(i)) -> break
    :: receives < RECEIVES && !IS_SHUT(OWNER(i)) ->
        receives++;
        atomic {
            if
            :: IS_SHUT(OWNER(i)) -> break
            :: else -> controller[OWNER(i)].requests++
            fi;
            irp[i].owner = DRIVERS;
            if
            :: irp[i].is_small = false
#ifndef LEAN
            :: irp[i].is_small = true
#endif
            fi
        }
        receive(i, wanted);
        d_step {
            irp[i].owner == DONE && !irp[i].is_pinned ->
            wanted = (irp[i].status == PART -> irp[i].n : NONE);
            n = (irp[i].status == WHOLE -> irp[i].n : NONE);
            irp[i].owner = IDLE;
            irp[i].status = 0;
            irp[i].n = 0;
            irp[i].is_cancelled = false;
            irp[i].is_small = false
        }
        if
        :: n != NONE -> answer(SESSION(i), n)
        :: true
        fi;
        n = NONE;
        controller[OWNER(i)].requests--
    od
}

/* The last thing that a process does, as far as the driver is told. A callback of the system, too. */
inline process_ended(c)
{
    if
    :: atomic { is_armed -> callbacks++ };
        forsake(c);
        d_step {
            assert(!message[c].is_listed && !message[LAST_MESSAGE(c)].is_listed);
            callbacks--
        }
    :: else
    fi
}

inline cancel_all(c)
{
    each = c;
    do
    :: each < IRPS -> cancel(each); each = each + CONTROLLERS
    :: else -> each = 0; break
    od
}

/* The last handle is closed; after that, the last request ends. */
inline close_handle(c)
{
    d_step { books == NONE -> controller[c].has_handle = false; controller[c].is_closing = true }
    close(c);
#ifdef FAULT_FREED_AT_CLEANUP
    controller[c].is_alive = false;
#endif
    d_step { controller[c].requests == 0 -> controller[c].is_alive = false; controller[c].is_gone = true }
}

/* Another thread of a controller: makes requests that may be wrong, and ends it all in one of many ways. */
proctype user(byte c)
{
    LOCALS;
    byte requests, each;
    do
    :: requests < REQUESTS ->
        requests++;
        if
        :: answer(c, 0)
        :: MESSAGES > 1 -> answer(c, MESSAGES - 1)
        :: move_deadline(c, 0, SLICES)
        :: move_deadline(c, 0, NEVER)
        :: cancel(c)
        :: session[c].age = 0 /* a heartbeat */
        fi
    :: break
    od;
    if
    :: close(c); close_handle(c)
    :: close_handle(c)
    :: controller[c].is_killed = true; cancel_all(c); process_ended(c); close_handle(c)
#ifndef LEAN
    :: controller[c].is_killed = true; process_ended(c); cancel_all(c); close_handle(c)
    :: session[c].is_known -> /* stuck, until all operations are over */
        is_over[0] && is_over[OPERATIONS - 1];
        close_handle(c)
#endif
    fi
}

/* The system unloads the driver when no handle is open. Nothing is left. */
proctype unload()
{
    byte n;
    atomic { controller[0].is_gone && controller[CONTROLLERS - 1].is_gone -> skip }
    assert(!is_armed && callbacks == 0);
    d_step {
        for (n : 0 .. MESSAGES - 1) {
            assert(!message[n].is_alive)
        }
        for (n : 0 .. OPERATIONS - 1) {
            assert(!pending[n].is_alive)
        }
        for (n : 0 .. IRPS - 1) {
            assert(irp[n].owner == IDLE)
        }
    }
    assert(expired == timed_out)
}

init
{
    byte n;
    atomic {
        for (n : 0 .. OPERATIONS - 1) {
            run operation(n)
        }
        for (n : 0 .. IRPS - 1) {
            run receiver(n)
        }
        for (n : 0 .. CONTROLLERS - 1) {
            run user(n)
        }
        run unload()
    }
}
