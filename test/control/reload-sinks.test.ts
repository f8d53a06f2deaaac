import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { basename, join } from 'node:path';
import { after, describe, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { parse, stringify } from 'yaml';
import { Gateway } from '../integration/gateway.js';
import {
  closed,
  ledgerOf,
  Sensor,
  sensorsOf,
  sharedSecret,
  until,
  untilLedger,
  uuidOf,
} from '../integration/peers.js';
import { relayOf, steady } from '../integration/relaying.js';
import { Controlled, type Json } from './api.js';

const STREAMS = 4;

/** A sensor that streams lines until it is told to end, and knows what it sent. */
class Stream {
  readonly sensor: Sensor;
  readonly #socket: Socket;
  readonly #timer: NodeJS.Timeout;
  readonly #hash = createHash('sha256');
  frames = 0;
  bytes = 0;
  isCut = false;

  static async begin(gateway: Gateway, number: number): Promise<Stream> {
    return new Stream(new Sensor(uuidOf(number)), await gateway.tls());
  }

  private constructor(sensor: Sensor, socket: Socket) {
    this.sensor = sensor;
    this.#socket = socket;
    socket.resume();
    socket.once('close', () => {
      this.isCut = true;
    });
    this.#timer = setInterval(() => this.#send(), 2);
    after(() => clearInterval(this.#timer));
  }

  #send(): void {
    if (this.#socket.writableNeedDrain) return;
    const text = `${'x'.repeat((this.frames * 37) % 900)} ${this.sensor.uuid} ${this.frames}`;
    // Cut within lines too: a file still ends with a whole one.
    const payload = `${text}${this.frames % 3 === 0 ? '' : '\n'}`;
    this.frames += 1;
    this.bytes += Buffer.byteLength(payload);
    this.#hash.update(payload);
    this.#socket.write(this.sensor.frame(payload));
  }

  /** Resolves once so many more frames were sent. */
  async more(frames: number): Promise<void> {
    const target = this.frames + frames;
    await until(() => this.frames >= target, 'frames are sent');
    assert.equal(this.isCut, false, 'its connection stays');
  }

  async end(): Promise<string> {
    assert.equal(this.isCut, false, 'its connection stays');
    clearInterval(this.#timer);
    this.#socket.end();
    await closed(this.#socket);
    return this.#hash.digest('hex');
  }
}

/** What is stored of a sensor below some directories, in the order of the files' names. */
function stored(dirs: readonly string[], { hex }: Sensor): { sha256: string; files: string[] } {
  const files = dirs.flatMap((dir) => {
    const root = join(dir, hex);
    if (!existsSync(root)) return [];
    const names = readdirSync(root, { recursive: true, withFileTypes: true });
    return names
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name));
  });
  files.sort((a, b) => orderOf(a).localeCompare(orderOf(b)));
  const hash = createHash('sha256');
  for (const file of files) {
    const bytes = readFileSync(file);
    hash.update(file.endsWith('.gz') ? gunzipSync(bytes) : bytes);
  }
  return { sha256: hash.digest('hex'), files };
}

/** Of `<uuid>-YYYY-MM-DD-HHMMSS[-N].<ext>`: the time, then the number. */
function orderOf(file: string): string {
  const [, time, number] = /-(\d{4}-\d\d-\d\d-\d{6})(?:-(\d+))?\./.exec(basename(file))!;
  return `${time}-${(number ?? '0').padStart(6, '0')}`;
}

function change(gateway: Gateway, edit: (config: Json) => void): void {
  const config = parse(readFileSync(gateway.configFile, 'utf8')) as Json;
  edit(config);
  writeFileSync(gateway.configFile, stringify(config));
}

async function reload(control: Controlled, edit: (config: Json) => void): Promise<string[]> {
  change(control.gateway, edit);
  return (await control.ok('POST', '/api/v1/reload')).changed;
}

async function stateOf(control: Controlled, sink: string): Promise<string | undefined> {
  const sinks = await control.ok('GET', '/api/v1/sinks');
  return sinks.find(({ name }: Json) => name === sink)?.state;
}

describe('sinks come, change and go while streams flow', { concurrency: false }, () => {
  test('files sinks: not a frame is lost, and each stored byte is as it was sent', async () => {
    const control = await Controlled.start(
      sharedSecret({
        sinks: {
          disk: { kind: 'files', dir: './data/sensors', flushMs: 20 },
          other: { kind: 'blackhole' },
        },
        routes: [{ match: {}, to: ['disk', 'other'] }],
      }),
    );
    const { gateway } = control;
    const begin = (from: number) =>
      Promise.all(
        Array.from({ length: STREAMS }, (_, index) => Stream.begin(gateway, from + index)),
      );
    const before = await begin(100);
    await before[0]!.more(50);

    const added = await reload(control, (config) => {
      config.sinks.more = { kind: 'files', dir: './data/more', flushMs: 20, rotateBytes: 65536 };
      config.routes = [{ match: {}, to: ['disk', 'more'] }];
    });
    assert.deepEqual(added.sort(), ['routes', 'sinks.more']);
    const during = await begin(200);
    await during[0]!.more(50);

    const changed = await reload(control, (config) => {
      const compress = 'gzip';
      Object.assign(config.sinks.disk, { dir: './data/moved', rotateSeconds: 1, compress });
    });
    assert.equal(changed.length, 3, `${changed}`);
    await Promise.all([...before, ...during].map((stream) => stream.more(300)));

    await reload(control, (config) => {
      delete config.sinks.more;
      config.routes = [{ match: {}, to: ['disk'] }];
    });
    const late = await begin(300);
    await Promise.all([...before, ...during, ...late].map((stream) => stream.more(200)));
    await until(async () => (await stateOf(control, 'more')) === 'leaving', 'it serves on');

    const dir = (name: string) => join(gateway.dir, 'data', name);
    const disk = [dir('sensors'), dir('moved')];
    const all: [streams: Stream[], sinks: string[]][] = [
      [before, ['disk', 'other']],
      [during, ['disk', 'more']],
      [late, ['disk']],
    ];
    for (const [streams, sinks] of all) {
      for (const stream of streams) {
        const sha256 = await stream.end();
        const { sensor, frames, bytes } = stream;
        const report = await untilLedger(
          gateway,
          (now) => sensorsOf(now, sensor.uuid)[0]?.ends.closed === 1,
          'it is counted',
        );
        const [own] = sensorsOf(report, sensor.uuid);
        assert.deepEqual(own!.received, { frames, bytes });
        const delivered = own!.sinks.map(({ sink, delivered }) => [sink, delivered]);
        const expected = sinks.map((sink) => [sink, { frames, bytes }]);
        assert.deepEqual(delivered.sort(), expected.sort());
        assert.equal(stored(disk, sensor).sha256, sha256, `disk, ${sinks}`);
        const more = stored([dir('more')], sensor);
        if (sinks.includes('more')) assert.equal(more.sha256, sha256, 'more');
        else assert.deepEqual(more.files, []);
      }
    }
    const { files } = stored(disk, before[0]!.sensor);
    assert.ok(files[0]!.startsWith(dir('sensors')) && !files[0]!.endsWith('.gz'), files[0]);
    assert.ok(files.at(-1)!.startsWith(dir('moved')) && files.at(-1)!.endsWith('.gz'));
    await until(async () => (await stateOf(control, 'more')) === undefined, 'it is gone');
    assert.equal((await ledgerOf(gateway)).balanced, true);
    // Its place is free again, under the same name and another kind.
    await reload(control, (config) => {
      config.sinks.more = { kind: 'blackhole' };
      config.routes = [{ match: {}, to: ['disk', 'more'] }];
    });
    const last = await Stream.begin(gateway, 400);
    await last.more(20);
    await last.end();
    const report = await untilLedger(
      gateway,
      (now) => sensorsOf(now, last.sensor.uuid)[0]?.ends.closed === 1,
      'it is counted',
    );
    const names = sensorsOf(report, last.sensor.uuid)[0]!.sinks.map(({ sink }) => sink);
    assert.deepEqual(names.sort(), ['disk', 'more']);
    assert.equal(report.balanced, true);
    assert.equal(await gateway.stop(), 0);
  });

  test('a relay: it sends elsewhere, and what is left in its spool is said when it goes', async () => {
    const receivers = [];
    for (let count = 0; count < 2; count += 1) {
      const { options, tcp } = await steady();
      receivers.push({ gateway: await Gateway.start(options), tcp });
    }
    const [first, second] = receivers as [(typeof receivers)[0], (typeof receivers)[0]];
    const control = await Controlled.start(
      sharedSecret({
        sinks: {
          disk: { kind: 'files', dir: './data/sensors', flushMs: 20 },
          partner: { kind: 'relay', to: `tcp://127.0.0.1:${first.tcp}` },
        },
        routes: [{ match: {}, to: ['disk', 'partner'] }],
      }),
    );
    const { gateway } = control;
    const stream = await Stream.begin(gateway, 500);
    const { uuid } = stream.sensor;
    const arrived = (at: Gateway) =>
      untilLedger(at, (now) => (sensorsOf(now, uuid)[0]?.received.frames ?? 0) > 50, 'it arrives');
    await arrived(first.gateway);
    const changed = await reload(control, (config) => {
      config.sinks.partner.to = `tcp://127.0.0.1:${second.tcp}`;
      config.sinks.partner.maxConnections = 7;
    });
    assert.deepEqual(changed.sort(), ['sinks.partner.maxConnections', 'sinks.partner.to']);
    await arrived(second.gateway);
    // Nothing of it was lost between the two: what the one has not, the other has.
    const linesAt = (at: Gateway) =>
      at
        .files()
        .filter((file) => file.includes(stream.sensor.hex))
        .flatMap((file) => at.read(file).toString().split('\n'))
        .flatMap((line) =>
          [...line.matchAll(/ \S{36} (\d+)/g)].map(([, number]) => Number(number)),
        );
    await second.gateway.stop();
    await stream.more(100);
    await reload(control, (config) => {
      delete config.sinks.partner;
      config.routes = [{ match: {}, to: ['disk'] }];
    });
    await stream.more(50);
    const sent = stream.frames;
    const sha256 = await stream.end();
    const said = () => gateway.logged('a sink that was removed is closed');
    const gone = () => said().some(({ msg }) => msg.includes('stays on disk'));
    await gateway.until(gone, 'the relay is closed, and what it left is said');
    await untilLedger(gateway, (now) => now.sessions.length === 0, 'all is counted');
    const report = await ledgerOf(gateway);
    assert.equal(report.balanced, true, JSON.stringify(report.imbalances));
    assert.equal(stored([gateway.sensorsDir], stream.sensor).sha256, sha256);
    const numbers = new Set([...linesAt(first.gateway), ...linesAt(second.gateway)]);
    const reached = Math.max(...numbers);
    assert.ok(reached > 50 && reached < sent);
    for (let number = 0; number <= reached; number += 1)
      assert.ok(numbers.has(number), `${number}`);
    // The same relay comes back, and finds what it left.
    await reload(control, (config) => {
      config.sinks.partner = { kind: 'relay', to: `tcp://127.0.0.1:${first.tcp}` };
    });
    await untilLedger(
      gateway,
      (now) => {
        const relay = relayOf(now);
        return relay !== undefined && relay.waiting.frames === 0 && relay.sent.frames > 0;
      },
      'what was left is sent',
    );
    assert.equal((await ledgerOf(gateway)).balanced, true);
    assert.equal(await gateway.stop(), 0);
    await first.gateway.stop();
  });
});
