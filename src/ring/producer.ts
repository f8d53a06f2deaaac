import { assert } from './assert.js';
import {
  assertRingShape,
  controlWords,
  distance,
  type SharedMemory,
  WORD_BYTE_TAIL,
  WORD_HEAD,
  WORD_TAIL,
} from './control.js';
import { DescriptorTable } from './descriptors.js';
import { FrameStatus, GUARD_BYTES, Kind, type MemoryMap, Place, regionBytesMax } from './layout.js';
import { type ReleaseCallback, ReleaseQueue } from './release-queue.js';
import type { Wake } from './wait.js';

/**
 * From so far in, an empty ring begins anew at its start, whose bytes the caches still hold: two
 * turns of the event loop's reads. The bytes it skips count as used until the next release, so they
 * must leave room for what may come before it.
 */
const RESTART_BYTES = 1024 * 1024;

/**
 * The writing end of the ring: one thread alone. Sequences (of descriptors) and positions (of ring
 * bytes) are u32 counters mod 2^32; masked, they are an index and an offset.
 *
 *   descriptors     tail                     head                      tail + descriptors
 *   ────────────────┼────────────────────────┼─────────────────────────┼──▶ sequence
 *     released      │ published: consumer's  │ free: written ahead     │
 *
 *   byte ring       byteTail       position        releaseBase    limit   byteTail + ringBytes
 *   ────────────────┼──────────────┼───────────────┼──────────┼───┼───────┼──▶ position
 *     released      │ published    │ gap at a wrap │ reserved │   │ guard │      (or at a restart)
 *
 *   tail ≤ head ≤ tail + descriptors
 *   byteTail ≤ position ≤ releaseBase ≤ releaseBase + reserved ≤ limit
 *   limit = byteTail + ringBytes - GUARD_BYTES
 *   tail = head  ⇒  byteTail = position
 *
 * The guard: its bytes lie in the ring in front of the byte tail, thus of the oldest record that is
 * not released, where the consumer may be at work on a frame (GUARD_BYTES in layout.ts). A byte
 * tail read too early only makes the limit lower.
 *
 * The last law is why the ring cannot lock up: `publish` takes whole frames only, so a ring whose
 * descriptors are all released is wholly free, and a region of at most `regionBytesMax` fits into
 * it wherever it begins: gap < region, thus gap + region + guard < 2 regions + guard = ringBytes.
 *
 * The path of a chunk: `reserve`, copy, `scan` (writes descriptors at `head`), `publish`; then
 * `wake` once for all chunks of a tick, and `reclaim`.
 */
export class RingProducer {
  readonly #control: Uint32Array;
  readonly #ring: Uint8Array;
  readonly #ringBase: number;
  readonly #ringBytes: number;
  readonly #regionBytesMax: number;
  readonly #descriptors: number;
  readonly #table: DescriptorTable;
  readonly #queue: ReleaseQueue;
  readonly #wake: Wake;

  #head: number;
  #position: number;
  #releaseBase: number;
  #reserved = 0;
  /** The tail as it was when something last did not fit: `onSpace` waits for it to move. */
  #tailWhenFull: number;
  #onSpace: (() => void) | undefined;
  /** Something was published since the consumer was last woken. */
  #isUntold = false;

  /**
   * Goes on from what the control words say (zeroes in a new memory); the ring must be empty.
   * @param memory the worker's shared memory
   * @param wake the producer's end, from `wait.ts`; closed by its owner
   */
  constructor(memory: SharedMemory, map: MemoryMap, wake: Wake) {
    assertRingShape(map);
    this.#control = controlWords(memory);
    this.#ring = new Uint8Array(memory.buffer, map.ringBase, map.ringBytes);
    this.#ringBase = map.ringBase;
    this.#ringBytes = map.ringBytes;
    this.#regionBytesMax = regionBytesMax(map.ringBytes);
    this.#descriptors = map.descriptors;
    this.#table = new DescriptorTable(memory, map);
    this.#queue = new ReleaseQueue(map.descriptors);
    this.#wake = wake;
    this.#head = Atomics.load(this.#control, WORD_HEAD);
    this.#position = Atomics.load(this.#control, WORD_BYTE_TAIL);
    this.#releaseBase = this.#position;
    this.#tailWhenFull = Atomics.load(this.#control, WORD_TAIL);
    assert(this.#tailWhenFull === this.#head, 'a producer begins with an empty ring');
  }

  /** Sequence (u32) of the next descriptor to be published. */
  get head(): number {
    return this.#head;
  }

  /** Position (u32) of the region last reserved: a frame's RELEASE is this plus its end in it. */
  get releaseBase(): number {
    return this.#releaseBase;
  }

  /** Descriptors that can be written from `head` on. */
  room(): number {
    const tail = Atomics.load(this.#control, WORD_TAIL);
    const room = this.#descriptors - distance(tail, this.#head);
    if (room === 0) this.#tailWhenFull = tail;
    return room;
  }

  /** Descriptors published and not yet released; 0: the consumer is done with everything. */
  unreleased(): number {
    return distance(Atomics.load(this.#control, WORD_TAIL), this.#head);
  }

  /** Bytes of the ring in use, gaps included: for a gauge. */
  usedBytes(): number {
    return distance(Atomics.load(this.#control, WORD_BYTE_TAIL), this.#position);
  }

  /**
   * Sets contiguous ring space aside, until `publish` takes it or gives it back; only one region
   * at a time.
   * @param bytes 1 to `regionBytesMax`
   * @returns its address in the memory, or 0 when there is not that much: see `onSpace`
   */
  reserve(bytes: number): number {
    assert(bytes >= 1 && bytes <= this.#regionBytesMax, 'reserve: 1 to regionBytesMax');
    assert(this.#reserved === 0, 'reserve: the region before it was published');
    // The tail before the byte tail: the consumer stores them the other way round, so a release
    // that this byte tail misses is one that moves the tail later, and `onSpace` sees it.
    const tail = Atomics.load(this.#control, WORD_TAIL);
    const used = distance(Atomics.load(this.#control, WORD_BYTE_TAIL), this.#position);
    const offset = this.#position & (this.#ringBytes - 1);
    const toEnd = this.#ringBytes - offset;
    const restarts = used === 0 && offset >= RESTART_BYTES;
    const gap = bytes <= toEnd && !restarts ? 0 : toEnd;
    if (used + gap + bytes > this.#ringBytes - GUARD_BYTES) {
      this.#tailWhenFull = tail;
      return 0;
    }
    this.#reserved = bytes;
    this.#releaseBase = (this.#position + gap) >>> 0;
    return this.#ringBase + (gap === 0 ? offset : 0);
  }

  /**
   * Ends the reservation: makes the `count` descriptors written at `head` visible, and keeps the
   * first `bytes` of the region, the end of the last one's frame. `publish(0, 0)` gives it all
   * back. Does not wake the consumer: see `wake`.
   */
  publish(count: number, bytes: number): void {
    assert(bytes <= this.#reserved, 'publish: within the region reserved');
    assert(count > 0 === bytes > 0, 'publish: whole frames only');
    this.#reserved = 0;
    if (count === 0) return;
    const tail = Atomics.load(this.#control, WORD_TAIL);
    const used = distance(tail, this.#head) + count;
    assert(used <= this.#descriptors, 'publish: within the room for descriptors');
    this.#advance(count, (this.#releaseBase + bytes) >>> 0);
  }

  /**
   * Publishes a frame that stands in the arena, where it stays until `afterRelease` calls back.
   * @param address of its header
   * @param size payload bytes
   * @returns false when there is no descriptor for it
   */
  pushFrame(
    address: number,
    size: number,
    session: number,
    generation: number,
    type: number,
  ): boolean {
    assert(this.#reserved === 0, 'pushFrame: no region is reserved');
    if (this.room() === 0) return false;
    this.#table.write(this.#head, {
      address,
      size,
      session,
      generation,
      kind: Kind.FRAME,
      type,
      status: FrameStatus.PENDING,
      place: Place.ARENA,
      release: this.#position,
    });
    this.#advance(1, this.#position);
    return true;
  }

  /**
   * Publishes a session's OPEN or END, or a MARK, with its text, which is copied.
   * @param code `End` or `Reject` code of an END; else 0
   * @param text at most `regionBytesMax`
   * @returns false when there is no room for it
   */
  pushEvent(
    kind: typeof Kind.OPEN | typeof Kind.END | typeof Kind.MARK,
    session: number,
    generation: number,
    code: number,
    text: Uint8Array,
  ): boolean {
    assert(this.#reserved === 0, 'pushEvent: no region is reserved');
    if (this.room() === 0) return false;
    const size = text.length;
    this.#releaseBase = this.#position;
    const address = size === 0 ? this.#ringBase : this.reserve(size);
    if (address === 0) return false;
    this.#reserved = 0;
    this.#ring.set(text, address - this.#ringBase);
    const release = (this.#releaseBase + size) >>> 0;
    this.#table.write(this.#head, {
      address,
      size,
      session,
      generation,
      kind,
      type: 0,
      status: code,
      place: Place.RING,
      release,
    });
    this.#advance(1, release);
    return true;
  }

  /** Wakes the consumer if it sleeps; once after each batch of `publish`, or it polls only. */
  wake(): void {
    if (!this.#isUntold) return;
    this.#isUntold = false;
    this.#wake.wake();
  }

  /**
   * Calls back once, later, when the consumer has released anything since the ring was last found
   * full (by `reserve`, `pushFrame`, `pushEvent`, or a `room` of 0) or since the last such call;
   * `reclaim` has run then, so it serves an owner who waits for an arena block too. For one owner:
   * until then only the same callback may be passed again, which changes nothing.
   * To wait until all is released, ask `unreleased()` in the callback and wait again.
   */
  onSpace(callback: () => void): void {
    if (this.#onSpace === callback) return;
    assert(this.#onSpace === undefined, 'onSpace: one callback at a time');
    this.#onSpace = callback;
    const tailWhenFull = this.#tailWhenFull;
    this.#wake.sleep(
      () => Atomics.load(this.#control, WORD_TAIL) !== tailWhenFull,
      () => {
        this.#onSpace = undefined;
        this.#tailWhenFull = Atomics.load(this.#control, WORD_TAIL);
        this.reclaim();
        callback();
      },
    );
  }

  /**
   * Has `reclaim` call `callback(value)` once the descriptor `sequence` has been released: the
   * arena block of a frame is then free, the slot of an ended session reusable.
   * @param sequence of a published descriptor, such as `head - 1`; rising from call to call
   */
  afterRelease(sequence: number, callback: ReleaseCallback, value = 0): void {
    const behind = distance(sequence, this.#head);
    assert(behind >= 1 && behind <= this.#descriptors, 'afterRelease: of a published descriptor');
    // Full means that the oldest has been released: see ReleaseQueue.
    if (this.#queue.full) this.reclaim();
    this.#queue.push(sequence, callback, value);
  }

  /** Runs what `afterRelease` queued for descriptors released by now, in order: once a tick. */
  reclaim(): number {
    return this.#queue.count === 0 ? 0 : this.#queue.run(Atomics.load(this.#control, WORD_TAIL));
  }

  /** Asserts the laws in the figure above. */
  invariants(): void {
    const tail = Atomics.load(this.#control, WORD_TAIL);
    const byteTail = Atomics.load(this.#control, WORD_BYTE_TAIL);
    const published = distance(tail, this.#head);
    const used = distance(byteTail, this.#position);
    assert(published <= this.#descriptors, 'tail <= head <= tail + descriptors');
    const limit = this.#ringBytes - GUARD_BYTES;
    assert(used <= limit, 'byteTail <= position <= limit');
    assert(published > 0 || used === 0, 'tail = head implies byteTail = position');
    if (this.#reserved > 0) {
      const reservedEnd = distance(byteTail, (this.#releaseBase + this.#reserved) >>> 0);
      const gap = distance(this.#position, this.#releaseBase);
      assert(used + gap + this.#reserved === reservedEnd, 'position <= releaseBase');
      assert(reservedEnd <= limit, 'releaseBase + reserved <= limit');
    }
  }

  #advance(count: number, position: number): void {
    const head = (this.#head + count) >>> 0;
    const last = this.#table.releasePosition((head - 1) >>> 0);
    assert(last === position, 'the last descriptor releases all that is published');
    this.#head = head;
    this.#position = position;
    // Payload and descriptors were stored before: whoever loads this head sees them.
    Atomics.store(this.#control, WORD_HEAD, head);
    this.#isUntold = true;
    this.invariants();
  }
}
