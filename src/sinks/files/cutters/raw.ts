import { type Cutter, EMPTY, RAW_EXT, Verdict } from './cutter.js';

/** Bytes without a form: every byte is a record. */
export class RawCutter implements Cutter {
  readonly ext: string = RAW_EXT;
  readonly cuttable = true;
  position: number;
  verdict: Verdict = Verdict.MORE;

  /** @param position where in its stream it takes over from another cutter */
  constructor(position = 0) {
    this.position = position;
  }

  get boundary(): number {
    return this.position;
  }

  walk(_bytes: Uint8Array, from: number, to: number, cutAt: number): number {
    const room = Math.max(0, cutAt - this.position);
    const step = Math.min(to - from, room);
    this.position += step;
    this.verdict = from + step < to ? Verdict.CUT : Verdict.MORE;
    return from + step;
  }

  preamble(): Uint8Array {
    return EMPTY;
  }

  resume(): Uint8Array {
    return EMPTY;
  }
}
