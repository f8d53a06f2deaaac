import assert from 'node:assert/strict';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { readClientDirectory } from '../../src/client/directory.js';
import { GatewayError } from '../../src/errors.js';
import { writeClientDirectory } from '../../src/registry/client-directory.js';

const SETTINGS = {
  uuid: '3a9f1c52-6d0e-4b7a-9c41-5e2f8b7d0a13',
  key: Buffer.from('private key to change'),
  type: 1,
  destination: 'stdout',
};

let dir: string;
let out: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'd4gw-client-dir-'));
  out = join(dir, 'out');
});

afterEach(() => rmSync(dir, { recursive: true }));

function contents(): Record<string, string> {
  const entries = readdirSync(out).map((name) => [name, readFileSync(join(out, name), 'latin1')]);
  return Object.fromEntries(entries);
}

const refusal = (message: RegExp) => (error: unknown) =>
  error instanceof GatewayError && error.code === 'D4GW_E_SENSOR' && message.test(error.message);

test('byte for byte what the C client reads, for its owner alone', () => {
  writeClientDirectory(out, SETTINGS);
  assert.deepEqual(contents(), {
    uuid: '3a9f1c52-6d0e-4b7a-9c41-5e2f8b7d0a13',
    key: 'private key to change\n',
    snaplen: '4096\n',
    version: '1\n',
    type: '1\n',
    source: 'stdin\n',
    destination: 'stdout\n',
  });
  assert.equal(statSync(out).mode & 0o777, 0o700);
  for (const name of readdirSync(out)) {
    assert.equal(statSync(join(out, name)).mode & 0o777, 0o600, name);
  }
});

test('our own client reads it as it was meant', () => {
  const metaHeader = Buffer.from('{"type":"ja3-jl",\n "encoding":"utf-8"}\n');
  const destination = 'd4.example.org:4443';
  writeClientDirectory(out, { ...SETTINGS, type: 254, destination, metaHeader });
  const read = readClientDirectory(out);
  assert.equal(read.uuid, SETTINGS.uuid);
  assert.deepEqual(read.key.export(), SETTINGS.key);
  assert.equal(read.type, 254);
  assert.equal(read.destination, destination);
  assert.equal(read.snaplenBytes, 4096);
  assert.deepEqual(read.metaHeader, metaHeader);
  assert.deepEqual(read.warnings, []);
});

test('an empty directory is taken and closed, any other left alone', () => {
  mkdirSync(out);
  chmodSync(out, 0o755);
  const undo = writeClientDirectory(out, SETTINGS);
  assert.equal(statSync(out).mode & 0o777, 0o700);
  const before = contents();
  assert.throws(() => writeClientDirectory(out, SETTINGS), refusal(/not empty/));
  assert.deepEqual(contents(), before);
  undo();
  assert.deepEqual(readdirSync(out), [], 'it was not ours to remove');
  const file = join(dir, 'file');
  writeFileSync(file, 'kept');
  assert.throws(() => writeClientDirectory(file, SETTINGS), refusal(/ENOTDIR/));
  assert.throws(() => writeClientDirectory(join(out, 'a', 'b'), SETTINGS), refusal(/ENOENT/));
  assert.equal(readFileSync(file, 'utf8'), 'kept');
});

test('undo leaves nothing behind', () => {
  writeClientDirectory(out, SETTINGS)();
  assert.deepEqual(readdirSync(dir), []);
});

test('keys that clients read differently are not written', () => {
  const keys: [Buffer, RegExp][] = [
    [Buffer.alloc(100, 'x'), /100 bytes/],
    [Buffer.from('a\0b'), /zero byte/],
    [Buffer.from('a\nb'), /line end/],
    [Buffer.from('carriage return\r'), /line end/],
    [Buffer.from(' blank'), /blanks/],
    [Buffer.from('blank\t'), /blanks/],
    [Buffer.from([0xff, 0xfe]), /UTF-8/],
  ];
  for (const [key, message] of keys) {
    assert.throws(() => writeClientDirectory(out, { ...SETTINGS, key }), refusal(message));
  }
  assert.deepEqual(readdirSync(dir), []);
  writeClientDirectory(out, { ...SETTINGS, key: Buffer.alloc(99, 'x') });
});
