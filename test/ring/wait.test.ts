import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { RingConsumer } from '../../src/ring/consumer.js';
import { Kind } from '../../src/ring/layout.js';
import { RingProducer } from '../../src/ring/producer.js';
import { inlineWakes, PortWake, type PortWakeOptions } from '../../src/ring/wait.js';
import { ringFixture } from './fixture.js';

const NO_POLL = { pollMs: 2 ** 31 - 1 };

/** Both ends of one channel on this thread: a message is still a turn of the event loop away. */
function ends(options: PortWakeOptions = NO_POLL) {
  const { memory } = ringFixture({});
  const { port1, port2 } = new MessageChannel();
  const producer = new PortWake(memory, 'producer', port1, { keepAlive: true, ...options });
  const consumer = new PortWake(memory, 'consumer', port2, { keepAlive: true, ...options });
  const close = () => {
    producer.close();
    consumer.close();
  };
  return { producer, consumer, close, port1, port2 };
}

/** Messages that reach `port` until it has been closed by the other side. */
async function messagesUntilClosed(port: MessagePort, close: () => void): Promise<number> {
  let count = 0;
  port.on('message', () => {
    count += 1;
  });
  const closed = once(port, 'close');
  close();
  await closed;
  return count;
}

describe('PortWake', { timeout: 20_000 }, () => {
  it('wakes a sleeper once, from the event loop, and either end', async () => {
    const { producer, consumer, close } = ends();
    for (const [sleeper, waker] of [
      [consumer, producer],
      [producer, consumer],
    ] as const) {
      let moved = false;
      let calls = 0;
      await new Promise<void>((resolve) => {
        sleeper.sleep(
          () => moved,
          () => {
            calls += 1;
            resolve();
          },
        );
        moved = true;
        waker.wake();
        waker.wake();
        assert.equal(calls, 0);
      });
      waker.wake();
      await turn();
      assert.equal(calls, 1);
    }
    close();
  });

  it('goes on at once where something came before it slept', async () => {
    const { consumer, close } = ends();
    await new Promise<void>((resolve) => {
      let returned = false;
      consumer.sleep(
        () => true,
        () => {
          assert.ok(returned, 'not before sleep returns');
          resolve();
        },
      );
      returned = true;
    });
    close();
  });

  it('misses nothing that comes right after it looked', async () => {
    const { producer, consumer, close } = ends();
    let looks = 0;
    // On each look but the third: nothing there yet, and the other end moves just after it.
    const ready = () => {
      looks += 1;
      if (looks < 3) producer.wake();
      return looks === 3;
    };
    await new Promise<void>((resolve) => consumer.sleep(ready, resolve));
    close();
  });

  it('posts one message a sleep, and none to an end that is awake', async () => {
    const { producer, consumer, close, port2 } = ends();
    producer.wake();
    consumer.sleep(
      () => false,
      () => {},
    );
    for (let index = 0; index < 10; index += 1) producer.wake();
    assert.equal(await messagesUntilClosed(port2, () => producer.close()), 1);
    close();
  });

  it('sleeps on when it is woken for nothing, and wakes for something then', async () => {
    const { producer, consumer, close, port2 } = ends();
    let moved = false;
    const woken = new Promise<void>((resolve) => consumer.sleep(() => moved, resolve));
    const first = once(port2, 'message');
    producer.wake();
    await first;
    moved = true;
    producer.wake();
    await woken;
    close();
  });

  it('looks by itself where no wake-up comes', async () => {
    const { consumer, close } = ends({ pollMs: 1 });
    let looks = 0;
    await new Promise<void>((resolve) => {
      consumer.sleep(() => ++looks > 3, resolve);
    });
    close();
  });

  it('takes the last of two callbacks, and none after close', async () => {
    const { producer, consumer, close } = ends();
    await new Promise<void>((resolve, reject) => {
      consumer.sleep(
        () => true,
        () => reject(new Error('replaced')),
      );
      consumer.sleep(() => true, resolve);
    });
    consumer.sleep(
      () => true,
      () => assert.fail('called after close'),
    );
    close();
    producer.wake();
    await turn();
    await turn();
  });

  it('keeps the event loop alive only where it is asked to', () => {
    const { memory } = ringFixture({});
    for (const keepAlive of [false, true]) {
      const { port1, port2 } = new MessageChannel();
      const wake = new PortWake(memory, 'consumer', port1, { keepAlive });
      const { hasRef } = port1 as MessagePort & { hasRef?: () => boolean };
      assert.equal(hasRef?.call(port1), keepAlive);
      wake.close();
      port2.close();
    }
  });
});

describe('inlineWakes', { timeout: 20_000 }, () => {
  const text = new Uint8Array([1, 2, 3]);

  function inlineRing(drain: (consumer: RingConsumer) => void) {
    const { memory, map } = ringFixture({ descriptors: 4 });
    const wakes = inlineWakes();
    const producer = new RingProducer(memory, map, wakes.producer);
    const consumer = new RingConsumer(memory, map, wakes.consumer);
    const onWake = () => {
      drain(consumer);
      consumer.sleep(onWake);
    };
    consumer.sleep(onWake);
    return { producer, consumer };
  }

  it('drains within the call of wake', () => {
    let drained = 0;
    const { producer } = inlineRing((consumer) => {
      drained += consumer.available();
      consumer.release(consumer.available());
    });
    for (let index = 0; index < 100; index += 1) {
      while (!producer.pushEvent(Kind.OPEN, 0, 0, 0, text)) producer.wake();
    }
    producer.wake();
    assert.equal(drained, 100);
    assert.equal(producer.unreleased(), 0);
  });

  it('comes back for what a drain left, and calls a full producer back afterwards', async () => {
    let inDrain = false;
    const { producer } = inlineRing((consumer) => {
      inDrain = true;
      consumer.release(1);
      inDrain = false;
    });
    while (producer.pushEvent(Kind.OPEN, 0, 0, 0, text));
    let calls = 0;
    const spaceAgain = new Promise<void>((resolve) => {
      const onSpace = () => {
        assert.equal(inDrain, false, 'not within the drain');
        calls += 1;
        if (producer.unreleased() > 0) producer.onSpace(onSpace);
        else resolve();
      };
      producer.onSpace(onSpace);
      producer.onSpace(onSpace);
    });
    assert.throws(() => producer.onSpace(() => {}), /one callback at a time/);
    producer.wake();
    assert.equal(calls, 0);
    await spaceAgain;
    assert.ok(calls <= 4);
  });
});
