import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import type { AddressInfo, Socket } from 'node:net';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { createServer } from 'node:tls';
import { selfSigned } from '../../src/config/self-signed.js';
import { type Frame, FrameReader } from '../../src/wire/frame-reader.js';
import { encodeFrame, verifyFrame } from '../../src/wire/header.js';
import { Running } from '../support/process.js';
import { d4gw, startD4gw } from '../support/program.js';
import {
  type RecordedStream,
  recordedStreams,
  repository,
  sharedPath,
  skipWithoutShared,
} from '../support/shared.js';
import { tempDir } from '../support/tmp.js';

const PROGRAM = join(repository, 'dist', 'src', 'main.js');
const UUID = '3a9f1c52-6d0e-4b7a-9c41-5e2f8b7d0a13';
const KEY = 'private key to change';
const ENDPOINT_MS_MAX = 20_000;

const root = tempDir('cli-client');

function configure(files: Record<string, string | Buffer> = {}): string {
  const dir = mkdtempSync(join(root, 'dir-'));
  const all = { uuid: UUID, key: `${KEY}\n`, snaplen: '4096', version: '1', type: '3', ...files };
  for (const [name, content] of Object.entries(all)) {
    writeFileSync(join(dir, name), content, { mode: 0o600 });
  }
  return dir;
}

function framesOf(bytes: Buffer): Frame[] {
  const reader = new FrameReader({ maxPayloadBytes: 1_000_000 });
  const frames = [...reader.push(bytes)];
  reader.end();
  return frames;
}

/** Runs the program with bytes on its input and output, as a pipe or a file would have them. */
function send(dir: string, input: Buffer, ...args: string[]) {
  const options = { input, maxBuffer: 64 * 1024 * 1024, timeout: ENDPOINT_MS_MAX };
  return spawnSync(process.execPath, [PROGRAM, 'client', '-c', dir, ...args], options);
}

/** Recorded with reads as large as the snaplen, so that ours can be the same. */
function isOfFullReads({ file }: RecordedStream): boolean {
  return !/live|killed|niluuid|version2|snap0|nometa|reconnect|socat/.test(file);
}

/** The snaplen that a stream was recorded with. */
function snaplenOf({ file }: RecordedStream): number {
  return Number(/snap(\d+)/.exec(file)?.[1] ?? 4096);
}

describe('d4gw client', () => {
  for (const recorded of recordedStreams().filter(isOfFullReads)) {
    it(`makes the frames of ${recorded.file}, but for their time`, {
      skip: skipWithoutShared(),
    }, () => {
      const frames = framesOf(readFileSync(sharedPath('streams', recorded.file)));
      const meta = frames.filter(({ header }) => header.type === 2);
      const data = frames.filter(({ header }) => header.type !== 2);
      const dir = configure({
        uuid: recorded.uuid,
        key: `${recorded.key}\n`,
        snaplen: String(snaplenOf(recorded)),
        type: String(recorded.type),
        ...(meta.length > 0
          ? { 'metaheader.json': Buffer.concat(meta.map(({ payload }) => payload)) }
          : {}),
      });
      const sent = send(dir, Buffer.concat(data.map(({ payload }) => payload)));
      assert.equal(sent.status, 0, String(sent.stderr));
      assert.equal(String(sent.stderr), '');
      const ours = framesOf(sent.stdout);
      // goclient ends without the empty frame that the C client sends, and that we send.
      if (recorded.client === 'd4-goclient') assert.equal(ours.pop()?.payload.length, 0);
      assert.equal(ours.length, frames.length);
      const key = Buffer.from(recorded.key);
      for (const [index, { header, payload, bytes }] of ours.entries()) {
        assert.ok(verifyFrame(bytes, payload, key));
        assert.ok(Math.abs(Number(header.timestamp) - Date.now() / 1000) < 60);
        const { timestamp } = frames[index]!.header;
        const at = encodeFrame({ ...header, payload, key, timestamp });
        assert.ok(at.equals(frames[index]!.bytes), `frame ${index}`);
      }
    });
  }

  it('joins the reads of a pipe, and sends what a pipe holds within a moment', async () => {
    const running = startD4gw(['client', '-c', configure()], { input: 'pipe' });
    running.child.stdin?.write('first ');
    running.child.stdin?.write('line\n');
    await running.waitFor('first line\n');
    running.child.stdin?.end('last');
    assert.deepEqual(await running.exit(), { code: 0, signal: null });
    assert.match(running.stdout, /last/);
  });

  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    it(`sends what was read on ${signal}, and ends well`, async () => {
      const dir = configure();
      const child = spawn(process.execPath, [PROGRAM, 'client', '-c', dir], { stdio: 'pipe' });
      after(() => child.kill('SIGKILL'));
      const parts: Buffer[] = [];
      child.stdout.on('data', (part: Buffer) => parts.push(part));
      child.stdin.write('a'.repeat(5_000));
      await once(child.stdout, 'data');
      child.kill(signal);
      const [code] = await once(child, 'close');
      assert.equal(code, 0);
      const frames = framesOf(Buffer.concat(parts));
      assert.deepEqual(
        frames.map(({ payload }) => payload.length),
        [4096, 904, 0],
      );
    });
  }

  it('ends without a stack when the reader of its output has ended', async () => {
    const child = spawn(process.execPath, [PROGRAM, 'client', '-c', configure()], {
      stdio: 'pipe',
    });
    after(() => child.kill('SIGKILL'));
    child.stdin.on('error', () => {}); // it ended before it read all
    let stderr = '';
    child.stderr.on('data', (text) => {
      stderr += text;
    });
    child.stdout.destroy();
    child.stdin.write(Buffer.alloc(1_000_000));
    const [code, signal] = await once(child, 'exit');
    assert.ok(code !== null && signal === null);
    assert.doesNotMatch(stderr, /\bat .*:\d+/);
  });

  it('streams by TLS, trusting the certificate it is given', async () => {
    const pair = await selfSigned();
    const ca = join(root, 'ca.pem');
    writeFileSync(ca, pair.cert);
    const parts: Buffer[] = [];
    const server = createServer(pair, (socket: Socket) => {
      socket.on('data', (part: Buffer) => parts.push(part)).on('error', () => {});
    });
    after(() => server.close());
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const to = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    const dir = configure({ destination: to });
    const input = join(root, 'input');
    const text = 'a line of it\n'.repeat(10_000);
    writeFileSync(input, text);

    const trusted = await d4gw(['client', '-c', dir, '--ca', ca, '--input', input]);
    assert.deepEqual([trusted.code, trusted.stderr], [0, '']);
    const all = framesOf(Buffer.concat(parts)).map(({ payload }) => payload);
    assert.equal(Buffer.concat(all).toString(), text);

    const untrusted = await d4gw(['client', '-c', dir, '--input', input]);
    assert.equal(untrusted.code, 1);
    assert.match(untrusted.stderr, /^d4gw: tls:\/\/127\.0\.0\.1:\d+: .*--ca cert\.pem.*\n$/);
    assert.doesNotMatch(untrusted.stderr, new RegExp(KEY));

    parts.length = 0;
    const insecure = await d4gw(['client', '-c', dir, '--insecure', '--input', input]);
    assert.equal(insecure.code, 0);
    assert.match(insecure.stderr, /--insecure: anyone/);
    assert.ok(framesOf(Buffer.concat(parts)).length > 1);
  });

  it('tries again until it is told to stop', async () => {
    const running = startD4gw(['client', '-c', configure(), '--to', 'tcp://127.0.0.1:1'], {
      input: 'pipe',
    });
    await running.waitFor(/no connection to tcp:.*ECONNREFUSED.*trying again/, {
      stream: 'stderr',
    });
    running.kill('SIGTERM');
    assert.deepEqual(await running.exit(), { code: 0, signal: null });
  });

  it('ends at once on a second signal', async () => {
    const running = new Running(
      process.execPath,
      [PROGRAM, 'client', '-c', configure(), '--to', 'tcp://127.0.0.1:1'],
      { input: 'unsent' },
    );
    after(() => running.stop());
    await running.waitFor(/trying again/, { stream: 'stderr' });
    running.kill('SIGINT');
    // The second may come before the first is seen, and then counts as one: ask until it ends.
    const again = setInterval(() => running.kill('SIGINT'), 20);
    const { signal } = await running.exit(5_000).finally(() => clearInterval(again));
    assert.equal(signal, 'SIGINT');
  });

  const refused: [string, number, RegExp, string[]][] = [
    ['an address that is none', 2, /"nowhere" is no address/, ['--to', 'nowhere']],
    ['TLS options without TLS', 2, /--ca: only for TLS/, ['--to', 'tcp://a:1', '--ca', 'x']],
    ['--insecure with --ca', 2, /contradicts --ca/, ['--to', 'a:1', '--ca', 'x', '--insecure']],
    ['half a client certificate', 2, /both --cert/, ['--to', 'a:1', '--cert', 'x']],
    [
      'an authority that is not there',
      1,
      /nothing\.pem: ENOENT/,
      ['--to', 'a:1', '--ca', 'nothing.pem'],
    ],
    ['an authority that is none', 1, /holds no PEM/, ['--to', 'a:1', '--ca', PROGRAM]],
    ['an input that is not there', 1, /nothing: ENOENT/, ['--input', '/nothing']],
    ['a type that is none', 2, /type: 9 is no type/, ['--type', '9']],
    ['a type without its meta header', 2, /metaheader\.json: is missing/, ['--type', '254']],
    ['a directory that is none', 2, /nowhere: is no directory/, ['-c', '/nowhere']],
  ];
  for (const [name, code, message, args] of refused) {
    it(`refuses ${name} with one line`, async () => {
      const { code: ended, stderr } = await d4gw(['client', '-c', configure(), ...args]);
      assert.equal(ended, code, stderr);
      assert.match(stderr, message);
      assert.match(stderr, /^d4gw: .*\n$/);
    });
  }
});
