import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openFilesWarning } from '../../src/config/open-files.js';
import type { Config } from '../../src/config/schema.js';

const limitsText = (soft: string) =>
  'Limit                     Soft Limit           Hard Limit           Units\n' +
  'Max processes             7                    7                    processes\n' +
  `Max open files            ${soft.padEnd(20)} 1048576              files\n`;

const config = (maxConnections: number, kinds: string[]) =>
  ({
    limits: { maxConnections },
    sinks: Object.fromEntries(kinds.map((kind, index) => [`s${index}`, { kind }])),
  }) as unknown as Config;

test('each connection needs a descriptor, and one for each file that it is stored in', () => {
  assert.equal(openFilesWarning(config(1_000, ['blackhole']), limitsText('1256')), undefined);
  assert.match(openFilesWarning(config(1_000, ['blackhole']), limitsText('1255'))!, /1256.*1255/);
  const two = config(1_000, ['files', 'files']);
  assert.equal(openFilesWarning(two, limitsText('3256')), undefined);
  assert.match(openFilesWarning(two, limitsText('3255'))!, /LimitNOFILE/);
});

test('where the limit is not known nothing is said; where it is, it is this process’s', () => {
  assert.equal(openFilesWarning(config(1_000, []), ''), undefined);
  assert.equal(openFilesWarning(config(1_000, []), limitsText('unlimited')), undefined);
  assert.match(openFilesWarning(config(2 ** 40, []))!, /open files/);
});
