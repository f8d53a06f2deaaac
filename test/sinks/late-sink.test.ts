import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { pino } from 'pino';
import { LateSink } from '../../src/sinks/late-sink.js';
import type { FrameRef, Sink, SinkSession, SinkStream } from '../../src/sinks/sink.js';
import { HEADER_BYTES } from '../../src/wire/layout.js';
import { within } from '../spool/model.js';

const FRAME_AT = 100;
const memory = Buffer.alloc(1_000);
const session = { id: 'a', sensor: 'sensor', type: 3 } as SinkSession;

/** A sink that starts once it may, and what it took. */
class Target implements Sink {
  readonly name = 'late';
  readonly kind = 'test';
  readonly taken: string[] = [];
  declined: string | undefined;
  mayStart = false;
  started = () => {};
  readonly isStarted = new Promise<void>((resolve) => {
    this.started = resolve;
  });

  async start(): Promise<void> {
    if (!this.mayStart) throw new Error('no disk');
    this.started();
  }

  declines(): string | undefined {
    return this.declined;
  }

  open(): SinkStream {
    this.taken.push('open');
    return {
      write: (frame: FrameRef) => {
        const { header, size } = frame;
        const from = header + HEADER_BYTES;
        const bytes = Buffer.from(frame.memory ?? memory).toString('latin1', from, from + size);
        this.taken.push(bytes);
        return true;
      },
      end: async (how) => {
        this.taken.push(`end ${how?.code}`);
      },
    };
  }

  async close(): Promise<void> {
    this.taken.push('closed');
  }
}

function lateOf(context: TestContext) {
  const target = new Target();
  const drains: string[] = [];
  const failed = new Target();
  const late = new LateSink({
    sink: failed,
    error: new Error('no disk'),
    make: () => target,
    drain: () => drains.push('drain'),
    memory,
    log: pino({ level: 'silent' }),
  });
  context.after(() => late.close(100));
  return { late, target, drains };
}

function write(stream: SinkStream, text: string): boolean {
  memory.write(text, FRAME_AT + HEADER_BYTES, 'latin1');
  const payload = FRAME_AT + HEADER_BYTES;
  const isTaken = stream.write({ header: FRAME_AT, payload, size: text.length, type: 3 });
  memory.fill(0);
  return isTaken;
}

test('what came before a sink has started is given on in order, then it is passed through', async (context) => {
  const { late, target, drains } = lateOf(context);
  const stream = late.open(session);
  assert.equal(write(stream, 'one'), false);
  assert.equal(write(stream, 'two'), false);
  const { state, isKeeping, lastError } = late.status();
  assert.deepEqual([state, isKeeping, lastError?.text], ['failing', false, 'no disk']);
  target.mayStart = true;
  await within(target.isStarted);
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual([target.taken, drains], [['open', 'one', 'two'], ['drain']]);
  assert.equal(write(stream, 'three'), true);
  await within(stream.end({ code: 'closed', detail: '' }));
  assert.deepEqual(target.taken.slice(3), ['three', 'end closed']);
  assert.equal(late.status().state, 'ok');
});

test('a stream that the sink declines once it has started does not reach it', async (context) => {
  const { late, target } = lateOf(context);
  const stream = late.open(session);
  write(stream, 'one');
  target.declined = 'loop';
  target.mayStart = true;
  await within(target.isStarted);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(write(stream, 'two'), true);
  await within(stream.end());
  assert.deepEqual(target.taken, []);
});

/** They would have waited for ever, with what else they go to. */
test('one that is removed before it has started lets its sessions go', async (context) => {
  const { late, drains } = lateOf(context);
  const stream = late.open(session);
  assert.equal(write(stream, 'one'), false);
  const end = stream.end();
  late.giveUp();
  await within(end);
  assert.deepEqual(drains, ['drain']);
  assert.equal(write(late.open(session), 'two'), true);
  await assert.rejects(async () => await stream.sync?.(), /has not started/);
});
