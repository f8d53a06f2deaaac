import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import * as ring from '../../src/ring/layout.js';
import { SCRATCH_INNER, SCRATCH_INPUT } from '../../src/wasm/bindings.js';
import * as wire from '../../src/wire/layout.js';
import { Reject } from '../../src/wire/reject.js';
import * as types from '../../src/wire/types.js';
import { repository } from '../support/shared.js';

/** Every `export const NAME: type = number` of a module of assembly/. */
function constantsOf(file: string): Map<string, number> {
  const text = readFileSync(join(repository, 'assembly', file), 'utf8');
  const found = text.matchAll(/^export const (\w+): \w+ = (0x[0-9a-f]+|\d+);/gm);
  return new Map([...found].map(([, name, value]) => [name as string, Number(value)]));
}

const upperSnake = (name: string) => name.replace(/(?<=[a-z])(?=[A-Z])/g, '_').toUpperCase();

/** The numbers of the host's side: `OFFSET_SIZE` as it is, `Kind.FRAME` as `KIND_FRAME`. */
function hostNames(): Map<string, number> {
  const names = new Map<string, number>();
  for (const [name, value] of Object.entries({ ...wire, ...ring, ...types, Reject })) {
    if (typeof value === 'number') names.set(name, value);
    else if (typeof value === 'object' && !Array.isArray(value)) {
      for (const [key, entry] of Object.entries(value)) {
        if (typeof entry === 'number') names.set(`${upperSnake(name)}_${key}`, entry);
      }
    }
  }
  return names;
}

test('assembly/layout.ts has the numbers of src/wire and src/ring', () => {
  const host = hostNames();
  const module = constantsOf('layout.ts');
  for (const [name, value] of module) assert.equal(value, host.get(name), name);
});

test('assembly/layout.ts has every number that the module must agree on', () => {
  const module = constantsOf('layout.ts');
  const shared = [
    ...Object.keys(wire),
    ...[...hostNames().keys()].filter((name) =>
      /^(SCAN|DESCRIPTOR|SESSION|KEY|GUARD)_|^FRAME_STATUS_/.test(name),
    ),
    ...Object.entries(Reject)
      .filter(([, code]) => code < Reject.UNKNOWN_SENSOR || code === Reject.BAD_HMAC)
      .map(([name]) => `REJECT_${name}`),
  ];
  assert.ok(shared.length > 45);
  assert.deepEqual(
    shared.filter((name) => !module.has(name)),
    [],
  );
});

test('the host writes its input where the scratch leaves room for it', () => {
  assert.equal(constantsOf('instance.ts').get('SCRATCH_INNER'), SCRATCH_INNER);
  assert.equal(constantsOf('instance.ts').get('SCRATCH_INPUT'), SCRATCH_INPUT);
});
