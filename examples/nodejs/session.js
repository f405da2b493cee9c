// A filter as an object: handlers are functions that may be async, a code that is not 0 is thrown as a LibraryError.
//
// The library calls back in worker threads; koffi runs such a call in JavaScript's only thread while the worker
// waits. The handler's answer may take longer than that call, so each operation that waits is deferred in it and
// completed when the handler's promise is. What makes the library wait for callbacks (start, stop, a launch) must
// not be called in JavaScript's thread either: koffi's async calls run elsewhere.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { getSystemErrorMap, promisify } from 'node:util';
import koffi from 'koffi';
import { cbp, constants, structures } from './native.js';

export class LibraryError extends Error {
    constructor(code, detail = '') {
        super(`${cbp.cbp_error_message(code)} ${detail} (error ${code})`);
        this.code = code;
    }
}

function check(code) {
    if (code !== 0) throw new LibraryError(code, cbp.cbp_error_detail());
}

// In another thread, whose cbp_error_detail() is out of reach.
async function checkLater(callable, ...values) {
    const code = await promisify(callable.async)(...values);
    if (code !== 0) throw new LibraryError(code);
}

// Whether a name rule with this pattern would match this name.
export function matches(pattern, name) {
    const [bytes, text] = [Buffer.from(pattern), Buffer.from(name)];
    const result = [0];
    check(cbp.cbp_pattern_match(bytes, bytes.length, text, text.length, result));
    return result[0] !== 0;
}

// A copy of an event, good for as long as anybody wants it.
export class Event {
    constructor(address) {
        Object.assign(this, koffi.decode(address, structures.event));
        const memory = Buffer.from(koffi.view(address, this.size));
        const text = (offset, size) => Buffer.from(memory.subarray(offset, offset + size));
        this.processName = text(this.process_name_offset, this.process_name_size).toString();
        const list = text(this.arguments_offset, this.arguments_size).toString();
        this.arguments = list === '' ? [] : list.slice(0, -1).split('\0');
    }

    get waits() {
        return (this.flags & constants.EVENT_FLAG_HELD) !== 0;
    }

    refuse(code) {
        this.result_code = code;
    }
}

export class Session {
    #raw;
    #handlers;
    #callbacks;

    // handlers.event(event) may be async: the operation waits for it. handlers.error(code, text) is told what
    // fails outside any call; a handler that throws is code 574, and its operation goes on.
    constructor(productGuid, handlers) {
        const made = [null];
        check(cbp.cbp_session_create(productGuid, made));
        this.#raw = made[0];
        this.#handlers = handlers;
        this.#callbacks = [
            koffi.register((address) => this.#receive(address), 'cbp_event_callback *'),
            koffi.register((context, code, text) => this.#tell(code, text), 'cbp_error_callback *'),
        ];
        const [event, error] = this.#callbacks;
        const size = koffi.sizeof(structures.callbacks);
        check(
            cbp.cbp_session_set_callbacks(this.#raw, {
                size,
                reserved: 0,
                context: 0,
                event,
                error,
                worker: null,
            }),
        );
    }

    config(name, value) {
        check(cbp.cbp_session_set_config(this.#raw, name, String(value)));
    }

    // timeout: how many milliseconds an operation waits for its handler; 0 (no limit) or at least 3000.
    async start(timeout = 0) {
        await checkLater(cbp.cbp_session_start, this.#raw, timeout);
    }

    async stop() {
        await checkLater(cbp.cbp_session_stop, this.#raw, 0);
    }

    // Stops it and frees it; nothing may be called on it afterwards.
    async destroy() {
        await checkLater(cbp.cbp_session_destroy, this.#raw);
        this.#callbacks.forEach((callback) => koffi.unregister(callback));
    }

    // Starts a program, looked up as execvp does, and filters it and its descendants. Gives the child process and
    // a promise of [exit status, signal]. Throws an Error with the errno's name as its code if the program could
    // not be executed or was refused.
    async spawn(program, ...words) {
        const paths = Buffer.from(candidatePaths(program).map((path) => `${path}\0`).join(''));
        const [fd, launch] = [[-1], [null]];
        check(cbp.cbp_launch_begin(this.#raw, program, paths, paths.length, 1, fd, launch));
        const stdio = ['inherit', 'inherit', 'inherit', fd[0]];
        // The launcher's own name tells it the descriptor that it inherits.
        const argv0 = `cbprocess-launch ${stdio.length - 1}`;
        const child = spawn(launcherPath(), words, { argv0, stdio });
        const ended = once(child, 'exit');
        ended.catch(() => {}); // told by the next lines, should the launcher not start
        const isStarted = child.pid !== undefined;
        const osError = [0];
        await checkLater(cbp.cbp_launch_finish, launch[0], Number(isStarted), 0, osError);
        if (osError[0] !== 0) throw systemError(osError[0], program);
        if (!isStarted) await ended;
        return { child, ended };
    }

    #receive(address) {
        try {
            const event = new Event(address);
            const ticket = event.waits ? this.#defer(address) : null;
            this.#handle(event, ticket);
        } catch (failure) {
            this.#tell(constants.ERROR_UNHANDLED_EXCEPTION, failure.stack);
        }
    }

    #defer(address) {
        const ticket = [0];
        check(cbp.cbp_handler_enter(this.#raw, address));
        try {
            check(cbp.cbp_event_defer(ticket));
        } finally {
            cbp.cbp_handler_leave();
        }
        return ticket[0];
    }

    async #handle(event, ticket) {
        let code = 0;
        try {
            await this.#handlers.event(event);
            code = event.result_code;
        } catch (failure) {
            this.#tell(constants.ERROR_UNHANDLED_EXCEPTION, failure.stack);
        }
        // An answer that comes too late changes nothing, and the library counts it.
        if (ticket !== null) cbp.cbp_event_complete(ticket, code, event.desired_access);
    }

    #tell(code, text) {
        this.#handlers.error?.(code, text);
    }
}

function candidatePaths(program) {
    if (program.includes('/')) return [program];
    const folders = (process.env.PATH ?? '/usr/local/bin:/usr/bin:/bin').split(':');
    return folders.map((folder) => `${folder || '.'}/${program}`);
}

function launcherPath() {
    const buffer = Buffer.alloc(4096);
    const needed = [0];
    check(cbp.cbp_launcher_path(buffer, buffer.length, needed));
    return buffer.toString('utf8', 0, Number(needed[0]) - 1);
}

function systemError(number, program) {
    const [code, text] = getSystemErrorMap().get(-number) ?? ['UNKNOWN', `errno ${number}`];
    return Object.assign(new Error(`${program}: ${text}`), { code, errno: -number });
}
