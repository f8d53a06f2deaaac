import assert from 'node:assert/strict';
import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import type { EndEvent, OpenEvent } from '../../src/cluster/messages.js';
import { BuddyAllocator } from '../../src/ring/buddy.js';
import { RingConsumer } from '../../src/ring/consumer.js';
import {
  CONTROL_BASE,
  CONTROL_TYPES,
  Kind,
  mapMemory,
  SCRATCH_PRODUCER,
  SESSION_BYTES,
  SESSION_FRAMES,
  SESSION_PAYLOAD,
} from '../../src/ring/layout.js';
import { RingProducer } from '../../src/ring/producer.js';
import { inlineWakes } from '../../src/ring/wait.js';
import { RouteTable } from '../../src/route/table.js';
import { Intake } from '../../src/sources/intake.js';
import { Admission } from '../../src/verify/admission.js';
import { createMemory, instantiate, loadModule } from '../../src/wasm/loader.js';
import { HEADER_BYTES } from '../../src/wire/layout.js';
import { End, endName, Reject } from '../../src/wire/reject.js';
import { KNOWN_TYPES } from '../../src/wire/types.js';
import { formatUuid } from '../../src/wire/uuid.js';
import { frame, Random, seedOfRun, UUID } from '../assembly/harness.js';

const MAX_PAYLOAD = 200_000;
const SECOND_UUID = Buffer.from('8c5e27d41f3b4e90a6d27b94c03e5f61', 'hex');

interface Taken {
  open: OpenEvent | undefined;
  frames: Buffer[];
  end: (EndEvent & { code: string }) | undefined;
}

interface BenchOptions {
  ringBytes?: number;
  assemblyBytes?: number;
  descriptors?: number;
  idleTimeoutMs?: number;
  firstFrameTimeoutMs?: number;
  /** Descriptors that the consumer takes in one turn; 0: it stands still until `go`. */
  batch?: () => number;
}

/** An intake over a real ring and module, with a consumer that keeps a copy of all it takes. */
class Bench {
  readonly intake: Intake;
  readonly sessions = new Map<string, Taken>();
  readonly refused: string[] = [];
  readonly rejected: string[] = [];
  readonly known = new Set([formatUuid(UUID), formatUuid(SECOND_UUID)]);
  readonly #memory: Buffer;
  readonly #counts: DataView;
  readonly #sessionBase: number;
  readonly #consumer: RingConsumer;
  readonly #batch: () => number;
  readonly #slots = new Map<number, Taken>();
  #blocked = false;
  freed = 0;

  constructor(options: BenchOptions = {}) {
    const map = mapMemory({
      sessions: 64,
      descriptors: options.descriptors ?? 1024,
      ringBytes: options.ringBytes ?? 1 << 20,
      assemblyBytes: options.assemblyBytes ?? 1 << 22,
      poolBytes: 4096,
    });
    const memory = createMemory(map);
    this.#memory = Buffer.from(memory.buffer);
    this.#counts = new DataView(memory.buffer);
    this.#sessionBase = map.sessionBase;
    for (const type of KNOWN_TYPES) {
      this.#memory[CONTROL_BASE + CONTROL_TYPES + (type >> 3)]! |= 1 << (type & 7);
    }
    const wakes = inlineWakes();
    this.#consumer = new RingConsumer(memory, map, wakes.consumer);
    this.#batch = options.batch ?? (() => 1000);
    const blocks = new BuddyAllocator(map.arenaBase, map.assemblyBytes, 256, 1 << 18);
    const { module } = loadModule();
    this.intake = new Intake(
      {
        memory,
        map,
        producer: new RingProducer(memory, map, wakes.producer),
        bindings: instantiate(module, memory, SCRATCH_PRODUCER, map, MAX_PAYLOAD),
        blocks,
        admission: new Admission({
          sensor: (uuid) =>
            this.known.has(uuid)
              ? { state: 'approved', blocked: false, key: Buffer.from('key') }
              : undefined,
          addressBlocked: () => this.#blocked,
          groupsOf: () => [],
          bannedUntil: () => undefined,
        }),
        routes: new RouteTable(
          [
            { match: { sensors: [formatUuid(UUID)] }, to: ['a'] },
            { match: { sensors: [formatUuid(SECOND_UUID)] }, to: ['b'] },
          ],
          ['a', 'b'],
        ),
        idPrefix: 'test',
        firstFrameTimeoutMs: options.firstFrameTimeoutMs ?? 1000,
        idleTimeoutMs: options.idleTimeoutMs ?? 5000,
        timestampSkewSeconds: 0,
      },
      {
        refused: (code, _origin, detail) => this.refused.push(`${endName(code)} ${detail}`.trim()),
        rejected: (code) => this.rejected.push(endName(code)),
      },
    );
    this.#consumer.sleep(this.go);
  }

  connect(address = '127.0.0.1'): PassThrough {
    const socket = new PassThrough({ highWaterMark: 65_536 });
    this.intake.accept(socket, { connection: 1, source: 'tcp', address });
    return socket;
  }

  blockAddress(): void {
    this.#blocked = true;
    this.intake.recheck();
  }

  get only(): Taken {
    assert.equal(this.sessions.size, 1);
    return [...this.sessions.values()][0]!;
  }

  readonly go = () => {
    setImmediate(() => {
      const count = Math.min(this.#batch(), this.#consumer.available());
      for (let index = 0; index < count; index += 1) this.#take(this.#consumer.tail + index);
      this.#consumer.release(count);
      if (this.#consumer.available() > 0) this.go();
      else this.#consumer.sleep(this.go);
    });
  };

  #take(sequence: number): void {
    const consumer = this.#consumer;
    const seq = sequence >>> 0;
    const address = consumer.address(seq);
    const slot = consumer.session(seq);
    if (consumer.kind(seq) === Kind.FRAME) {
      const end = address + HEADER_BYTES + consumer.size(seq);
      this.#slots.get(slot)!.frames.push(Buffer.from(this.#memory.subarray(address, end)));
      return;
    }
    const text = this.#memory.toString('utf8', address, address + consumer.size(seq));
    if (consumer.kind(seq) === Kind.OPEN) {
      const open = JSON.parse(text) as OpenEvent;
      const taken: Taken = { open, frames: [], end: undefined };
      this.#slots.set(slot, taken);
      this.sessions.set(open.id, taken);
      return;
    }
    const taken = this.#slots.get(slot)!;
    taken.end = { ...(JSON.parse(text) as EndEvent), code: endName(consumer.status(seq)) };
    const at = this.#sessionBase + slot * SESSION_BYTES;
    const payload = taken.frames.reduce((sum, bytes) => sum + bytes.length - HEADER_BYTES, 0);
    assert.equal(this.#counts.getFloat64(at + SESSION_FRAMES, true), taken.frames.length);
    assert.equal(this.#counts.getFloat64(at + SESSION_PAYLOAD, true), payload);
    this.intake.free({ slot, generation: consumer.generation(seq) });
    this.freed += 1;
  }
}

/** Resolves when a condition holds that only events of the loop can bring about. */
async function until(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!condition()) {
    assert.ok(Date.now() < deadline, 'the condition was not met within 20 s');
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Writes bytes cut at the given places, each cut a read of its own. */
async function write(socket: PassThrough, bytes: Buffer, cuts: readonly number[]): Promise<void> {
  let from = 0;
  for (const to of [...cuts, bytes.length]) {
    if (to <= from) continue;
    const full = !socket.write(bytes.subarray(from, to));
    if (socket.destroyed) return;
    if (full) await Promise.race([once(socket, 'drain'), once(socket, 'close')]);
    await new Promise((resolve) => setImmediate(resolve));
    from = to;
  }
}

const concat = (taken: Taken) => Buffer.concat(taken.frames);

test('every cut of a small stream in two gives the same frames', async () => {
  const frames = [0, 1, 5].map((size) => frame({ payload: Buffer.alloc(size, 'x') }));
  const stream = Buffer.concat(frames);
  for (let cut = 0; cut <= stream.length; cut += 1) {
    const bench = new Bench();
    const socket = bench.connect();
    await write(socket, stream, [cut]);
    socket.end();
    await until(() => bench.freed === 1);
    assert.ok(concat(bench.only).equals(stream), `cut at ${cut}`);
    assert.deepEqual(bench.only.end, {
      code: 'closed',
      detail: '',
      truncatedBytes: 0,
      atHeader: false,
    });
  }
});

test('a stream cut off anywhere delivers its whole frames, and counts the rest', async () => {
  const frames = [0, 1, 70].map((size) => frame({ payload: Buffer.alloc(size, 'x') }));
  const stream = Buffer.concat(frames);
  const ends = [62, 62 + 63, 62 + 63 + 132];
  for (let cut = 0; cut < stream.length; cut += 1) {
    const bench = new Bench();
    const socket = bench.connect();
    await write(socket, stream.subarray(0, cut), [Math.floor(cut / 2)]);
    socket.end();
    const whole = ends.filter((end) => end <= cut).at(-1) ?? 0;
    await until(() => (cut < 62 ? bench.intake.connections === 0 : bench.freed === 1));
    if (cut < 62) {
      assert.deepEqual(bench.refused, cut === 0 ? [] : [`truncated ${cut} bytes`]);
      continue;
    }
    assert.equal(concat(bench.only).length, whole);
    assert.equal(bench.only.end?.truncatedBytes, cut - whole, `cut at ${cut}`);
  }
});

test('what a paused connection had read is kept when it is reset', async () => {
  let open = false;
  const bench = new Bench({ descriptors: 8, batch: () => (open ? 1000 : 0) });
  const frames = Array.from({ length: 40 }, (_, index) => frame({ payload: Buffer.from([index]) }));
  const stream = Buffer.concat(frames);
  const socket = bench.connect();
  // The ring takes 8 descriptors: the rest of the first chunk waits, and the others are not read.
  await write(socket, stream, [1_000, 1_500, 2_000]);
  assert.ok(socket.isPaused() && socket.readableLength > 0);
  socket.destroy(Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }));
  await until(() => socket.closed);
  open = true;
  await until(() => bench.freed === 1);
  assert.ok(concat(bench.only).equals(stream));
  assert.equal(bench.only.end?.code, 'reset');
  assert.equal(bench.only.end.truncatedBytes, 0);
});

test('random frames, cuts, sensors and speeds: each stream arrives as it was sent', async () => {
  const seed = seedOfRun();
  console.log(`seed ${seed}`);
  const random = new Random(seed);
  const until4s = Date.now() + 4_000;
  while (Date.now() < until4s) {
    const stalls = random.below(3) === 0;
    const bench = new Bench({
      // Chunks and frames of up to several times the ring.
      ringBytes: 1 << (13 + random.below(8)),
      assemblyBytes: 1 << (18 + random.below(4)),
      descriptors: 8 << random.below(6),
      batch: () => (stalls ? random.below(3) : 1000),
    });
    const sweeps = setInterval(() => bench.intake.sweep(Date.now()), 20);
    const sent = await Promise.all(
      Array.from({ length: 1 + random.below(6) }, async () => {
        const frames = Array.from({ length: 1 + random.below(40) }, () => {
          const size = random.below(1 << (1 + random.below(17)));
          return frame({ payload: Buffer.alloc(size, random.below(256)), uuid: UUID, type: 3 });
        });
        const stream = Buffer.concat(frames);
        const cuts = Array.from({ length: random.below(30) }, () => random.below(stream.length));
        const socket = bench.connect();
        await write(
          socket,
          stream,
          cuts.sort((a, b) => a - b),
        );
        if (random.below(4) === 0)
          socket.destroy(Object.assign(new Error(), { code: 'ECONNRESET' }));
        else socket.end();
        return stream;
      }),
    );
    await until(() => bench.freed === sent.length || bench.intake.connections === 0);
    await until(() => [...bench.sessions.values()].every(({ end }) => end));
    clearInterval(sweeps);
    const got = [...bench.sessions.values()];
    for (const taken of got) {
      const bytes = concat(taken);
      const whole = sent.some((stream) => stream.subarray(0, bytes.length).equals(bytes));
      assert.ok(whole, `seed ${seed}`);
      if (taken.end?.code === 'closed') {
        assert.ok(
          sent.some((stream) => stream.equals(bytes)),
          `seed ${seed}: closed, and not whole`,
        );
      }
    }
  }
});

test('a bad header ends the session there; what came before it is delivered', async () => {
  const good = frame({ payload: Buffer.from('good') });
  const cases: [Buffer, string][] = [
    [frame({ version: 2 }), 'bad-version'],
    [frame({ type: 0 }), 'bad-type'],
    [frame({ type: 9 }), 'bad-type'],
    [frame({ uuid: Buffer.alloc(16) }), 'bad-uuid'],
    [frame({ size: MAX_PAYLOAD + 1 }), 'too-large'],
    [frame({ size: 0xffff_ffff }), 'too-large'],
    [frame({ uuid: SECOND_UUID }), 'uuid-changed'],
    [frame({ type: 3 }), 'type-changed'],
    [frame({ type: 254 }), 'type-changed'],
  ];
  for (const [bad, reason] of cases) {
    const bench = new Bench();
    const socket = bench.connect();
    // The header alone: not a byte of its payload is waited for.
    await write(socket, Buffer.concat([good, bad.subarray(0, HEADER_BYTES)]), []);
    await until(() => bench.freed === 1);
    assert.ok(concat(bench.only).equals(good), reason);
    assert.equal(bench.only.end?.code, reason);
    assert.equal(bench.only.end?.atHeader, true);
    assert.deepEqual(bench.rejected, [reason]);
    assert.ok(socket.destroyed, reason);
  }
});

test('a first header that is not admitted opens no session', async () => {
  const cases: [Buffer, string][] = [
    [frame({ uuid: Buffer.from('11111111111141118111111111111111', 'hex') }), 'unknown-sensor'],
    [frame({ type: 254 }), 'meta-missing'],
    [frame({ version: 2 }), 'bad-version version 2'],
    [Buffer.from('GET / HTTP/1.1\r\n\r\n'), 'bad-version version 71'],
  ];
  for (const [bytes, reason] of cases) {
    const bench = new Bench();
    const socket = bench.connect();
    await write(socket, bytes, []);
    await until(() => socket.destroyed && bench.intake.connections === 0);
    assert.equal(bench.sessions.size, 0);
    assert.equal(bench.refused.length, 1);
    assert.ok(bench.refused[0]!.startsWith(reason), bench.refused[0]);
  }
});

test('type 2 may become 254 once', async () => {
  const meta = frame({ type: 2, payload: Buffer.from('{"type":"ja3-jl"}') });
  const data = frame({ type: 254, payload: Buffer.from('{}\n') });
  const bench = new Bench();
  const socket = bench.connect();
  await write(socket, Buffer.concat([meta, meta, data, data, meta]), [70, 200]);
  await until(() => bench.freed === 1);
  assert.equal(bench.only.frames.length, 4);
  assert.equal(bench.only.end?.code, 'type-changed');
});

test('time limits: first frame, then silence; a paused connection is not blamed', async () => {
  const bench = new Bench();
  const now = Date.now();
  const silent = bench.connect();
  const slow = bench.connect();
  const sending = bench.connect();
  const bytes = frame({ payload: Buffer.from('x') });
  await write(slow, bytes.subarray(0, 62), []);
  await write(sending, bytes, []);
  await until(() => bench.sessions.size === 2);
  bench.intake.sweep(now + 900);
  assert.equal(silent.destroyed, false);
  bench.intake.sweep(now + 2500);
  assert.ok(silent.destroyed && slow.destroyed && !sending.destroyed);
  assert.deepEqual(bench.rejected, ['first-frame-timeout']);
  assert.match(bench.refused[0]!, /^first-frame-timeout/);
  bench.intake.routed({ slot: 2, generation: 1 }, 1);
  bench.intake.pressure(0, true);
  bench.intake.sweep(now + 60_000);
  assert.equal(sending.destroyed, false, 'paused by the gateway itself');
  bench.intake.pressure(0, false);
  bench.intake.sweep(Date.now() + 4000);
  assert.equal(sending.destroyed, false);
  bench.intake.sweep(Date.now() + 6000);
  assert.ok(sending.destroyed);
  assert.deepEqual(bench.rejected, ['first-frame-timeout', 'idle-timeout']);
});

test('a full sink pauses the sessions that feed it, and no other', async () => {
  const bench = new Bench();
  const bytes = frame({ payload: Buffer.from('x') });
  const [first, second] = [bench.connect(), bench.connect()];
  await write(first, bytes, []);
  await write(second, bytes, []);
  await until(() => bench.sessions.size === 2);
  bench.intake.routed({ slot: 0, generation: 1 }, 0b01);
  bench.intake.routed({ slot: 1, generation: 1 }, 0b10);
  bench.intake.pressure(0, true);
  assert.ok(first.isPaused() && !second.isPaused());
  first.write(bytes);
  second.write(bytes);
  const [a, b] = [...bench.sessions.values()];
  await until(() => b!.frames.length === 2);
  assert.equal(a!.frames.length, 1);
  bench.intake.pressure(0, false);
  await until(() => a!.frames.length === 2);
});

test('a full sink keeps nobody who does not feed it, and nobody who does past its header', async () => {
  const bench = new Bench();
  const payload = Buffer.from('in two reads');
  bench.intake.pressure(0, true);
  const feeds = bench.connect();
  const other = bench.connect();
  const bytes = frame({ payload, uuid: SECOND_UUID });
  await write(other, bytes.subarray(0, 65), []);
  await write(feeds, frame({ payload }), []);
  await until(() => bench.sessions.size === 2);
  assert.ok(feeds.isPaused() && !other.isPaused());
  other.write(bytes.subarray(65));
  const [a, b] = [...bench.sessions.values()];
  await until(() => a!.frames.length === 1);
  assert.equal(b!.frames.length, 0, 'its frame waits with its connection');
  bench.intake.pressure(0, false);
  await until(() => b!.frames.length === 1);
});

test('a session that begins with a meta header reads until its sinks are known', async () => {
  const bench = new Bench();
  const meta = frame({ type: 2, payload: Buffer.from('{"type":"ja3-jl"}') });
  bench.intake.pressure(0, true);
  const socket = bench.connect();
  await write(socket, meta, []);
  await until(() => bench.sessions.size === 1);
  assert.ok(!socket.isPaused());
  bench.intake.routed({ slot: 0, generation: 1 }, 0b01);
  assert.ok(socket.isPaused());
  bench.intake.routed({ slot: 0, generation: 1 }, 0b10);
  assert.ok(!socket.isPaused());
});

/** Frames of sessions that were verified take blocks of 256 KiB, of which there is one. */
test('a stalled frame holds its block only until another needs it', async () => {
  const bench = new Bench({ assemblyBytes: 1 << 18, idleTimeoutMs: 0 });
  const large = frame({ payload: Buffer.alloc(150_000, 'y') });
  const [stalled, good] = [bench.connect(), bench.connect()];
  await write(stalled, frame(), []);
  await write(good, frame(), []);
  await until(() => bench.sessions.size === 2);
  for (const slot of [0, 1]) bench.intake.verified({ slot, generation: 1 });
  await write(stalled, large.subarray(0, 1000), []);
  good.write(large.subarray(0, 70_000));
  good.write(large.subarray(70_000));
  await until(() => good.isPaused());
  bench.intake.sweep(Date.now() + 500);
  assert.equal(stalled.destroyed, false, 'within its grace');
  bench.intake.sweep(Date.now() + 6_000);
  assert.ok(stalled.destroyed && !good.destroyed);
  assert.deepEqual(bench.rejected, ['assembly-budget']);
  const taken = [...bench.sessions.values()][1]!;
  await until(() => taken.frames.length === 2);
  assert.ok(taken.frames[1]!.equals(large));
});

test('headers of strangers take no memory from a sensor that was verified', async () => {
  const bench = new Bench({ assemblyBytes: 1 << 18, idleTimeoutMs: 0 });
  const large = frame({ payload: Buffer.alloc(150_000, 'y') });
  const good = bench.connect();
  await write(good, frame(), []);
  bench.intake.verified({ slot: 0, generation: 1 });
  const strangers = Array.from({ length: 50 }, () => bench.connect());
  for (const socket of strangers) await write(socket, large.subarray(0, 62), []);
  assert.ok(
    strangers.some((socket) => socket.isPaused()),
    'their own budget is used up',
  );
  await write(good, large, [10_000, 70_000]);
  const taken = [...bench.sessions.values()][0]!;
  await until(() => taken.frames.length === 2);
  assert.ok(taken.frames[1]!.equals(large));
});

test('strangers that wait for memory lose it when their time is up, and make room', async () => {
  const bench = new Bench({ assemblyBytes: 1 << 18, firstFrameTimeoutMs: 60_000 });
  const large = frame({ payload: Buffer.alloc(60_000, 'y') });
  const strangers = Array.from({ length: 40 }, () => bench.connect());
  for (const socket of strangers) await write(socket, large.subarray(0, 62), []);
  const good = bench.connect();
  good.write(large.subarray(0, 100));
  good.write(large.subarray(100));
  good.end();
  await until(() => good.isPaused());
  await until(() => bench.sessions.size === 41);
  bench.intake.sweep(Date.now() + 1_050);
  const [taken] = [...bench.sessions.values()].slice(-1);
  await until(() => taken!.frames.length === 1);
  assert.ok(taken!.frames[0]!.equals(large));
});

test('a sensor or address that is blocked loses its sessions', async () => {
  const bench = new Bench();
  const bytes = frame({ payload: Buffer.from('x') });
  const [first, second] = [bench.connect(), bench.connect()];
  await write(first, bytes, []);
  await write(second, frame({ uuid: SECOND_UUID }), []);
  await until(() => bench.sessions.size === 2);
  bench.known.delete(formatUuid(UUID));
  bench.intake.recheck();
  assert.ok(first.destroyed && !second.destroyed);
  assert.deepEqual(bench.rejected, ['sensor-removed']);
  bench.blockAddress();
  assert.ok(second.destroyed);
  assert.deepEqual(bench.rejected, ['sensor-removed', 'address-blocked']);
});

test('drain ends every session and loses nothing of what was read', async () => {
  let batch = 0;
  const bench = new Bench({ descriptors: 16, batch: () => batch });
  const bytes = frame({ payload: Buffer.alloc(100, 'z') });
  const stream = Buffer.concat(Array.from({ length: 50 }, () => bytes));
  const sockets = [bench.connect(), bench.connect()];
  for (const socket of sockets) socket.write(stream);
  await until(() => sockets.every((socket) => socket.isPaused()));
  const drained = bench.intake.drain();
  batch = 4;
  await drained;
  await until(() => bench.freed === 2);
  for (const taken of bench.sessions.values()) {
    assert.ok(concat(taken).equals(stream));
    assert.equal(taken.end?.code, 'drained');
  }
  const late = bench.connect();
  assert.ok(late.destroyed, 'nothing is taken while draining');
});

test('a message about an earlier use of a slot changes nothing', async () => {
  const bench = new Bench();
  const first = bench.connect();
  first.end();
  await until(() => bench.intake.connections === 0);
  const second = bench.connect();
  bench.intake.end({ slot: 0, generation: 1 }, End.REPLACED, '');
  assert.equal(second.destroyed, false);
  bench.intake.end({ slot: 0, generation: 2 }, Reject.SENSOR_BLOCKED, '');
  assert.ok(second.destroyed);
});
