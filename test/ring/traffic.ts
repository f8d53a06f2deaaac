import assert from 'node:assert/strict';
import { setTimeout as delay, setImmediate as turn } from 'node:timers/promises';
import { BuddyAllocator } from '../../src/ring/buddy.js';
import type { RingConsumer } from '../../src/ring/consumer.js';
import { FrameStatus, Kind, Place, regionBytesMax } from '../../src/ring/layout.js';
import type { RingProducer } from '../../src/ring/producer.js';
import { HEADER_BYTES } from '../../src/wire/layout.js';
import { type RingFixture, randomOf, writeFrameDescriptor } from './fixture.js';

const NOISE_BYTES = 2 ** 21;

/** One record of the traffic: both threads draw the same ones from the same seed. */
export interface TrafficRecord {
  kind: number;
  place: number;
  /** Bytes in memory: header and payload, or text. */
  bytes: number;
  session: number;
  generation: number;
  /** Type of a frame, code of an event. */
  code: number;
  /** A record of the byte ring that shares its chunk with the next one, if that is one too. */
  more: boolean;
  content: Uint8Array;
}

export interface TrafficPlan {
  seed: number;
  /** Records in all. */
  count: number;
  /** Largest frame, header included. */
  frameBytesMax: number;
  /** One in so many frames is drawn up to `frameBytesMax`, the others up to 2000 bytes. */
  largeOneIn: number;
}

/** The records of a plan, one a call, without end. */
export function trafficOf(plan: TrafficPlan): () => TrafficRecord {
  const random = randomOf(plan.seed);
  const noise = new Uint32Array(NOISE_BYTES / 4).map(() => random(2 ** 32));
  const bytesOf = new Uint8Array(noise.buffer);
  return () => {
    const draw = random(16);
    const kind = draw === 0 ? Kind.OPEN : draw === 1 ? Kind.END : Kind.FRAME;
    const place = draw === 2 ? Place.ARENA : Place.RING;
    const top = random(plan.largeOneIn) === 0 ? plan.frameBytesMax : 2000;
    const edge = random(8) === 0 ? (random(2) === 0 ? HEADER_BYTES : top) : 0;
    const frame = edge || HEADER_BYTES + random(top - HEADER_BYTES + 1);
    const bytes = kind === Kind.FRAME ? frame : random(300);
    const from = random(NOISE_BYTES - bytes);
    return {
      kind,
      place,
      bytes,
      session: random(2 ** 16),
      generation: random(2 ** 32),
      code: random(256),
      more: random(4) > 0,
      content: bytesOf.subarray(from, from + bytes),
    };
  };
}

function sizeOf(record: TrafficRecord): number {
  return record.kind === Kind.FRAME ? record.bytes - HEADER_BYTES : record.bytes;
}

/** Publishes a plan's records, as fast as the ring takes them, until the last one is released. */
export async function produce(
  fixture: RingFixture,
  producer: RingProducer,
  plan: TrafficPlan,
): Promise<{ waits: number; freed: number }> {
  const next = trafficOf(plan);
  const whims = randomOf(plan.seed ^ 0x5bd1e995);
  const arena = new BuddyAllocator(fixture.map.arenaBase, fixture.map.assemblyBytes);
  const result = { waits: 0, freed: 0 };
  const space = async () => {
    producer.wake();
    result.waits += 1;
    await new Promise<void>((resolve) => producer.onSpace(resolve));
  };
  const free = (address: number) => {
    arena.free(address);
    result.freed += 1;
  };

  let ahead = next();
  for (let done = 0; done < plan.count; ) {
    const record = ahead;
    if (record.kind !== Kind.FRAME) {
      const { kind, session, generation, code, content } = record;
      const event = kind === Kind.OPEN ? Kind.OPEN : Kind.END;
      while (!producer.pushEvent(event, session, generation, code, content)) await space();
      ahead = next();
      done += 1;
    } else if (record.place === Place.ARENA) {
      let address = arena.allocate(record.bytes);
      for (; address === 0; address = arena.allocate(record.bytes)) await space();
      fixture.bytes.set(record.content, address);
      const { session, generation, code } = record;
      const size = sizeOf(record);
      while (!producer.pushFrame(address, size, session, generation, code)) await space();
      producer.afterRelease((producer.head - 1) >>> 0, free, address);
      ahead = next();
      done += 1;
    } else {
      // A chunk: frames as long as they fit, and the beginning of one that is given back.
      const chunkMax = regionBytesMax(fixture.map.ringBytes);
      const wanted = Math.min(chunkMax, record.bytes + whims(4) * whims(2000));
      let address = producer.reserve(wanted);
      for (; address === 0; address = producer.reserve(wanted)) await space();
      const room = producer.room();
      let count = 0;
      let end = 0;
      while (count < room && done < plan.count && end + ahead.bytes <= wanted) {
        if (ahead.kind !== Kind.FRAME || ahead.place !== Place.RING) break;
        fixture.bytes.set(ahead.content, address + end);
        writeFrameDescriptor(fixture, producer.head + count, {
          address: address + end,
          size: sizeOf(ahead),
          session: ahead.session,
          generation: ahead.generation,
          type: ahead.code,
          release: (producer.releaseBase + end + ahead.bytes) >>> 0,
        });
        count += 1;
        end += ahead.bytes;
        done += 1;
        const { more } = ahead;
        ahead = next();
        if (!more) break;
      }
      // What follows in the region is a frame cut by the read: written, and never published.
      fixture.bytes.fill(0xee, address + end, address + wanted);
      producer.publish(count, end);
      if (count === 0) await space();
    }
    if (whims(8) === 0) producer.wake();
    if (whims(64) === 0) await turn();
    producer.reclaim();
  }
  producer.wake();
  while (producer.unreleased() > 0) await space();
  producer.reclaim();
  assert.equal(producer.usedBytes(), 0);
  assert.equal(arena.used, 0);
  return result;
}

/** Takes a plan's records and compares each byte; now and then it holds on to some for a while. */
export async function consume(
  fixture: RingFixture,
  consumer: RingConsumer,
  plan: TrafficPlan,
): Promise<{ sleeps: number; bytes: number }> {
  const next = trafficOf(plan);
  const whims = randomOf(plan.seed ^ 0x2545f491);
  const result = { sleeps: 0, bytes: 0 };
  for (let done = 0; done < plan.count; ) {
    if (consumer.available() === 0) {
      result.sleeps += 1;
      await new Promise<void>((resolve) => consumer.sleep(resolve));
    }
    const batch = 1 + whims(consumer.available());
    for (let index = 0; index < batch; index += 1) {
      const record = next();
      compare(fixture, consumer, (consumer.tail + index) >>> 0, record, done + index);
      result.bytes += record.bytes;
    }
    // What is held stays as it is while the producer goes on.
    if (whims(200) === 0) {
      const [address, size] = [consumer.address(consumer.tail), consumer.size(consumer.tail)];
      const before = Buffer.from(fixture.bytes.subarray(address, address + size));
      await (whims(2) === 0 ? turn() : delay(whims(3)));
      const after = fixture.bytes.subarray(address, address + size);
      assert.ok(before.equals(after), 'a record changed before its release');
    }
    consumer.release(batch);
    done += batch;
  }
  assert.equal(consumer.available(), 0);
  return result;
}

function compare(
  fixture: RingFixture,
  consumer: RingConsumer,
  sequence: number,
  record: TrafficRecord,
  index: number,
): void {
  const isFrame = record.kind === Kind.FRAME;
  const found = {
    kind: consumer.kind(sequence),
    place: consumer.place(sequence),
    size: consumer.size(sequence),
    session: consumer.session(sequence),
    generation: consumer.generation(sequence),
    type: consumer.type(sequence),
    status: consumer.status(sequence),
  };
  const expected = {
    kind: record.kind,
    place: record.place,
    size: sizeOf(record),
    session: record.session,
    generation: record.generation,
    type: isFrame ? record.code : 0,
    status: isFrame ? FrameStatus.PENDING : record.code,
  };
  assert.deepEqual(found, expected, `record ${index}`);
  const address = consumer.address(sequence);
  const stored = fixture.bytes.subarray(address, address + record.bytes);
  assert.ok(Buffer.compare(stored, record.content) === 0, `bytes of record ${index}`);
}
