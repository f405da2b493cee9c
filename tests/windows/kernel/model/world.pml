/* Is the world around the driver of pending.pml: controllers with threads, the system, and operations. */

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
        :: !is_armed && controller[0].is_gone && controller[SESSIONS - 1].is_gone -> goto end
        fi;
        if
        :: asks = true; deadline = SLICES
        :: asks = true; deadline = NEVER
        :: asks = false; deadline = NEVER
        fi
    }
    ACQUIRE(books);
    pending[o].is_alive = true;
    place = 0;
    do
    :: place < SESSIONS && session[place].is_known -> send(o * SESSIONS + place, asks, deadline); place++
    :: place < SESSIONS && !session[place].is_known -> place++
    :: else -> break
    od;
    place = 0;
#ifndef FAULT_WAIT_WITH_BOOKS
    RELEASE(books);
#endif
    if
    :: pending[o].unsettled > 0 || pending[o].is_set -> wait(o)
    :: else
    fi;
#ifdef FAULT_WAIT_WITH_BOOKS
    RELEASE(books);
#endif
    destroy(o);
    callbacks--;
end:
    is_over[o] = true
}

/* A thread of a controller: opens the session, receives, and answers what it has received or not. */
proctype receiver(byte i)
{
    LOCALS;
    byte wanted = NONE, receives;
    if
    :: atomic { i < SESSIONS && !IS_SHUT(CONTROLLER(i)) -> controller[CONTROLLER(i)].requests++ };
        open(CONTROLLER(i));
        controller[CONTROLLER(i)].requests--
    :: else
    fi;
    do
    :: receives == RECEIVES || IS_SHUT(CONTROLLER(i)) -> break
    :: receives < RECEIVES && !IS_SHUT(CONTROLLER(i)) ->
        receives++;
        atomic {
            if
            :: IS_SHUT(CONTROLLER(i)) -> break
            :: else -> controller[CONTROLLER(i)].requests++
            fi;
            irp[i].owner = DRIVERS;
            irp[i].is_cancelled = false;
            if
            :: irp[i].is_small = false
            :: irp[i].is_small = true
            fi
        }
        receive(i, wanted);
        atomic {
            irp[i].owner == DONE && !irp[i].is_pinned -> irp[i].owner = IDLE;
            wanted = (irp[i].status == PART -> irp[i].id : NONE)
        }
        if
        :: irp[i].status == WHOLE -> answer(CONTROLLER(i), irp[i].id)
        :: true
        fi;
        controller[CONTROLLER(i)].requests--
    od
}

/* The last thing that a process does, as far as the driver is told. A callback of the system, too. */
inline process_ended(c)
{
    if
    :: atomic { is_armed -> callbacks++ }
#ifdef FAULT_DISARMED_IN_CALLBACK
        ACQUIRE(arming);
#endif
#ifndef FAULT_DEATH_UNNOTICED
        close(c);
#endif
        assert(!message[c].is_listed && !message[MESSAGES - SESSIONS + c].is_listed);
#ifdef FAULT_DISARMED_IN_CALLBACK
        disarm();
        RELEASE(arming);
#endif
        callbacks--
    :: else
    fi
}

inline cancel_all(c)
{
    each = c;
    do
    :: each < IRPS -> cancel(each); each = each + SESSIONS
    :: else -> each = 0; break
    od
}

/* The system: the last handle is closed, then the last request ends. */
inline close_handle(c)
{
    controller[c].has_handle = false;
    ACQUIRE(arming);
    controller[c].is_cleaned = true;
    close(c);
    disarm();
    RELEASE(arming);
#ifdef FAULT_FREED_AT_CLEANUP
    controller[c].is_alive = false;
#endif
    controller[c].requests == 0;
    controller[c].is_alive = false;
    controller[c].is_gone = true
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
        :: session[c].age = 0
        fi
    :: break
    od;
    if
    :: ACQUIRE(arming); close(c); disarm(); RELEASE(arming); close_handle(c)
    :: close_handle(c)
    :: controller[c].is_killed = true; cancel_all(c); process_ended(c); close_handle(c)
    :: controller[c].is_killed = true; process_ended(c); cancel_all(c); close_handle(c)
    :: session[c].is_known -> /* stuck, until all operations are over */
        is_over[0] && is_over[OPERATIONS - 1];
        close_handle(c)
    fi
}

/* The system unloads the driver when no handle is open. Nothing is left. */
proctype unload()
{
    byte n;
    atomic { controller[0].is_gone && controller[SESSIONS - 1].is_gone -> skip }
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
        for (n : 0 .. SESSIONS - 1) {
            run user(n)
        }
        run unload()
    }
}
