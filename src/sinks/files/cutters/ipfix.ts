import { type Cutter, EMPTY, u16, u32, Verdict } from './cutter.js';
import { GrowingBytes } from './growing.js';
import { TemplateStore } from './templates.js';

/**
 * IPFIX (RFC 7011), what YAF writes: messages of sets, big-endian.
 *
 *   0        2       4            8         12                  16
 *   │version │length │export time │sequence │observation domain │ sets …
 *
 *   0       2       4
 *   │set id │length │ records …
 *
 * Data can be read with the templates before it alone (sets 2 and 3), so a file that goes on
 * begins with messages that bring those in force.
 */
const VERSION = 10;
export const MESSAGE_HEADER_BYTES = 16;
export const SET_HEADER_BYTES = 4;
const SET_BYTES_MAX = 65_535;

export class IpfixCutter implements Cutter {
  readonly ext = 'yaf';
  position = 0;
  boundary = 0;
  verdict: Verdict = Verdict.MORE;
  #started = false;
  /** Bytes to come of the message's header, of the message after it, and of the set under way. */
  #headerLeft = 0;
  #messageLeft = 0;
  #setLeft = 0;
  #setId = 0;
  #inMessage = false;
  #domain = 0;
  readonly #set = new GrowingBytes(SET_BYTES_MAX);
  readonly #templates = new TemplateStore();
  /** Header of the message at the last CUT. */
  #next = { exportTime: 0, sequence: 0, domain: 0 };
  /** Header of the message begun last. */
  #last = { exportTime: 0, sequence: 0, domain: 0 };

  get cuttable(): boolean {
    return this.#started && !this.#templates.overflowed;
  }

  walk(bytes: Uint8Array, from: number, to: number, cutAt: number): number {
    const base = this.position - from;
    let at = from;
    this.verdict = Verdict.MORE;
    for (;;) {
      if (!this.#inMessage) {
        this.boundary = base + at;
        if (!this.#message(bytes, at, to, cutAt)) break;
      }
      if (this.#headerLeft > 0) {
        at += this.#headerLeft; // whole: see #message
        this.#headerLeft = 0;
      } else if (this.#setLeft > 0) {
        const step = Math.min(this.#setLeft, to - at);
        if (step === 0) break;
        this.#walkSet(bytes, at, at + step);
        at += step;
      } else if (this.#messageLeft > 0) {
        if (!this.#setHeader(bytes, at, to)) break;
        at += SET_HEADER_BYTES;
      }
      this.#inMessage = this.#messageLeft > 0;
    }
    this.position = base + at;
    return at;
  }

  preamble(): Uint8Array {
    return this.#started ? this.#templates.messages(this.#next) : EMPTY;
  }

  resume(): Uint8Array | undefined {
    if (this.#templates.overflowed) return undefined;
    return this.#started ? this.#templates.messages(this.#last) : EMPTY;
  }

  /** Begins the message at `at`; false where it is not whole, not good, or begins a new file. */
  #message(bytes: Uint8Array, at: number, to: number, cutAt: number): boolean {
    if (to - at < MESSAGE_HEADER_BYTES) return false;
    const length = u16(bytes, at + 2, false);
    if (u16(bytes, at, false) !== VERSION || length < MESSAGE_HEADER_BYTES) {
      this.verdict = Verdict.DAMAGED;
      return false;
    }
    const exportTime = u32(bytes, at + 4, false);
    const sequence = u32(bytes, at + 8, false);
    const domain = u32(bytes, at + 12, false);
    if (this.boundary >= cutAt && (this.cuttable || !this.#started)) {
      this.verdict = Verdict.CUT;
      this.#next = { exportTime, sequence, domain };
      return false;
    }
    this.#started = true;
    this.#inMessage = true;
    this.#domain = domain;
    this.#last = { exportTime, sequence, domain };
    this.#headerLeft = MESSAGE_HEADER_BYTES;
    this.#messageLeft = length - MESSAGE_HEADER_BYTES;
    this.#templates.heard(domain, sequence);
    return true;
  }

  #setHeader(bytes: Uint8Array, at: number, to: number): boolean {
    // A set can't be longer than its message, nor can less than a set's header remain.
    if (this.#messageLeft < SET_HEADER_BYTES) {
      this.verdict = Verdict.DAMAGED;
      return false;
    }
    if (to - at < SET_HEADER_BYTES) return false;
    const length = u16(bytes, at + 2, false);
    if (length < SET_HEADER_BYTES || length > this.#messageLeft) {
      this.verdict = Verdict.DAMAGED;
      return false;
    }
    this.#setId = u16(bytes, at, false);
    this.#setLeft = length - SET_HEADER_BYTES;
    this.#messageLeft -= SET_HEADER_BYTES;
    return true;
  }

  #walkSet(bytes: Uint8Array, from: number, to: number): void {
    const isTemplates = this.#setId === 2 || this.#setId === 3;
    if (isTemplates) this.#set.append(bytes, from, to);
    this.#setLeft -= to - from;
    this.#messageLeft -= to - from;
    if (!isTemplates || this.#setLeft > 0) return;
    this.#templates.take(this.#domain, this.#setId, this.#set.view());
    this.#set.truncate(0);
  }
}
