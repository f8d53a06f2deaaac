import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { RateLimitedLog } from '../../../src/log/rate.js';
import type { ConnectionEvents } from '../../../src/net/connection.js';
import { Connections } from '../../../src/sinks/relay/connections.js';
import { startPoint } from '../../../src/sinks/relay/continuation.js';
import { Feed } from '../../../src/sinks/relay/feed.js';
import { OwnIdentity } from '../../../src/sinks/relay/identity.js';
import { Lane } from '../../../src/sinks/relay/lane.js';
import type { LogRecord } from '../../../src/sinks/relay/log.js';
import { decodeHeader, encodeFrame } from '../../../src/wire/header.js';
import { HEADER_BYTES } from '../../../src/wire/layout.js';
import { type FakeBehaviour, FakeUpstream, MemoryLog } from './upstream.js';

const KEY = Buffer.from('key');
const TYPE = 3;
const DEADLINE_MS = 20_000;
const WINDOW = 2_000;

const uuidOf = (number: number) =>
  `5e2f8b7d-0a13-4b7a-9c41-${number.toString(16).padStart(12, '0')}`;

function sessionOf(number: number) {
  return { id: `session-${number}`, sensor: uuidOf(number), type: TYPE, openedAt: new Date(0) };
}

/** A whole relay but for its spool and its sockets. */
class Rig {
  readonly log = new MemoryLog();
  readonly lanes = new Map<string, Lane>();
  readonly finished = new Set<string>();
  /** What arrived, by sensor, one entry a connection. */
  readonly received = new Map<string, Buffer[]>();
  readonly connections: Connections;
  readonly feed: Feed;
  connectedMax = 0;
  /** What the next connection does. */
  behave: (lane: Lane) => FakeBehaviour = () => ({});
  #connecting: Lane | undefined;
  #ticks = 0;
  readonly #tick = () => ++this.#ticks;

  constructor(maxConnections = 1000) {
    const silent = pino({ level: 'silent' });
    const now = () => performance.now() + 1;
    this.connections = new Connections({
      target: 'tcp://partner:1',
      maxConnections,
      idleCloseMs: 0,
      connect: (events) => this.#connect(events),
      claim: (lane) => {
        this.#connecting = lane;
        return true;
      },
      release: () => {},
      log: silent,
      limitedLog: new RateLimitedLog(silent),
      now,
      retryMsMin: 1,
      retryMsMax: 5,
    });
    this.feed = new Feed(
      {
        log: this.log,
        lanes: () => this.lanes.values(),
        passed: () => {},
        laneOf: (record) => this.#laneOf(record),
        isReachable: () => this.connections.isReachable,
        now,
        tick: this.#tick,
      },
      0,
    );
  }

  /** Releases what nobody needs any more, as the sink does. */
  release(): void {
    let seq = this.feed.nextSeq;
    for (const lane of this.lanes.values()) seq = Math.min(seq, lane.neededSeq ?? seq);
    this.log.release(seq - 1);
  }

  async until(condition: () => boolean, what: string): Promise<void> {
    const deadline = Date.now() + DEADLINE_MS;
    while (!condition()) {
      if (Date.now() > deadline) throw new Error(`${what}: not within ${DEADLINE_MS} ms`);
      this.release();
      await sleep(1);
    }
    this.release();
  }

  async stop(): Promise<void> {
    this.connections.close();
    this.connections.destroy();
    await this.feed.stop();
  }

  #laneOf(record: LogRecord): Lane | undefined {
    const { id } = record.session;
    const known = this.lanes.get(id);
    if (known || this.finished.has(id)) return known;
    const lane = new Lane(
      {
        session: record.session,
        identity: new OwnIdentity(record.session.sensor, () => KEY),
        point: startPoint(record.seq),
        resendWindowBytes: WINDOW,
        asideSeq: -1,
        aside: () => [],
        now: () => performance.now() + 1,
        tick: this.#tick,
      },
      {
        changed: () => this.feed.changed(),
        parked: (parked) => this.feed.parked(parked),
        wants: (wanting) => this.connections.request(wanting),
        opened: (opened) => this.connections.opened(opened),
        closed: (closed, how) => this.connections.closed(closed, how),
        finished: (done) => {
          this.finished.add(done.session.id);
          this.lanes.delete(done.session.id);
          this.connections.forget(done);
        },
      },
    );
    lane.pass = this.feed.head;
    this.lanes.set(id, lane);
    return lane;
  }

  #connect(events: ConnectionEvents): FakeUpstream {
    const lane = this.#connecting!;
    const how = this.behave(lane);
    this.connectedMax = Math.max(this.connectedMax, this.connections.count);
    return new FakeUpstream(events, how, (bytes) => {
      const { sensor } = lane.session;
      this.received.set(sensor, [...(this.received.get(sensor) ?? []), bytes]);
    });
  }
}

/** Sessions of lines, their records mixed by chance; every session ends. */
function traffic(random: () => number, sessions: number, lines: number) {
  const sent = new Map<string, string[]>();
  const records: Omit<LogRecord, 'seq'>[] = [];
  const left = Array.from({ length: sessions }, (_, number) => ({ number, left: lines }));
  while (left.length > 0) {
    const one = left[Math.floor(random() * left.length)]!;
    const session = sessionOf(one.number);
    const own = sent.get(session.sensor);
    if (!own) {
      sent.set(session.sensor, []);
      records.push({ kind: 'open', session, data: Buffer.alloc(0) });
    } else if (one.left === 0) {
      records.push({ kind: 'end', session, data: Buffer.alloc(0) });
      left.splice(left.indexOf(one), 1);
    } else {
      one.left -= 1;
      const line = `line ${own.length} of ${one.number} ${'x'.repeat(Math.floor(random() * 400))}\n`;
      own.push(line);
      // Frames cut anywhere: a line's end is in the next.
      const all = own.join('');
      const before = all.length - line.length;
      const from = own.length === 1 ? 0 : before - 3;
      const to = one.left === 0 ? all.length : all.length - 3;
      const payload = Buffer.from(all.slice(from, to));
      const data = encodeFrame({
        type: TYPE,
        uuid: session.sensor,
        timestamp: 1,
        key: KEY,
        payload,
      });
      records.push({ kind: 'frame', session, data });
    }
  }
  return { sent, records };
}

/** Whole lines of each connection's frames. */
function linesOf(wire: Buffer): string[] {
  const payloads: Buffer[] = [];
  for (let at = 0; at + HEADER_BYTES <= wire.length; ) {
    const end = at + HEADER_BYTES + decodeHeader(wire, at).size;
    if (end > wire.length) break;
    payloads.push(wire.subarray(at + HEADER_BYTES, end));
    at = end;
  }
  return Buffer.concat(payloads)
    .toString()
    .split(/(?<=\n)/)
    .filter((line) => line.endsWith('\n'));
}

function checkReceived(rig: Rig, sent: Map<string, string[]>): void {
  for (const [sensor, lines] of sent) {
    let next = 0;
    for (const wire of rig.received.get(sensor) ?? []) {
      const got = linesOf(wire);
      if (got.length === 0) continue;
      const from = lines.indexOf(got[0]!);
      assert.ok(from >= 0 && from <= next, `${sensor}: goes on at ${from}, ${next} arrived`);
      assert.deepEqual(got, lines.slice(from, from + got.length));
      next = Math.max(next, from + got.length);
    }
    assert.equal(next, lines.length, `${sensor}: all lines arrived`);
  }
}

function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Appends in blocks of chance sizes, with the event loop between them. */
async function appendAll(rig: Rig, random: () => number, records: Omit<LogRecord, 'seq'>[]) {
  for (let at = 0; at < records.length; ) {
    const count = 1 + Math.floor(random() * 40);
    rig.log.append(records.slice(at, at + count));
    at += count;
    if (random() < 0.3) await sleep(1);
  }
}

describe('many streams of one log', () => {
  for (let round = 0; round < 8; round += 1) {
    const seed = Math.floor(Math.random() * 2 ** 32);
    it(`all arrive in order over connections that break (seed ${seed})`, async () => {
      const random = mulberry32(seed);
      const rig = new Rig(round % 2 === 0 ? 1000 : 3);
      const { sent, records } = traffic(random, 12, 150);
      let left = 60;
      rig.behave = () => {
        left -= 1;
        const chance = random();
        if (left < 0 || chance < 0.4) return {};
        if (chance < 0.5) return { refuses: true };
        // What is lost lies within the window, the frame that it cuts included.
        return { breaksAfter: random() * 60_000, loses: Math.floor(random() * WINDOW) };
      };
      await appendAll(rig, random, records);
      await rig.until(() => rig.finished.size === 12, 'every session is finished');
      checkReceived(rig, sent);
      assert.equal(rig.log.released, rig.log.nextSeq - 1, 'all is released');
      if (round % 2 === 1) assert.ok(rig.connectedMax <= 3, `${rig.connectedMax} connections`);
      await rig.stop();
    });
  }

  it('a stream that the server does not take holds up no other, and loses nothing', async () => {
    const random = mulberry32(1);
    const rig = new Rig();
    const { sent, records } = traffic(random, 6, 400);
    const [dead, stalled] = [uuidOf(0), uuidOf(1)];
    let isHealed = false;
    rig.behave = ({ session: { sensor } }) => {
      if (isHealed) return {};
      if (sensor === dead) return { breaksAfter: 0, loses: 1e9 };
      return sensor === stalled ? { stalls: true, loses: 1e9 } : {};
    };
    await appendAll(rig, random, records);
    await rig.until(() => rig.finished.size === 4, 'the others are finished');
    assert.ok(rig.log.released < rig.log.nextSeq - 1, 'what is not sent is kept');
    isHealed = true;
    for (const lane of rig.lanes.values()) lane.destroy(new Error('given up'));
    await rig.until(() => rig.finished.size === 6, 'and so are they');
    checkReceived(rig, sent);
    await rig.stop();
  });

  it('a server that is away: nothing is read ahead, and all goes on when it is back', async () => {
    const random = mulberry32(2);
    const rig = new Rig();
    const { sent, records } = traffic(random, 10, 60);
    let isAway = true;
    let attempts = 0;
    rig.behave = () => {
      if (isAway) attempts += 1;
      return isAway ? { refuses: true } : {};
    };
    await appendAll(rig, random, records);
    await rig.until(() => attempts > 10, 'it is tried again and again');
    assert.ok(rig.feed.headSeq < 20, `${rig.feed.headSeq} records were read`);
    assert.equal(rig.connections.isReachable, false);
    isAway = false;
    await rig.until(() => rig.finished.size === 10, 'every session is finished');
    checkReceived(rig, sent);
    assert.ok(rig.connections.counts.failed >= attempts);
    await rig.stop();
  });

  it('what is given up is counted, and each stream goes on at a line behind it', async () => {
    const random = mulberry32(4);
    const rig = new Rig();
    const { sent, records } = traffic(random, 8, 80);
    let isAway = false;
    let left = 8;
    rig.behave = () => {
      left -= 1;
      if (isAway) return { refuses: true };
      return left >= 0 ? { breaksAfter: 5_000 * random(), loses: 500 } : {};
    };
    const half = Math.floor(records.length / 2);
    await appendAll(rig, random, records.slice(0, half));
    await rig.until(() => rig.connections.counts.lost > 3, 'some have begun');
    isAway = true;
    for (const lane of rig.lanes.values()) lane.destroy(new Error('away'));
    await appendAll(rig, random, records.slice(half));
    await rig.until(() => !rig.connections.isReachable, 'it is away');
    const through = Math.floor(records.length * 0.7);
    rig.feed.drop(through);
    await rig.until(() => rig.log.released >= through, 'room is made');
    const skipped = [...rig.lanes.values()].reduce((sum, lane) => sum + lane.skipped.frames, 0);
    assert.ok(skipped > 0);
    isAway = false;
    await rig.until(() => rig.finished.size === 8, 'every session is finished');
    for (const [sensor, lines] of sent) {
      const wires = (rig.received.get(sensor) ?? []).filter((wire) => linesOf(wire).length > 0);
      for (const wire of wires) {
        const got = linesOf(wire);
        const from = lines.indexOf(got[0]!);
        assert.ok(from >= 0, `${sensor}: a session begins with a whole line`);
        assert.deepEqual(got, lines.slice(from, from + got.length));
      }
      // Behind what was given up nothing is missing.
      const rest = records.filter(
        ({ kind, session }, seq) => kind === 'frame' && session.sensor === sensor && seq > through,
      ).length;
      if (rest > 1) assert.equal(linesOf(wires.at(-1)!).at(-1), lines.at(-1));
      const last = wires.at(-1) ? linesOf(wires.at(-1)!).length : 0;
      assert.ok(last >= rest - 2, `${last} of ${rest} lines behind it`);
    }
    await rig.stop();
  });

  it('more streams than connections take turns', async () => {
    const random = mulberry32(3);
    const rig = new Rig(2);
    const { sent, records } = traffic(random, 5, 30);
    // None of them ends: each keeps what it has until others ask.
    await appendAll(
      rig,
      random,
      records.filter(({ kind }) => kind !== 'end'),
    );
    await rig.until(() => rig.received.size >= 3, 'others had their turn');
    rig.log.append(records.filter(({ kind }) => kind === 'end'));
    await rig.until(() => rig.finished.size === 5, 'every session is finished');
    checkReceived(rig, sent);
    assert.ok(rig.connectedMax <= 2);
    await rig.stop();
  });
});
