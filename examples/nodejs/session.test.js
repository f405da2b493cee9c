// Handlers that take their time: what waits goes on when their promise is settled, however that ends.
import assert from 'node:assert';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { constants } from './native.js';
import { LibraryError, Session, matches } from './session.js';

const GUID = '{4B1D43AF-51C5-4E79-8E36-0F0C6A0C9D11}';

async function withSession(handlers, body) {
    const session = new Session(GUID, handlers);
    try {
        session.config('EventsToFire', constants.PROC_EVT_PROCESS_CREATION);
        await session.start();
        return await body(session);
    } finally {
        await session.destroy();
    }
}

test('more operations wait than there are workers', async () => {
    const count = 20;
    let waiting = 0;
    let letGo;
    const gate = new Promise((resolve) => (letGo = resolve));
    const event = async ({ processName }) => {
        if (!processName.endsWith('/sleep')) return;
        if (++waiting === count) letGo();
        await gate;
    };
    await withSession({ event }, async (session) => {
        session.config('MinWorkerThreadCount', 1);
        session.config('MaxWorkerThreadCount', 2);
        const script = `for i in $(seq ${count}); do sleep 0 & done; wait`;
        const { ended } = await session.spawn('sh', '-c', script);
        assert.deepStrictEqual(await ended, [0, null]);
    });
    assert.strictEqual(waiting, count);
});

test('an answer that comes later refuses', async () => {
    const event = async (seen) => {
        await sleep(50);
        if (seen.processName.endsWith('/true')) seen.refuse(constants.ERROR_ACCESS_DENIED);
    };
    await withSession({ event }, async (session) => {
        await assert.rejects(session.spawn('/bin/true'), { code: 'EACCES' });
        const { ended } = await session.spawn('sh', '-c', '/bin/true; exit $?');
        assert.deepStrictEqual(await ended, [126, null]);
    });
});

test('a handler that throws lets its operation go and is told', async () => {
    const told = [];
    const event = async () => {
        throw new Error('on purpose');
    };
    await withSession({ event, error: (code, text) => told.push([code, text]) }, async (session) => {
        const { child, ended } = await session.spawn('true');
        assert.deepStrictEqual(await ended, [0, null]);
        assert.strictEqual(child.exitCode, 0);
    });
    assert.strictEqual(told.length, 1);
    assert.strictEqual(told[0][0], constants.ERROR_UNHANDLED_EXCEPTION);
    assert.match(told[0][1], /on purpose/);
});

test('arguments and names are those of the program', async () => {
    const seen = [];
    await withSession({ event: (item) => seen.push(item) }, async (session) => {
        const { ended } = await session.spawn('echo', '', 'two words', 'ä');
        await ended;
    });
    assert.deepStrictEqual(seen[0].arguments, ['echo', '', 'two words', 'ä']);
    assert.match(seen[0].processName, /\/echo$/);
});

test('errors', async () => {
    assert.throws(() => new Session('not a GUID', {}), LibraryError);
    assert.ok(matches('*.txt', 'a.txt') && !matches('*.txt', 'a.c'));
    await withSession({ event: () => {} }, async (session) => {
        await assert.rejects(session.start(), (failure) => failure.code === 1230);
        await assert.rejects(session.spawn('there-is-no-such-program'), { code: 'ENOENT' });
        assert.throws(() => session.config('NoSuchSetting', 1), { code: 87 });
    });
});

test('an end by a signal', async () => {
    await withSession({ event: () => {} }, async (session) => {
        const { ended } = await session.spawn('sh', '-c', 'kill -TERM $$');
        assert.deepStrictEqual(await ended, [null, 'SIGTERM']);
    });
});
