import assert from 'node:assert/strict';
import { inFlightOf } from '../../src/spool/account.js';
import { RecordKind } from '../../src/spool/layout.js';
import { decodeEnd, decodeOpen, type SpoolSession } from '../../src/spool/session-record.js';
import { Spool } from '../../src/spool/spool.js';
import type { BlockReader, SpoolBlock, SpoolOptions, SpoolRecord } from '../../src/spool/types.js';
import { encodeFrame } from '../../src/wire/header.js';
import type { Random } from '../assembly/harness.js';

const KEY = Buffer.from('key');
/** How long a block that must be there is waited for. */
export const BLOCK_MS_MAX = 20_000;

interface ModelSession {
  ref: number;
  session: SpoolSession;
  frames: number;
  bytes: number;
  isOpen: boolean;
}

interface ModelRecord {
  kind: number;
  ref: number;
  sensor: string;
  type: number;
  /** Of a FRAME. */
  data: Buffer | undefined;
  frames: number;
  bytes: number;
}

export function sensorOf(index: number): string {
  return `00000000-0000-4000-8000-${String(index).padStart(12, '0')}`;
}

export function frameOf(sensor: string, type: number, payload: Buffer): Buffer {
  return encodeFrame({ type, uuid: sensor, timestamp: 1_700_000_000, key: KEY, payload });
}

/**
 * A spool beside a list of what it must hold: every record that was appended and not released, in
 * order, by its sequence number.
 */
export class Model {
  readonly records = new Map<number, ModelRecord>();
  /** In custody, by session id, as the spool has told. */
  readonly custody = new Map<string, { frames: number; bytes: number }>();
  readonly dropped = { frames: 0, bytes: 0 };
  readonly #random: Random;
  readonly #options: Omit<SpoolOptions, 'custody'>;
  readonly #known = new Map<number, SpoolSession>();
  #sessions: ModelSession[] = [];
  spool!: Spool;
  #reader: BlockReader | undefined;
  /** The last that the reader gave. */
  #read = 0;
  #ids = 0;

  constructor(random: Random, options: Omit<SpoolOptions, 'custody'>) {
    this.#random = random;
    this.#options = options;
  }

  async open(): Promise<void> {
    this.spool = await Spool.open({
      ...this.#options,
      custody: ({ id }, frames, bytes) => {
        const held = this.custody.get(id) ?? { frames: 0, bytes: 0 };
        this.custody.set(id, { frames: held.frames + frames, bytes: held.bytes + bytes });
      },
    });
    this.#known.clear();
    this.#read = this.spool.cursor;
  }

  openSession(): void {
    const random = this.#random;
    const type = random.pick([1, 3, 254]);
    const sensor = sensorOf(random.below(3));
    const id = `s${this.#ids}`;
    this.#ids += 1;
    const wire = Buffer.concat([
      frameOf(sensor, 2, Buffer.from('{"type":"x"}')),
      frameOf(sensor, 2, Buffer.alloc(0)),
    ]);
    const meta = { type: 'x', bytes: Buffer.from('{"type":"x"}'), frames: 2, wire };
    const openedAt = new Date(1_700_000_000_000);
    const session = { id, sensor, type, openedAt, ...(type === 254 ? { meta } : {}) };
    const ref = this.spool.openSession(session);
    const [frames, bytes] = type === 254 ? [2, 12] : [0, 0];
    this.#sessions.push({ ref, session, frames, bytes, isOpen: true });
    const record = { kind: RecordKind.OPEN, ref, sensor, type, data: undefined, frames, bytes };
    this.records.set(this.spool.lastSeq, record);
  }

  append(payloadBytes: number): void {
    const session = this.#anyOpen();
    if (session === undefined) return;
    const { sensor, type } = session.session;
    const payload = this.#random.bytes(Math.min(payloadBytes, 256));
    const data = frameOf(
      sensor,
      type,
      Buffer.concat([payload, Buffer.alloc(Math.max(0, payloadBytes - 256), payloadBytes)]),
    );
    const memory = Buffer.concat([Buffer.alloc(5), data, Buffer.alloc(3)]);
    const seq = this.spool.append(session.ref, memory, 5, data.length);
    memory.fill(0);
    session.frames += 1;
    session.bytes += payloadBytes;
    const record = { kind: RecordKind.FRAME, ref: session.ref, sensor, type, data };
    this.records.set(seq, { ...record, frames: 1, bytes: payloadBytes });
  }

  endSession(): void {
    const session = this.#anyOpen();
    if (session !== undefined) this.#end(session, this.spool.endSession(session.ref, 'closed', ''));
  }

  /** What the reader gives next must be what comes next; false where nothing is there. */
  async readOne(): Promise<boolean> {
    if (this.#read >= this.spool.lastSeq) return false;
    this.#reader ??= this.spool.blocks(this.#read + 1);
    const block = await within(this.#reader.next());
    assert.ok(block, 'the reader ended');
    this.#check(block);
    return true;
  }

  async readAll(): Promise<void> {
    while (await this.readOne());
  }

  /** A reader that begins anew somewhere behind the cursor. */
  reread(): void {
    this.#reader?.close();
    this.#reader = undefined;
    const behind = this.#random.below(Math.max(1, this.#read - this.spool.cursor + 1));
    this.#read = Math.max(this.spool.cursor, this.#read - behind);
  }

  /** Releases some of what was read, and says so to the account as a relay does. */
  release(all = false): void {
    const { cursor, account } = this.spool;
    const left = this.#read - cursor;
    if (left <= 0) return;
    const to = all ? this.#read : cursor + 1 + this.#random.below(left);
    for (let seq = cursor + 1; seq <= to; seq += 1) {
      const record = this.records.get(seq);
      if (record === undefined) continue;
      account.add(record.sensor, record.type, 'sent', record.frames, record.bytes);
      this.records.delete(seq);
    }
    this.spool.release(to);
  }

  drop(): void {
    const before = this.spool.cursor;
    const { frames, bytes } = this.spool.dropOldest();
    this.dropped.frames += frames;
    this.dropped.bytes += bytes;
    const sum = { frames: 0, bytes: 0 };
    for (let seq = before + 1; seq <= this.spool.cursor; seq += 1) {
      const record = this.records.get(seq);
      if (record === undefined) continue;
      sum.frames += record.frames;
      sum.bytes += record.bytes;
      this.records.delete(seq);
    }
    assert.deepEqual({ frames, bytes }, sum, 'what was dropped');
    this.#read = Math.max(this.#read, this.spool.cursor);
    this.#reader?.close();
    this.#reader = undefined;
  }

  /** In custody and not done with: the account must say the same, by sensor and type. */
  async checkAccount(): Promise<void> {
    await this.spool.flush();
    const expected = new Map<string, { frames: number; bytes: number }>();
    for (const { sensor, type, frames, bytes } of this.records.values()) {
      const key = `${sensor}/${type}`;
      const sum = expected.get(key) ?? { frames: 0, bytes: 0 };
      expected.set(key, { frames: sum.frames + frames, bytes: sum.bytes + bytes });
    }
    for (const { sensor, type, amounts } of this.spool.account.streams) {
      const key = `${sensor}/${type}`;
      assert.deepEqual(inFlightOf(amounts), expected.get(key) ?? { frames: 0, bytes: 0 }, key);
      expected.delete(key);
    }
    for (const [key, { frames }] of expected)
      assert.equal(frames, 0, `${key} is not accounted for`);
    for (const { session, frames, bytes, isOpen } of this.#sessions) {
      if (!isOpen) continue;
      assert.deepEqual(this.custody.get(session.id) ?? { frames: 0, bytes: 0 }, { frames, bytes });
    }
  }

  /** Closes it in order and opens it again: sessions that were open get their END. */
  async reopen(): Promise<void> {
    this.#reader?.close();
    this.#reader = undefined;
    await this.spool.close();
    await this.open();
    for (const session of this.#sessions.filter(({ isOpen }) => isOpen)) {
      // In the order of their refs, which is that of the account.
      session.isOpen = false;
    }
    const first = Math.max(0, ...this.records.keys());
    for (let seq = first + 1; seq <= this.spool.lastSeq; seq += 1) {
      this.records.set(seq, { ...ANY_END });
    }
    this.#sessions = [];
  }

  #anyOpen(): ModelSession | undefined {
    const open = this.#sessions.filter(({ isOpen }) => isOpen);
    return open.length === 0 ? undefined : this.#random.pick(open);
  }

  #end(session: ModelSession, seq: number): void {
    session.isOpen = false;
    const { sensor, type } = session.session;
    const record = { kind: RecordKind.END, ref: session.ref, sensor, type, data: undefined };
    this.records.set(seq, { ...record, frames: 0, bytes: 0 });
  }

  #check(block: SpoolBlock): void {
    for (const record of block.records()) {
      if (record.seq <= this.#read) continue;
      for (let seq = this.#read + 1; seq < record.seq; seq += 1) {
        assert.ok(!this.records.has(seq), `record ${seq} was not given`);
      }
      this.#read = record.seq;
      this.#checkRecord(record);
    }
    for (const { opens, ref, session } of block.sessions) if (!opens) this.#known.set(ref, session);
  }

  #checkRecord({ seq, kind, ref, data, session }: SpoolRecord): void {
    const expected = this.records.get(seq);
    assert.ok(expected, `record ${seq} was never appended, or is released`);
    assert.ok(session, `record ${seq} has no session`);
    assert.equal(kind, expected.kind);
    if (expected === undefined || expected.sensor === '') return;
    assert.deepEqual(
      [ref, session.sensor, session.type],
      [expected.ref, expected.sensor, expected.type],
    );
    if (kind === RecordKind.FRAME) assert.ok(data.equals(expected.data!), `frame ${seq}`);
    else if (kind === RecordKind.OPEN) assert.deepEqual(decodeOpen(data)?.session, session);
    else assert.ok(decodeEnd(data));
  }
}

const ANY_END = {
  kind: RecordKind.END,
  ref: 0,
  sensor: '',
  type: 0,
  data: undefined,
  frames: 0,
  bytes: 0,
} as const;

export async function within<T>(promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing within ${BLOCK_MS_MAX} ms`)), BLOCK_MS_MAX);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
