import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { openRegistry } from '../../src/registry/lmdb.js';
import { decodeHeader, encodeFrame } from '../../src/wire/header.js';
import { recordedStreams, repository, sharedPath, skipWithoutShared } from '../support/shared.js';
import { tempDir } from '../support/tmp.js';

const PROGRAM = join(repository, 'dist', 'src', 'main.js');
const UUID = '3a9f1c52-6d0e-4b7a-9c41-5e2f8b7d0a13';
const KEY = 'private key to change';
const RUN_MS_MAX = 20_000;

const root = tempDir('decode');
const keyFile = join(root, 'key');
writeFileSync(keyFile, `${KEY}\n`, { mode: 0o600 });

function decode(args: string[], input?: Buffer) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [PROGRAM, 'decode', ...args], {
    input,
    maxBuffer: 64 * 1024 * 1024,
    timeout: RUN_MS_MAX,
  });
  const lines = () =>
    String(stdout)
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line));
  return { status, stdout, stderr: String(stderr), lines };
}

/** What every configuration must have, beside what a test says. */
const CONFIG = [
  'listen: [{ tcp: { host: 127.0.0.1, port: 4444 } }]',
  'sinks: { nowhere: { kind: blackhole } }',
  'routes: [{ to: [nowhere] }]',
  '',
].join('\n');

const frame = (text: string, fields: object = {}) =>
  encodeFrame({
    type: 3,
    uuid: UUID,
    timestamp: 1_795_348_281,
    key: Buffer.from(KEY),
    payload: Buffer.from(text),
    ...fields,
  });

const three = Buffer.concat([frame('one\n'), frame('two\n'), frame('')]);

describe('d4gw decode', () => {
  it('prints each header of a file or of standard input', () => {
    const file = join(root, 'three.d4');
    writeFileSync(file, three);
    const decoded = decode([file]);
    assert.equal(decoded.stderr, '');
    assert.equal(decoded.status, 0);
    const lines = decoded.lines();
    assert.deepEqual(lines[1], {
      offset: 66,
      version: 1,
      type: 3,
      typeName: 'log',
      uuid: UUID,
      timestamp: '2026-11-22T11:51:21Z',
      seconds: 1_795_348_281,
      hmac: decodeHeader(three, 66).hmac.toString('hex'),
      size: 4,
    });
    assert.equal(lines.length, 3);
    assert.deepEqual(decode([], three).lines(), lines);
    assert.deepEqual(decode(['-'], three).lines(), lines);
  });

  for (const { file, ...recorded } of recordedStreams()) {
    it(`reads ${file} as the manifest says`, { skip: skipWithoutShared() }, () => {
      const path = sharedPath('streams', file);
      const decoded = decode(['--summary', '--key-file', keyFile, path]);
      const [summary] = decoded.lines();
      const refused = /niluuid|version2/.exec(file);
      assert.equal(decoded.status, refused ? 1 : 0, decoded.stderr);
      if (refused) {
        assert.match(decoded.stderr, /^d4gw: .*: bad-(uuid|version): .* at offset 0\n$/);
        assert.equal(summary.frames, 0);
        return;
      }
      assert.equal(decoded.stderr, '');
      assert.equal(summary.frames, recorded.frames);
      assert.equal(summary.bytes, recorded.payload_bytes);
      assert.equal(summary.payloadSha256, recorded.payload_sha256);
      const types = Object.entries(recorded.per_type).map(([type, { frames, payload_bytes }]) => [
        type,
        { frames, bytes: payload_bytes },
      ]);
      assert.deepEqual(summary.types, Object.fromEntries(types));
      const hmac = { verified: recorded.frames, failed: 0, unknown: 0 };
      assert.deepEqual(summary.hmac, recorded.frames > 0 ? hmac : undefined);
    });
  }

  it('writes the payload alone, and of one type alone', { skip: skipWithoutShared() }, () => {
    const recorded = recordedStreams().find(
      ({ file }) => file === 'go-k1-t254-metasplit-snap50.d4',
    )!;
    const path = sharedPath('streams', recorded.file);
    const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
    assert.equal(sha256(decode(['--payload', path]).stdout), recorded.payload_sha256);
    const extended = decode(['--payload', '--type', '254', path]).stdout;
    assert.equal(sha256(extended), recorded.per_type['254']?.sha256);
  });

  it('keeps the payload of a frame that does not hold to itself, and exits 1', () => {
    const bad = frame('evil\n');
    bad[63]! ^= 1;
    const stream = Buffer.concat([frame('one\n'), bad, frame('two\n')]);
    const payload = decode(['--payload', '--key-file', keyFile], stream);
    assert.equal(String(payload.stdout), 'one\ntwo\n');
    assert.equal(payload.status, 1);
    assert.match(payload.stderr, /1 frames whose HMAC does not hold.* first at offset 66/);
    assert.doesNotMatch(payload.stderr, new RegExp(KEY));
    const lines = decode(['--key-file', keyFile], stream).lines();
    assert.deepEqual(
      lines.map(({ verified }) => verified),
      [true, false, true],
    );
    // Without a key nothing is known of the frames, and all are shown.
    assert.equal(decode(['--payload'], stream).status, 0);
  });

  it('tells where an input was cut, behind the frames before', () => {
    for (const [length, message] of [
      [67, /the stream ends 61 bytes before the end of a header at offset 66/],
      [130, /the stream ends 2 bytes before the end of a frame at offset 66/],
    ] as const) {
      const cut = decode([], three.subarray(0, length));
      assert.equal(cut.status, 1);
      assert.equal(cut.lines().length, 1);
      assert.match(cut.stderr, message);
    }
  });

  it('tells what is wrong with a header, and its fields', () => {
    const large = decode([], Buffer.concat([three, frame('', { type: 9 })]));
    assert.equal(large.lines().length, 3);
    assert.match(large.stderr, /bad-type: .*type 9.* at offset 194/);
    const limited = decode(['--max-payload', '3'], three);
    assert.match(limited.stderr, /too-large: .*size 4.* at offset 0/);
    assert.equal(decode([], Buffer.from('GET / HTTP/1.1\r\n\r\n'.repeat(9))).status, 1);
  });

  it('prints times that no calendar reaches, exactly', () => {
    const [line] = decode([], frame('', { timestamp: (1n << 64n) - 1n })).lines();
    assert.equal(line.timestamp, null);
    assert.equal(line.seconds, '18446744073709551615');
  });

  it('verifies with the keys of a registry: the current, and the one before', async () => {
    const dataDir = mkdtempSync(join(root, 'data-'));
    const registry = openRegistry(dataDir);
    await registry.add({ uuid: UUID, key: Buffer.from(KEY), state: 'approved' });
    await registry.rotateKey(UUID, Buffer.from('another'), 60);
    await registry.close();
    const stream = Buffer.concat([
      frame('old'),
      frame('new', { key: Buffer.from('another') }),
      frame('bad', { key: Buffer.from('x') }),
      frame('who', { uuid: '8c5e27d4-1f3b-4e90-a6d2-7b94c03e5f61' }),
    ]);
    const decoded = decode(['--data-dir', dataDir], stream);
    assert.deepEqual(
      decoded.lines().map(({ verified }) => verified),
      [true, true, false, null],
    );
    assert.equal(decoded.status, 1);
    assert.match(decoded.stderr, /1 frames whose HMAC does not hold, 1 of sensors without a key/);

    const config = join(root, 'registry.yaml');
    writeFileSync(config, `dataDir: ${dataDir}\n${CONFIG}`);
    assert.deepEqual(decode(['--config', config], stream).lines(), decoded.lines());
    assert.equal(decode(['--data-dir', join(root, 'nowhere')], stream).status, 1);
  });

  it('verifies with a shared secret, where no registry need be', () => {
    const config = join(root, 'shared.yaml');
    const admission = `{ mode: shared-secret, sharedSecretFile: ${keyFile} }`;
    writeFileSync(config, `dataDir: ${root}/empty\nadmission: ${admission}\n${CONFIG}`);
    const decoded = decode(['--config', config], three);
    assert.equal(decoded.status, 0, decoded.stderr);
    assert.ok(decoded.lines().every(({ verified }) => verified === true));
  });

  it('refuses options that contradict, and a file that is not there', () => {
    assert.equal(decode(['--payload', '--summary'], three).status, 2);
    assert.equal(decode(['--key-file', keyFile, '--data-dir', root], three).status, 2);
    assert.equal(decode(['--max-payload', 'x'], three).status, 2);
    assert.equal(decode(['--key-file', join(root, 'none')], three).status, 2);
    const missing = decode([join(root, 'none.d4')]);
    assert.equal(missing.status, 1);
    assert.match(missing.stderr, /^d4gw: .*none\.d4: ENOENT.*\n$/);
  });

  it('ends quietly when the reader of its output has enough', async () => {
    const child = spawn(process.execPath, [PROGRAM, 'decode'], { stdio: 'pipe' });
    after(() => child.kill('SIGKILL'));
    child.stdin.on('error', () => {}); // it ended before it read all
    child.stdin.end(Buffer.concat(Array.from({ length: 20_000 }, () => three)));
    let stderr = '';
    child.stderr.on('data', (text) => {
      stderr += text;
    });
    await once(child.stdout, 'data');
    child.stdout.destroy();
    const [code] = await once(child, 'close');
    assert.deepEqual([code, stderr], [0, '']);
  });
});
