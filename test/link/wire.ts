import type { Batch, SendBlock, SendLog, SendReader } from '../../src/sinks/relay/link/sender.js';
import { BlockBuilder } from '../../src/spool/block-builder.js';
import { BlockFlag, RECORD_CONTINUED, RecordKind } from '../../src/spool/layout.js';
import { encodeEnd, encodeOpen, type SpoolSession } from '../../src/spool/session-record.js';
import { encodeFrame } from '../../src/wire/header.js';

export interface ModelSession {
  session: SpoolSession;
  ref: number;
  frames: number;
  bytes: number;
}

export interface ModelBlock extends SendBlock {
  readonly count: number;
}

/** A spool as simple as can be: blocks in memory. */
export class ModelLog implements SendLog<ModelBlock> {
  readonly blocks_: ModelBlock[] = [];
  readonly live = new Map<number, ModelSession>();
  firstSeq = 1;
  #next = 1;
  #ref = 1;
  #builder: BlockBuilder | undefined;
  #spans = new Map<number, { ref: number; opens: boolean; ends: boolean }>();
  #before: { ref: number; session: SpoolSession; frames: number; bytes: number }[] = [];
  #waiting: (() => void)[] = [];

  get nextSeq(): number {
    return this.#next;
  }

  open(session: SpoolSession): number {
    const ref = this.#ref;
    this.#ref += 1;
    this.live.set(ref, { session, ref, frames: 0, bytes: 0 });
    const before = { frames: 0, bytes: 0 };
    this.#add(RecordKind.OPEN, ref, encodeOpen({ session, before }), true);
    return ref;
  }

  frame(ref: number, payload: Buffer): void {
    const state = this.live.get(ref)!;
    const { sensor: uuid, type } = state.session;
    const frame = encodeFrame({ type, uuid, timestamp: 1, key: Buffer.from('k'), payload });
    this.#add(RecordKind.FRAME, ref, frame);
    state.frames += 1;
    state.bytes += payload.length;
  }

  end(ref: number): void {
    const { frames, bytes } = this.live.get(ref)!;
    const total = { frames, bytes };
    this.#add(RecordKind.END, ref, encodeEnd({ code: 'closed', detail: '', total }));
    this.live.delete(ref);
  }

  /** Ends the block at hand. */
  finish(): void {
    const builder = this.#builder;
    if (!builder) return;
    const spans = [...this.#spans.values()];
    const before = this.#before;
    const { firstSeq } = builder;
    const count = this.#next - firstSeq;
    const bytes = builder.finish();
    this.blocks_.push({
      firstSeq,
      hold: () => {},
      letGo: () => {},
      lastSeq: firstSeq + count - 1,
      count,
      bytes,
      sessions: spans,
      preface() {
        if (before.length === 0) return undefined;
        const preface = new BlockBuilder(firstSeq, BlockBuilder.memoryFor(0), BlockFlag.PREFACE);
        for (const { ref, session, frames, bytes: done } of before) {
          const open = encodeOpen({ session, before: { frames, bytes: done } });
          preface.add(RecordKind.OPEN, RECORD_CONTINUED, ref, open);
        }
        return preface.finish();
      },
    });
    this.#builder = undefined;
    this.#spans = new Map();
    this.#before = [];
    for (const wake of this.#waiting.splice(0)) wake();
  }

  blocks(fromSeq: number): SendReader<ModelBlock> {
    let next = fromSeq;
    let isClosed = false;
    let wake: (() => void) | undefined;
    return {
      next: async () => {
        while (!isClosed) {
          const block = this.blocks_.find(({ lastSeq }) => lastSeq >= next);
          if (block) {
            next = block.lastSeq + 1;
            return block;
          }
          await new Promise<void>((resolve) => {
            wake = resolve;
            this.#waiting.push(resolve);
          });
        }
        return undefined;
      },
      close: () => {
        isClosed = true;
        wake?.();
      },
    };
  }

  async prepare({ bytes }: ModelBlock): Promise<Batch[]> {
    return [{ bytes, headroom: 0 }];
  }

  #add(kind: number, ref: number, data: Buffer, opens = false): void {
    this.#builder ??= new BlockBuilder(this.#next, BlockBuilder.memoryFor(data.length));
    if (!this.#builder.fits(data.length)) {
      this.finish();
      this.#builder = new BlockBuilder(this.#next, BlockBuilder.memoryFor(data.length));
    }
    const state = this.live.get(ref)!;
    if (!this.#spans.has(ref)) {
      this.#spans.set(ref, { ref, opens, ends: false });
      const { session, frames, bytes } = state;
      if (!opens) this.#before.push({ ref, session, frames, bytes });
    }
    if (kind === RecordKind.END) this.#spans.get(ref)!.ends = true;
    this.#builder.add(kind, 0, ref, data);
    this.#next += 1;
  }
}
