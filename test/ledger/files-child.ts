import { pino } from 'pino';
import { LedgerJournal } from '../../src/ledger/journal.js';
import type { SessionRow } from '../../src/ledger/session-row.js';
import { FilesSink } from '../../src/sinks/files/files-sink.js';
import type { Compression } from '../../src/sinks/files/names.js';
import { blocksOf } from '../../src/sinks/files/pool.js';
import type { SinkHost, SinkSession, SinkStream } from '../../src/sinks/sink.js';
import { META, type Random, seeded, sensorUuid } from './simulation.js';

/**
 * A worker with a real files sink, to be killed: JOURNAL DIR COMPRESSION SEED. Each session has a
 * sensor of its own. Nobody folds its sessions.
 */
const [path, dir, compress, seed] = process.argv.slice(2);
const FRAME_AT = 4096;
const POOL_AT = 65536;
const POOL_BYTES = 4 * 1024 * 1024;
const SLOTS = 20_000;
const OPEN_MAX = 20;

/** A pcap stream, or lines, without end. */
function* content(type: number, random: Random): Generator<Buffer> {
  if (type === 1) {
    const header = Buffer.alloc(24);
    header.writeUInt32LE(0xa1b2c3d4);
    header.writeUInt16LE(2, 4);
    header.writeUInt16LE(4, 6);
    header.writeUInt32LE(65535, 16);
    header.writeUInt32LE(1, 20);
    yield header;
  }
  for (let line = 0; ; line += 1) {
    const size = 20 + random(800);
    if (type !== 1) yield Buffer.from(`${line} ${'x'.repeat(size)}\n`);
    else {
      const record = Buffer.alloc(16 + size, random(256));
      record.writeUInt32LE(line, 0);
      record.writeUInt32LE(0, 4);
      record.writeUInt32LE(size, 8);
      record.writeUInt32LE(size, 12);
      yield record;
    }
  }
}

class Stream {
  frames = 0;
  bytes = 0;
  #rest = Buffer.alloc(0);
  constructor(
    readonly session: SinkSession,
    readonly row: SessionRow,
    readonly stream: SinkStream,
    readonly source: Generator<Buffer>,
  ) {}

  /** The next frame's payload, cut anywhere. */
  next(size: number): Buffer {
    while (this.#rest.length < size) {
      this.#rest = Buffer.concat([this.#rest, this.source.next().value]);
    }
    const payload = this.#rest.subarray(0, size);
    this.#rest = this.#rest.subarray(size);
    return payload;
  }
}

const random = seeded(Number(seed));
const memory = new Uint8Array(new SharedArrayBuffer(POOL_AT + POOL_BYTES));
const journal = new LedgerJournal(path!, { sinks: ['disk'], sessions: SLOTS });
const rows = new Map<string, SessionRow>();
let drained: (() => void) | undefined;
const host: SinkHost = {
  memory,
  copy: (target, source, bytes) => memory.copyWithin(target, source, source + bytes),
  log: pino({ level: 'silent' }),
  place: { dataDir: '/nowhere', gateway: 'g', worker: 0, workers: 1 },
  blocks: blocksOf(POOL_AT, POOL_BYTES),
  poolBytes: POOL_BYTES,
  delivered: (session, frames, bytes) => rows.get(session.id)!.delivered(0, frames, bytes),
  drain: () => drained?.(),
  keyOf: () => undefined,
  note: () => {},
  journal,
};
const sink = new FilesSink(
  'disk',
  {
    dir: dir!,
    rotateSeconds: 300,
    rotateBytes: 20_000,
    compress: compress as Compression,
    fsync: 'never',
    fsyncIntervalMs: 1_000,
    flushMs: 2,
  },
  host,
);

let opened = 0;
function open(): Stream {
  const slot = opened;
  opened += 1;
  const type = [1, 3, 254][random(3)]!;
  const id = `${seed}.${slot}`;
  const sensor = sensorUuid(Number(seed) * SLOTS + slot);
  const openedAt = new Date();
  const row = journal.openSession({ id, slot, sensor, type, openedAt: +openedAt }, [0]);
  rows.set(id, row);
  const session: SinkSession = {
    id,
    slot,
    sensor,
    type,
    openedAt,
    ...(type === 254 ? { meta: META } : {}),
  };
  const stream = new Stream(session, row, sink.open(session), content(type, random));
  if (type === 254) {
    stream.frames = META.frames;
    stream.bytes = META.bytes.length;
  }
  return stream;
}

async function write(stream: Stream): Promise<void> {
  const payload = stream.next(random(8) === 0 ? 0 : 1 + random(3_000));
  memory.set(payload, FRAME_AT + 62);
  stream.frames += 1;
  stream.bytes += payload.length;
  stream.row.received(stream.frames, stream.bytes);
  const { type } = stream.session;
  const frame = { header: FRAME_AT, payload: FRAME_AT + 62, size: payload.length, type };
  if (stream.stream.write(frame)) return;
  await new Promise<void>((resolve) => {
    drained = resolve;
  });
}

async function end(stream: Stream): Promise<void> {
  await stream.stream.end();
  stream.row.received(stream.frames, stream.bytes);
  const { received, delivered } = stream.row.totals('closed');
  if (delivered.disk?.bytes !== received.bytes || delivered.disk.frames !== received.frames) {
    throw new Error(`${stream.session.id}: ${JSON.stringify({ received, delivered })}`);
  }
  process.stdout.write('ended\n');
}

const streams: Stream[] = [];
setInterval(() => journal.sync(), 5);
for (let step = 0; ; step += 1) {
  if (streams.length < OPEN_MAX) streams.push(open());
  const index = random(streams.length);
  await write(streams[index]!);
  if (random(40) === 0) void end(streams.splice(index, 1)[0]!);
  if (step % 8 === 0) await new Promise(setImmediate);
}
