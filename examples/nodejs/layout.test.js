// The declarations of native.js are those that the loaded library was built with.
import assert from 'node:assert';
import { test } from 'node:test';
import koffi from 'koffi';
import { cbp, constants, structures } from './native.js';

function rows() {
    const count = [0];
    const address = cbp.cbp_abi_rows(count);
    return koffi.decode(address, structures.abi_row, count[0]);
}

test('structures', () => {
    const all = rows();
    for (const [name, type] of Object.entries(structures)) {
        const size = all.find((row) => row.kind === 'struct' && row.name === name)?.size;
        assert.strictEqual(koffi.sizeof(type), size, name);
        const fields = all.filter((row) => row.kind === 'field' && row.owner === name);
        const declared = Object.keys(koffi.type(type).members);
        assert.deepStrictEqual(declared, fields.map((row) => row.name), name);
        for (const { name: field, offset } of fields)
            assert.strictEqual(koffi.offsetof(type, field), offset, `${name}.${field}`);
    }
});

test('constants', () => {
    const all = rows();
    for (const [name, value] of Object.entries(constants)) {
        const row = all.find((item) => item.kind === 'const' && item.name === name);
        assert.strictEqual(value, row?.offset, name);
    }
});
