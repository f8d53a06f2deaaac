import type { MessagePort } from 'node:worker_threads';
import {
  controlWords,
  type SharedMemory,
  WORD_CONSUMER_ASLEEP,
  WORD_PRODUCER_ASLEEP,
} from './control.js';

/**
 * All waiting of the ring's two ends. Neither end blocks its thread or spins: it sets its sleeping
 * flag in the control words and goes back to its event loop, and the other end, which reads that
 * flag after each batch, posts one empty message.
 *
 *   sleeper                                waker
 *   1. asleep := 1                         a. head (or tail) := new value
 *   2. head (or tail) moved? then go on    b. asleep = 1? then asleep := 0, and post a message
 *
 * These are sequentially consistent, so either 2 sees a, or b sees 1: no wake-up is lost.
 *
 * Why a message and not `Atomics.waitAsync`: it costs less (a round trip of two wake-ups takes 18
 * to 22 µs against 23 to 25, or 30 to 33 with a timeout, alike on Node 20, 22, 24 and 25), the
 * same on each Node release, and a port can keep the event loop alive, where a pending `waitAsync`
 * cannot (nodejs/node#61941).
 */
export interface Wake {
  /**
   * Calls `onWake` once, from the event loop, when `ready()` is true; asked now, whenever the other
   * end wakes this one, and every `POLL_MS`. A second call while waiting replaces both.
   */
  sleep(ready: () => boolean, onWake: () => void): void;
  /** Wakes the other end if it sleeps; else costs one atomic load. */
  wake(): void;
  /** No callback follows. */
  close(): void;
}

/** Belt and braces: a sleeper looks by itself this often. */
export const POLL_MS = 50;

export type RingEnd = 'producer' | 'consumer';

export interface PortWakeOptions {
  /** Whether an open end keeps its thread's event loop alive (default: no). */
  keepAlive?: boolean;
  /** Milliseconds between two looks of a sleeper (default: `POLL_MS`). */
  pollMs?: number;
}

/** An end on a thread of its own. Both ends share the memory and the two ports of one channel. */
export class PortWake implements Wake {
  readonly #control: Uint32Array;
  readonly #own: number;
  readonly #other: number;
  readonly #port: MessagePort;
  readonly #poll: NodeJS.Timeout;
  #ready: (() => boolean) | undefined;
  #onWake: (() => void) | undefined;

  constructor(
    memory: SharedMemory,
    end: RingEnd,
    port: MessagePort,
    options: PortWakeOptions = {},
  ) {
    this.#control = controlWords(memory);
    const flags = [WORD_PRODUCER_ASLEEP, WORD_CONSUMER_ASLEEP] as const;
    [this.#own, this.#other] = end === 'producer' ? flags : [flags[1], flags[0]];
    this.#port = port;
    port.on('message', this.#look);
    if (!options.keepAlive) port.unref();
    this.#poll = setInterval(this.#look, options.pollMs ?? POLL_MS).unref();
  }

  sleep(ready: () => boolean, onWake: () => void): void {
    this.#ready = ready;
    this.#onWake = onWake;
    Atomics.store(this.#control, this.#own, 1);
    if (!ready()) return;
    Atomics.store(this.#control, this.#own, 0);
    setImmediate(this.#look);
  }

  wake(): void {
    if (Atomics.load(this.#control, this.#other) === 0) return;
    // Only this end clears it while the other sleeps: one message a sleep.
    if (Atomics.exchange(this.#control, this.#other, 0) === 1) this.#port.postMessage(null);
  }

  close(): void {
    this.#ready = undefined;
    this.#onWake = undefined;
    clearInterval(this.#poll);
    this.#port.close();
  }

  /** A message may be left from an earlier sleep, so it is only a reason to look. */
  readonly #look = () => {
    if (this.#ready === undefined) return;
    Atomics.store(this.#control, this.#own, 1);
    if (!this.#ready()) return;
    Atomics.store(this.#control, this.#own, 0);
    const onWake = this.#onWake!;
    this.#ready = undefined;
    this.#onWake = undefined;
    onWake();
  };
}

/** An end on the thread of the other one: the two of `inlineWakes` know each other. */
class InlineWake implements Wake {
  readonly #later: boolean;
  other!: InlineWake;
  #ready: (() => boolean) | undefined;
  #onWake: (() => void) | undefined;

  constructor(later: boolean) {
    this.#later = later;
  }

  sleep(ready: () => boolean, onWake: () => void): void {
    this.#ready = ready;
    this.#onWake = onWake;
    if (ready()) setImmediate(this.#look);
  }

  wake(): void {
    const { other } = this;
    if (other.#ready === undefined) return;
    if (other.#later) setImmediate(other.#look);
    else other.#look();
  }

  close(): void {
    this.#ready = undefined;
    this.#onWake = undefined;
  }

  readonly #look = () => {
    if (!this.#ready?.()) return;
    const onWake = this.#onWake!;
    this.#ready = undefined;
    this.#onWake = undefined;
    onWake();
  };
}

/**
 * Both ends for one thread (`threads: inline`). The producer's `wake()` calls the consumer's
 * callback before it returns; the consumer's `wake()` has the producer's called by `setImmediate`,
 * so that neither runs within the other's work.
 */
export function inlineWakes(): { producer: Wake; consumer: Wake } {
  const producer = new InlineWake(true);
  const consumer = new InlineWake(false);
  producer.other = consumer;
  consumer.other = producer;
  return { producer, consumer };
}

/** Blocks the calling thread: for a moment, in a reader that has nothing else to do. */
export function pauseThread(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}
