import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { RingConsumer } from '../../src/ring/consumer.js';
import {
  FrameStatus,
  GUARD_BYTES,
  Kind,
  type MemoryMap,
  Place,
  regionBytesMax,
} from '../../src/ring/layout.js';
import { RingProducer } from '../../src/ring/producer.js';
import { inlineWakes } from '../../src/ring/wait.js';
import {
  type RingFixture,
  randomOf,
  ringFixture,
  runSeed,
  writeFrameDescriptor,
} from './fixture.js';

/** Of a ring of 1024 bytes. */
const REGION_MAX = (1024 - 64) / 2;
const RUNS = 400;
const TIME_LIMIT_MS = 8_000;

interface Published {
  kind: number;
  place: number;
  address: number;
  size: number;
  type: number;
  status: number;
  content: Uint8Array;
  /** Ring bytes that stay taken until this is released. */
  taken: number[];
}

/**
 * What the ring ought to do, naively: a list of what is published, one owner mark for each byte of
 * the byte ring, and counters that never wrap.
 */
class Model {
  readonly live: Published[] = [];
  readonly taken: boolean[];
  head: number;
  position: number;

  constructor(
    readonly map: MemoryMap,
    start: { sequence: number; position: number },
  ) {
    this.taken = new Array(map.ringBytes).fill(false);
    this.head = start.sequence;
    this.position = start.position;
  }

  get room(): number {
    return this.map.descriptors - this.live.length;
  }

  get used(): number {
    return this.taken.filter(Boolean).length;
  }

  /**
   * Where `bytes` contiguous bytes would begin, as a position; undefined where they and the guard
   * behind them don't fit.
   */
  place(bytes: number): number | undefined {
    let begin = this.position;
    while ((begin % this.map.ringBytes) + bytes > this.map.ringBytes) begin += 1;
    const end = begin + bytes + GUARD_BYTES;
    if (end - this.position > this.map.ringBytes) return undefined;
    return this.span(this.position, end).some((at) => this.taken[at]) ? undefined : begin;
  }

  /** No byte of a region is of a published frame, or of the guard in front of it. */
  assertApart(address: number, bytes: number): void {
    for (const { kind, place, address: frame, size } of this.live) {
      if (kind !== Kind.FRAME || place !== Place.RING) continue;
      const apart = address >= frame + 62 + size || address + bytes <= frame - GUARD_BYTES;
      assert.ok(apart, `${bytes} bytes at ${address}, a frame of ${size} at ${frame}`);
    }
  }

  span(from: number, to: number): number[] {
    return Array.from({ length: to - from }, (_, index) => (from + index) % this.map.ringBytes);
  }

  publish(entry: Omit<Published, 'taken'>, to: number): void {
    const taken = this.span(this.position, to);
    for (const at of taken) this.taken[at] = true;
    this.live.push({ ...entry, taken });
    this.position = to;
    this.head += 1;
  }

  release(): Published {
    const entry = this.live.shift()!;
    for (const at of entry.taken) this.taken[at] = false;
    return entry;
  }
}

type Step =
  | { do: 'chunk'; frames: number[]; rest: number; keep: number }
  | { do: 'arena'; size: number }
  | { do: 'event'; kind: typeof Kind.OPEN | typeof Kind.END; code: number; size: number }
  | { do: 'release'; count: number }
  | { do: 'reclaim' };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    do: fc.constant('chunk' as const),
    frames: fc.array(fc.oneof(fc.integer({ min: 62, max: 140 }), fc.constant(62)), {
      minLength: 1,
      maxLength: 5,
    }),
    rest: fc.integer({ min: 0, max: 61 }),
    keep: fc.integer({ min: 0, max: 5 }),
  }),
  fc.record({ do: fc.constant('arena' as const), size: fc.integer({ min: 0, max: 99 }) }),
  fc.record({
    do: fc.constant('event' as const),
    kind: fc.constantFrom(Kind.OPEN, Kind.END),
    code: fc.integer({ min: 0, max: 255 }),
    size: fc.integer({ min: 0, max: 200 }),
  }),
  fc.record({ do: fc.constant('release' as const), count: fc.integer({ min: 0, max: 8 }) }),
  fc.record({ do: fc.constant('reclaim' as const) }),
);

const starts = fc.record({
  sequence: fc.oneof(fc.constant(0), fc.integer({ min: 2 ** 32 - 40, max: 2 ** 32 - 1 })),
  position: fc.oneof(
    fc.constant(0),
    fc.integer({ min: 2 ** 32 - 3000, max: 2 ** 32 - 1 }),
    fc.integer({ min: 2 ** 31 - 3000, max: 2 ** 31 + 10 }),
  ),
});

/** Drives both ends on one thread beside the model. */
class Run {
  readonly fixture: RingFixture;
  readonly producer: RingProducer;
  readonly consumer: RingConsumer;
  readonly model: Model;
  readonly random: (below: number) => number;
  /** Entries of `afterRelease`: live, released and due at the next reclaim, and called. */
  waiting: { entry: Published; token: number }[] = [];
  due: number[] = [];
  called: number[] = [];
  token = 0;

  constructor(start: { sequence: number; position: number }, seed: number) {
    this.fixture = ringFixture({ ringBytes: 1024, descriptors: 8 }, start);
    const { memory, map } = this.fixture;
    const wakes = inlineWakes();
    this.producer = new RingProducer(memory, map, wakes.producer);
    this.consumer = new RingConsumer(memory, map, wakes.consumer);
    this.model = new Model(map, start);
    this.random = randomOf(seed);
  }

  fill(address: number, bytes: number): Uint8Array {
    const target = this.fixture.bytes.subarray(address, address + bytes);
    for (let at = 0; at < bytes; at += 1) target[at] = this.random(256);
    return Uint8Array.from(target);
  }

  step(step: Step): void {
    if (step.do === 'chunk') this.chunk(step.frames, step.rest, step.keep);
    else if (step.do === 'arena') this.arena(step.size);
    else if (step.do === 'event') this.event(step.kind, step.code, step.size);
    else if (step.do === 'release') this.release(Math.min(step.count, this.model.live.length));
    else this.reclaim();
    this.compare();
  }

  chunk(frames: number[], rest: number, keep: number): void {
    const { producer, model, fixture } = this;
    const bytes = Math.min(
      frames.reduce((sum, size) => sum + size, rest),
      REGION_MAX,
    );
    const begin = model.place(bytes);
    const address = producer.reserve(bytes);
    if (begin === undefined) {
      assert.equal(address, 0);
      return;
    }
    assert.equal(address, fixture.map.ringBase + (begin % fixture.map.ringBytes));
    assert.equal(producer.releaseBase, begin % 2 ** 32);
    model.assertApart(address, bytes);
    const content = this.fill(address, bytes);
    let count = 0;
    let end = 0;
    const room = producer.room();
    while (count < Math.min(keep, room, frames.length) && end + frames[count]! <= bytes) {
      const size = frames[count]! - 62;
      const release = (producer.releaseBase + end + frames[count]!) >>> 0;
      const at = { address: address + end, size, session: 3, generation: 7, type: 1, release };
      writeFrameDescriptor(fixture, producer.head + count, at);
      const entry = { kind: Kind.FRAME, place: Place.RING, address: at.address, size, type: 1 };
      const bytesOf = content.subarray(end, end + frames[count]!);
      end += frames[count]!;
      model.publish({ ...entry, status: FrameStatus.PENDING, content: bytesOf }, begin + end);
      count += 1;
    }
    producer.publish(count, end);
  }

  arena(size: number): void {
    const { producer, model, fixture } = this;
    const address = fixture.map.arenaBase + 256 * this.random(8);
    const room = model.room > 0;
    assert.equal(producer.pushFrame(address, size, 3, 7, 5), room);
    if (!room) return;
    const entry = { kind: Kind.FRAME, place: Place.ARENA, address, size, type: 5 };
    const content = new Uint8Array(0); // blocks overlap here: the buddy allocator has its own test
    model.publish({ ...entry, status: FrameStatus.PENDING, content }, model.position);
    this.after();
  }

  event(kind: typeof Kind.OPEN | typeof Kind.END, code: number, size: number): void {
    const { producer, model, fixture } = this;
    const text = Uint8Array.from({ length: size }, () => this.random(256));
    const begin = model.place(size);
    const fits = model.room > 0 && begin !== undefined;
    assert.equal(producer.pushEvent(kind, 3, 7, code, text), fits);
    if (!fits) return;
    const offset = size === 0 ? 0 : begin % fixture.map.ringBytes;
    const address = fixture.map.ringBase + offset;
    if (size > 0) model.assertApart(address, size);
    const entry = { kind, place: Place.RING, address, size, type: 0, status: code, content: text };
    model.publish(entry, begin + size);
    if (kind === Kind.END) this.after();
  }

  after(): void {
    const token = this.token++;
    this.waiting.push({ entry: this.model.live.at(-1)!, token });
    this.producer.afterRelease(
      (this.producer.head - 1) >>> 0,
      (value) => {
        // Called early only where the queue was full, and then for released ones alone.
        assert.equal(value, this.due.shift());
        this.called.push(value);
      },
      token,
    );
  }

  release(count: number): void {
    const { consumer, model, fixture } = this;
    for (let index = 0; index < count; index += 1) {
      const sequence = (consumer.tail + index) >>> 0;
      const entry = model.release();
      for (const field of ['kind', 'place', 'address', 'size', 'type', 'status'] as const) {
        assert.equal(consumer[field](sequence), entry[field], field);
      }
      assert.equal(consumer.session(sequence), 3);
      assert.equal(consumer.generation(sequence), 7);
      const { content } = entry;
      const stored = fixture.bytes.subarray(entry.address, entry.address + content.length);
      assert.deepEqual(Uint8Array.from(stored), content);
      if (this.waiting[0]?.entry === entry) this.due.push(this.waiting.shift()!.token);
    }
    consumer.release(count);
  }

  reclaim(): void {
    const due = this.due.length;
    assert.equal(this.producer.reclaim(), due);
    assert.equal(this.due.length, 0);
  }

  compare(): void {
    const { producer, consumer, model } = this;
    assert.equal(producer.head, model.head % 2 ** 32);
    assert.equal(producer.room(), model.room);
    assert.equal(producer.unreleased(), model.live.length);
    assert.equal(consumer.available(), model.live.length);
    assert.equal(consumer.tail, (model.head - model.live.length) % 2 ** 32);
    assert.equal(producer.usedBytes(), model.used);
    producer.invariants();
    consumer.invariants();
  }
}

describe('the ring on one thread', () => {
  it('does what a list of records and a map of taken bytes would', (t) => {
    const seed = runSeed();
    t.diagnostic(`seed ${seed} (D4GW_SEED)`);
    const seen = { wrapped: 0, refused: 0 };
    fc.assert(
      fc.property(starts, fc.array(step, { maxLength: 150, size: 'max' }), (start, steps) => {
        const run = new Run(start, seed);
        for (const each of steps) run.step(each);
        if (run.model.position - start.position > 1024) seen.wrapped += 1;
        if (run.model.room === 0) seen.refused += 1;
        // Released to the last, the ring is wholly free again.
        run.release(run.model.live.length);
        run.reclaim();
        run.compare();
        assert.equal(run.called.length, run.token);
        assert.equal(run.producer.usedBytes(), 0);
        run.chunk([REGION_MAX], 0, 1);
      }),
      { seed, numRuns: RUNS, interruptAfterTimeLimit: TIME_LIMIT_MS },
    );
    assert.ok(seen.wrapped > 0 && seen.refused > 0, 'the runs wrapped, and filled the ring');
  });

  it('takes the largest region into an empty ring wherever it begins', () => {
    assert.equal(regionBytesMax(1024), REGION_MAX);
    for (let position = 0; position < 1024; position += 1) {
      const { producer } = new Run({ sequence: 5, position }, 1);
      assert.notEqual(producer.reserve(REGION_MAX), 0, `at ${position}`);
      producer.publish(0, 0);
      assert.equal(producer.usedBytes(), 0);
    }
  });

  it('passes 2^32 at the very end of a frame and of a text', () => {
    const run = new Run({ sequence: 2 ** 32 - 1, position: 2 ** 32 - 2 * REGION_MAX }, 1);
    run.chunk([REGION_MAX], 0, 1);
    run.release(1);
    run.chunk([REGION_MAX], 0, 1);
    run.compare();
    const other = new Run({ sequence: 2 ** 32 - 1, position: 2 ** 32 - 100 }, 1);
    other.event(Kind.OPEN, 0, 100);
    other.compare();
    other.release(1);
    other.compare();
  });

  it('is lawful for either end between any two stores of the other', (t) => {
    const seed = runSeed();
    t.diagnostic(`seed ${seed} (D4GW_SEED)`);
    const run = new Run({ sequence: 2 ** 32 - 20, position: 2 ** 32 - 2000 }, seed);
    let looks = 0;
    let look = () => {};
    const store = Atomics.store as (...args: unknown[]) => unknown;
    const patched = t.mock.method(Atomics, 'store', (...args: unknown[]) => {
      const stored = store(...args);
      looks += 1;
      look();
      return stored;
    });
    for (let round = 0; round < 500; round += 1) {
      look = () => run.consumer.invariants();
      if (run.random(4) === 0) run.arena(1);
      else run.chunk([62 + run.random(100)], run.random(62), 1);
      look = () => run.producer.invariants();
      if (run.random(3) === 0) run.release(run.random(run.model.live.length + 1));
    }
    patched.mock.restore();
    assert.ok(looks > 500);
  });

  it('calls a full producer back for a release, and for nothing else', async () => {
    const text = new Uint8Array(REGION_MAX);
    // Of 1024 bytes and 8 descriptors: with 200 bytes each the bytes run out first, else the others.
    const cases: [name: string, size: number, isFull: (run: Run) => boolean][] = [
      ['reserve', 200, ({ producer }) => producer.reserve(REGION_MAX) === 0],
      ['pushEvent', 200, ({ producer }) => !producer.pushEvent(Kind.END, 0, 0, 1, text)],
      ['room', 10, ({ producer }) => producer.room() === 0],
      ['pushFrame', 10, ({ producer }) => !producer.pushFrame(4096, 0, 0, 0, 1)],
    ];
    for (const [name, size, isFull] of cases) {
      const run = new Run({ sequence: 0, position: 0 }, 1);
      for (let index = 0; index < 5; index += 1) run.event(Kind.OPEN, 0, size);
      // Something was released before it was found full: that is no news.
      run.release(1);
      for (let index = 0; index < 9; index += 1) run.event(Kind.OPEN, 0, size);
      assert.ok(isFull(run), name);
      let calls = 0;
      run.producer.onSpace(() => {
        calls += 1;
      });
      for (let index = 0; index < 3; index += 1) await turn();
      assert.equal(calls, 0, name);
      run.release(1);
      for (let index = 0; index < 3; index += 1) await turn();
      assert.equal(calls, 1, name);
    }
  });

  it('calls back for released descriptors without a reclaim when its queue is full', () => {
    const run = new Run({ sequence: 2 ** 32 - 3, position: 0 }, 1);
    for (let round = 0; round < 40; round += 1) {
      run.arena(1);
      run.release(1);
    }
    assert.ok(run.called.length >= 40 - 8);
    run.reclaim();
    assert.deepEqual(run.called, [...Array(40).keys()]);
  });
});

describe('what the ring asserts', () => {
  const zero = { sequence: 0, position: 0 };
  const fails = (law: RegExp, act: () => void) => {
    assert.throws(act, { name: 'AssertionError', message: law });
  };

  it('refuses regions that it could not promise', () => {
    const { producer } = new Run(zero, 1);
    fails(/reserve: 1 to/, () => producer.reserve(0));
    fails(/reserve: 1 to/, () => producer.reserve(REGION_MAX + 1));
    fails(/reserve: 1 to/, () => producer.reserve(Number.NaN));
    producer.reserve(100);
    fails(/region before it/, () => producer.reserve(1));
    fails(/no region is reserved/, () => void producer.pushFrame(0, 0, 0, 0, 1));
    const text = new Uint8Array(1);
    fails(/no region is reserved/, () => void producer.pushEvent(Kind.OPEN, 0, 0, 0, text));
  });

  it('refuses to publish what no release would give back', () => {
    const { producer, fixture } = new Run(zero, 1);
    const address = producer.reserve(200);
    fails(/within the region/, () => producer.publish(1, 201));
    fails(/whole frames only/, () => producer.publish(0, 62));
    fails(/whole frames only/, () => producer.publish(1, 0));
    const frame = { address, size: 0, session: 0, generation: 0, type: 1, release: 62 };
    writeFrameDescriptor(fixture, 0, frame);
    fails(/releases all that is published/, () => producer.publish(1, 63));
  });

  it('refuses more descriptors than there are, at both ends', () => {
    const { producer, consumer } = new Run(zero, 1);
    producer.reserve(REGION_MAX);
    fails(/room for descriptors/, () => producer.publish(9, REGION_MAX));
    fails(/at most what is published/, () => consumer.release(1));
    fails(/published descriptor/, () => producer.afterRelease(0, () => {}));
  });

  it('refuses a second producer while the ring is in use, and shapes it cannot mask', () => {
    const { producer, fixture } = new Run(zero, 1);
    producer.pushFrame(fixture.map.arenaBase, 0, 0, 0, 1);
    const wake = inlineWakes().producer;
    fails(/begins with an empty ring/, () => new RingProducer(fixture.memory, fixture.map, wake));
    const odd = ringFixture({ ringBytes: 3000 });
    fails(/power of two/, () => new RingProducer(odd.memory, odd.map, wake));
    fails(/power of two/, () => new RingConsumer(odd.memory, odd.map, wake));
  });
});
