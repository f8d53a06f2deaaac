import { type Cutter, EMPTY, Verdict } from './cutter.js';
import { LinesCutter } from './lines.js';
import { isPcapMagic, PcapCutter } from './pcap.js';

const MAGIC_BYTES = 4;

/** What dnscap wrote: pcap where the stream begins as one, text otherwise. */
export class DnscapCutter implements Cutter {
  #inner: Cutter | undefined;

  get ext(): string {
    return this.#cutter.ext;
  }

  get position(): number {
    return this.#inner?.position ?? 0;
  }

  get boundary(): number {
    return this.#inner?.boundary ?? 0;
  }

  get verdict(): Verdict {
    return this.#inner?.verdict ?? Verdict.MORE;
  }

  get cuttable(): boolean {
    return this.#inner?.cuttable ?? false;
  }

  walk(bytes: Uint8Array, from: number, to: number, cutAt: number): number {
    if (this.#inner === undefined) {
      if (to - from < MAGIC_BYTES) return from;
      this.#inner = isPcapMagic(bytes, from) ? new PcapCutter() : new LinesCutter('dnscap.txt');
    }
    return this.#inner.walk(bytes, from, to, cutAt);
  }

  preamble(): Uint8Array {
    return this.#cutter.preamble();
  }

  resume(): Uint8Array | undefined {
    return this.#inner === undefined ? EMPTY : this.#inner.resume();
  }

  get #cutter(): Cutter {
    if (this.#inner === undefined) throw new Error('dnscap: asked before a walk ended with CUT');
    return this.#inner;
  }
}
