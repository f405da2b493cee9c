#!/usr/bin/env node
// A complete monitor in JavaScript: starts a program under the filter, prints every process that it and its
// descendants create and end, and refuses the programs named with --deny.
//
//     node monitor.js [--deny PATTERN]... [--] PROGRAM [ARGUMENT]...
//
// The status is the program's own: its exit status, 128 + N after signal N, 126 or 127 if it could not be started,
// 125 if the monitor itself failed.
import { constants as system } from 'node:os';
import { constants } from './native.js';
import { LibraryError, Session, matches } from './session.js';

const { PROC_EVT_PROCESS_CREATION, PROC_EVT_PROCESS_TERMINATION, ERROR_ACCESS_DENIED } = constants;
const STATUS_FAILED = 125;
const STATUS_NOT_EXECUTABLE = 126;
const STATUS_NOT_FOUND = 127;

function parse(words) {
    const deny = [];
    while (words.length > 1 && words[0] === '--deny') deny.push(words.splice(0, 2)[1]);
    if (words[0] === '--') words.shift();
    else if (words[0]?.startsWith('-')) words = [];
    return { deny, command: words };
}

function describe(waitStatus) {
    const signal = waitStatus & 0x7f;
    return signal !== 0 ? `signal ${signal}` : `status ${(waitStatus >> 8) & 0xff}`;
}

function report(event, deny) {
    const { process_id: processId, processName: name } = event;
    if (event.type !== PROC_EVT_PROCESS_CREATION) {
        console.error(`ended    ${processId} ${name}: ${describe(event.exit_status)}`);
    } else if (deny.some((pattern) => matches(pattern, name))) {
        event.refuse(ERROR_ACCESS_DENIED);
        console.error(`refused  ${processId} ${name}`);
    } else {
        console.error(`created  ${processId} ${name} (by ${event.originator_process_id})`);
    }
}

async function run(deny, command) {
    const session = new Session('{E2B0B7B6-2C1A-4D58-9E0F-7C0B2B7A1D63}', {
        event: async (event) => report(event, deny),
        error: (code, text) => console.error(`monitor: error ${code}: ${text}`),
    });
    try {
        session.config('EventsToFire', PROC_EVT_PROCESS_CREATION | PROC_EVT_PROCESS_TERMINATION);
        await session.start();
        const { ended } = await session.spawn(...command);
        const [status, signal] = await ended;
        await session.stop();
        return signal ? 128 + system.signals[signal] : status;
    } finally {
        await session.destroy();
    }
}

const { deny, command } = parse(process.argv.slice(2));
if (command.length === 0) {
    console.error('usage: monitor [--deny PATTERN]... [--] PROGRAM [ARGUMENT]...');
    process.exitCode = STATUS_FAILED;
} else {
    try {
        process.exitCode = await run(deny, command);
    } catch (failure) {
        console.error(`monitor: ${failure.message}`);
        if (failure.code === 'ENOENT') process.exitCode = STATUS_NOT_FOUND;
        else process.exitCode = failure instanceof LibraryError ? STATUS_FAILED : STATUS_NOT_EXECUTABLE;
    }
}
