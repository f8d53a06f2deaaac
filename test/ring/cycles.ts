import assert from 'node:assert/strict';
import { setTimeout as delay, setImmediate as turn } from 'node:timers/promises';
import type { RingConsumer } from '../../src/ring/consumer.js';
import { Kind } from '../../src/ring/layout.js';
import type { RingProducer } from '../../src/ring/producer.js';
import { randomOf } from './fixture.js';

const NOTHING = new Uint8Array(0);
/** The `code` of the END after which no event follows. */
const LAST = 99;

/** A pause that hits the other thread before, in, and after it falls asleep. */
async function pause(random: (below: number) => number): Promise<void> {
  const draw = random(64);
  if (draw === 0) await delay(random(2));
  else if (draw < 16) await turn();
  else for (let spin = random(200); spin > 0; spin -= 1) random(2);
}

/** Publishes a few events at a time, and sleeps until all of them are released. */
export async function ping(
  producer: RingProducer,
  seed: number,
  durationMs: number,
): Promise<{ cycles: number; events: number }> {
  const random = randomOf(seed);
  const end = performance.now() + durationMs;
  const result = { cycles: 0, events: 0 };
  for (let last = false; !last; result.cycles += 1) {
    last = performance.now() > end;
    const burst = 1 + random(3);
    for (let index = 1; index <= burst; index += 1) {
      const code = last && index === burst ? LAST : 0;
      assert.ok(producer.pushEvent(Kind.END, 0, result.events, code, NOTHING));
      result.events += 1;
    }
    await pause(random);
    producer.wake();
    while (producer.unreleased() > 0) {
      await new Promise<void>((resolve) => producer.onSpace(resolve));
    }
    await pause(random);
  }
  return result;
}

/** Sleeps until there are events, and releases them, one or all at a time. */
export async function pong(
  consumer: RingConsumer,
  seed: number,
): Promise<{ sleeps: number; events: number }> {
  const random = randomOf(seed + 1);
  const result = { sleeps: 0, events: 0 };
  for (let last = false; !last; ) {
    await new Promise<void>((resolve) => consumer.sleep(resolve));
    result.sleeps += 1;
    while (consumer.available() > 0) {
      const count = random(2) === 0 ? 1 : consumer.available();
      for (let index = 0; index < count; index += 1) {
        const sequence = (consumer.tail + index) >>> 0;
        assert.equal(consumer.generation(sequence), result.events);
        result.events += 1;
        last = consumer.status(sequence) === LAST;
      }
      consumer.release(count);
    }
    await pause(random);
  }
  return result;
}
