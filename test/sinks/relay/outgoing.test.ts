import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Closed, ConnectionEvents } from '../../../src/net/connection.js';
import {
  OUTGOING_BYTES_MAX,
  Outgoing,
  WRITE_DEADLINE_MS,
} from '../../../src/sinks/relay/outgoing.js';

/** A connection whose kernel takes bytes when it is told to. */
class Rig {
  now = 1;
  writable = true;
  readonly written: Buffer[] = [];
  readonly #flushes: (() => void)[] = [];
  ended = 0;
  flushed = 0;
  closed: Closed | undefined;
  events!: ConnectionEvents;
  readonly outgoing: Outgoing;

  constructor() {
    const rig = this;
    this.outgoing = new Outgoing(
      (events) => {
        this.events = events;
        return {
          get writable() {
            return rig.writable;
          },
          write: (bytes, flushed) => {
            this.written.push(bytes);
            if (flushed) this.#flushes.push(flushed);
            this.writable = false;
          },
          end: () => {
            this.ended += 1;
          },
          destroy: () => events.closed({ finished: false, answered: false }),
        };
      },
      () => this.now,
      {
        open: () => {},
        room: () => {},
        flushed: (bytes) => {
          this.flushed = bytes;
        },
        closed: (how) => {
          this.closed = how;
        },
      },
    );
    this.events.open();
  }

  /** The kernel takes the oldest write. */
  flush(): void {
    this.#flushes.shift()!();
    this.writable = true;
    this.events.drain();
  }
}

describe('a connection to an upstream', () => {
  it('gathers small frames, in order, and counts what the kernel took', () => {
    const rig = new Rig();
    const pieces = Array.from({ length: 50 }, (_, index) => Buffer.alloc(100, index));
    rig.outgoing.add(pieces);
    rig.outgoing.settle();
    assert.equal(rig.written.length, 1);
    assert.deepEqual(rig.written[0], Buffer.concat(pieces));
    assert.equal(rig.flushed, 0);
    rig.flush();
    assert.equal(rig.flushed, 5_000);
    assert.equal(rig.outgoing.isFlushed, true);
  });

  it('has room for so much and no more, and is hungry when it has nothing', () => {
    const rig = new Rig();
    assert.equal(rig.outgoing.isHungry, true);
    rig.outgoing.add([Buffer.alloc(OUTGOING_BYTES_MAX + 200_000)]);
    assert.equal(rig.outgoing.hasRoom, false);
    rig.outgoing.settle();
    assert.equal(rig.outgoing.isHungry, false);
    for (let writes = 0; !rig.outgoing.isFlushed; writes += 1) {
      assert.ok(writes < 10);
      rig.flush();
    }
    assert.equal(rig.outgoing.hasRoom && rig.outgoing.isLow && rig.outgoing.isHungry, true);
  });

  it('a peer that takes nothing is given up after the deadline, one that is idle is not', () => {
    const rig = new Rig();
    rig.now += 2 * WRITE_DEADLINE_MS;
    rig.outgoing.checkDeadline();
    assert.equal(rig.closed, undefined, 'nothing waits');
    rig.outgoing.add([Buffer.alloc(300_000)]);
    rig.outgoing.settle();
    rig.now += WRITE_DEADLINE_MS - 1;
    rig.outgoing.checkDeadline();
    assert.equal(rig.closed, undefined);
    rig.flush();
    rig.now += WRITE_DEADLINE_MS - 1;
    rig.outgoing.checkDeadline();
    assert.equal(rig.closed, undefined, 'it takes some');
    rig.now += 1;
    rig.outgoing.checkDeadline();
    assert.match(String(rig.closed!.error?.message), /has taken nothing for 30 s/);
  });

  it('ends behind all that was added, once', () => {
    const rig = new Rig();
    rig.outgoing.add([Buffer.alloc(200_000)]);
    rig.outgoing.end();
    rig.outgoing.end();
    assert.equal(rig.ended, 0);
    assert.equal(rig.outgoing.hasRoom, false);
    rig.flush();
    rig.flush();
    assert.equal(rig.ended, 1);
    assert.equal(Buffer.concat(rig.written).length, 200_000);
  });
});
