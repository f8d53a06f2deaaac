import { rawOf } from '../spool/block-builder.js';
import { decodeBlockHeader } from '../spool/block-header.js';
import { BLOCK_HEADER_BYTES, BlockFlag, RecordKind } from '../spool/layout.js';
import { noDamage, type RawRecord, readRecords } from '../spool/records.js';
import {
  encodeAck,
  encodeError,
  encodeRejected,
  encodeResume,
  type Hello,
  LINK_VERSION,
  type LinkErrorCode,
  LinkProtocolError,
  type Message,
  MessageKind,
} from './messages.js';
import { IncomingSessions, type SessionPort } from './sessions.js';
import type { HeldSession } from './store.js';
import { isLinkKey } from './store.js';

/** How often what came is put on disk and acknowledged, at most. */
export const COMMIT_MS = 50;
/** Each costs an object, however well it was compressed; a block of ends alone has a quarter of it. */
const BATCH_RECORDS_MAX = 65_536;
/** How often a receiver looks again whether it may go on, where nothing tells it. */
const RETRY_MS = 5;

/** What the receiver asks of the side that has sockets, ring and disk. */
export interface ReceiverPort extends SessionPort {
  send(message: Buffer): void;
  /** Ends the connection behind all that was sent. */
  close(): void;
  /** Asks for the link, which one connection holds at a time: answered by `granted` or `refused`. */
  claim(hello: Hello): void;
  /**
   * Has all that was given so far put on disk, up to `position`: answered by `committed`.
   * @param over sessions that ended without one of ours
   * @returns false where that can't be asked for now
   */
  commit(position: number, over: readonly string[]): boolean;
  /** Whether it is full may have changed. */
  changed(): void;
  /** Runs `run` once after `ms`; the function returned cancels. */
  after(ms: number, run: () => void): () => void;
  now(): number;
}

/** What is known of a link when it is granted. */
export interface Granted {
  position: number;
  held: ReadonlyMap<string, HeldSession>;
}

export interface ReceiverStats {
  batches: number;
  /** Of records that had come before. */
  duplicates: number;
  gaps: number;
  damagedRecords: number;
}

type State = 'hello' | 'claiming' | 'open' | 'closed';

/**
 * The receiving end of one connection of a link, without its sockets: `sinks/relay/LINK.md` has the
 * messages and states.
 *
 *     hello ── HELLO ─▶ claiming ── granted: RESUME ─▶ open ── BATCH … ACK … ─▶ closed
 */
export class LinkReceiver {
  readonly stats: ReceiverStats = { batches: 0, duplicates: 0, gaps: 0, damagedRecords: 0 };
  readonly #port: ReceiverPort;
  readonly #gateway: string;
  readonly #sessions: IncomingSessions;
  #state: State = 'hello';
  #hello: Hello | undefined;
  #waiting: Buffer[] = [];
  #isUnpacking = false;
  /** Records of the batch under way, and the one of them that had to wait. */
  #records: Iterator<RawRecord> | undefined;
  #held: RawRecord | undefined;
  #batchEnd = 0;
  /** The next record that is new to this connection; undefined before its first batch. */
  #next: number | undefined;
  #position = 0;
  /** Given on to the sessions as a whole; asked to be put on disk; acknowledged. */
  #given = 0;
  #asked = 0;
  #askedAt = Number.NEGATIVE_INFINITY;
  #cancelRetry: (() => void) | undefined;
  #cancelCommit: (() => void) | undefined;

  /** @param gateway our own id */
  constructor(port: ReceiverPort, gateway: string) {
    this.#port = port;
    this.#gateway = gateway;
    this.#sessions = new IncomingSessions(port, gateway, (rejected) => {
      if (this.#state === 'open') port.send(encodeRejected(rejected));
    });
  }

  get hello(): Hello | undefined {
    return this.#hello;
  }

  get sessions(): IncomingSessions {
    return this.#sessions;
  }

  /** It can't take another message now: whoever reads the socket pauses. */
  get isFull(): boolean {
    return this.#waiting.length > 0 || this.#isUnpacking || this.#records !== undefined;
  }

  get #isOpen(): boolean {
    return this.#state === 'open';
  }

  take(message: Message): void {
    if (this.#state === 'closed') return;
    if (message.kind === MessageKind.HELLO) this.#takeHello(message.hello);
    else if (message.kind === MessageKind.BATCH && this.#state === 'open') {
      this.#waiting.push(message.block);
      this.pump();
    } else if (message.kind === MessageKind.ENDED) this.#sessions.gaveUp(message.ended.session);
    else if (message.kind === MessageKind.GOODBYE) this.#port.close();
    else if (message.kind === MessageKind.ERROR) this.#port.close();
    else this.fail('protocol', `message ${message.kind} does not belong here`);
  }

  /** The link is this connection's. */
  granted({ position, held }: Granted): void {
    if (this.#state !== 'claiming') return;
    const { firstSeq, nextSeq } = this.#hello!;
    if (position >= nextSeq) {
      const message = `record ${position} was acknowledged, but the spool ends before ${nextSeq}`;
      this.fail('position', message);
      return;
    }
    this.#state = 'open';
    this.#position = position;
    this.#given = position;
    this.#asked = position;
    this.#sessions.begin(held);
    if (firstSeq > position + 1) this.stats.gaps += 1;
    this.#port.send(encodeResume({ version: LINK_VERSION, gateway: this.#gateway, position }));
  }

  /** All up to `position` is on disk. What an earlier connection asked for is not ours to tell. */
  committed(position: number): void {
    if (this.#state !== 'open' || position !== this.#asked) return;
    this.#position = position;
    this.#port.send(encodeAck(position));
    this.#commitSoon();
  }

  /** Tells the sender that we are there, where nothing else does. */
  beat(): void {
    if (this.#state === 'open') this.#port.send(encodeAck(this.#position));
  }

  /** Ends the link with an error that both ends tell of. */
  fail(code: LinkErrorCode, message: string): void {
    if (this.#state === 'closed') return;
    this.#port.send(encodeError(code, message));
    this.#port.close();
    this.closed();
  }

  /** The connection is gone: nothing more is given on. */
  closed(): void {
    this.#state = 'closed';
    this.#waiting = [];
    this.#records = undefined;
    this.#cancelRetry?.();
    this.#cancelCommit?.();
  }

  /** Goes on where it had to wait. */
  pump(): void {
    try {
      this.#pump();
    } catch (error) {
      if (!(error instanceof LinkProtocolError)) throw error;
      this.fail('protocol', error.message);
    }
    this.#port.changed();
  }

  #pump(): void {
    while (this.#state === 'open' && !this.#isUnpacking) {
      if (this.#records) {
        if (!this.#giveOn(this.#records)) {
          this.#again();
          return;
        }
        this.#records = undefined;
        this.#given = Math.max(this.#given, this.#batchEnd);
        this.#commitSoon();
      }
      if (this.#waiting.length === 0 || !this.#sessions.isClear) {
        if (this.#waiting.length > 0) this.#again();
        return;
      }
      void this.#unpack(this.#waiting.shift()!);
    }
  }

  #takeHello(hello: Hello): void {
    if (this.#state !== 'hello') {
      this.fail('protocol', 'a second HELLO');
      return;
    }
    const { version, link, gateway } = hello;
    if (version !== LINK_VERSION) {
      const newer = version > LINK_VERSION ? 'newer' : 'older';
      this.fail('version', `version ${version} of the link is ${newer} than ${LINK_VERSION}`);
    } else if (!isLinkKey(link) || !isLinkKey(gateway)) {
      this.fail('protocol', 'HELLO.link and HELLO.gateway are no ids');
    } else if (gateway === this.#gateway) {
      this.fail('loop', `gateway ${gateway} links to itself`);
    } else {
      this.#hello = hello;
      this.#state = 'claiming';
      this.#port.claim(hello);
    }
  }

  async #unpack(block: Buffer): Promise<void> {
    const header = decodeBlockHeader(block);
    if (header === 'newer') {
      this.fail('version', 'a batch in a block format that is newer than ours');
      return;
    }
    if (header === 'damaged' || block.length !== BLOCK_HEADER_BYTES + header.storedBytes) {
      this.fail('damaged', 'a batch whose header does not hold');
      return;
    }
    if (header.records > BATCH_RECORDS_MAX) {
      this.fail('protocol', `a batch of ${header.records} records: ${BATCH_RECORDS_MAX} at most`);
      return;
    }
    this.#isUnpacking = true;
    const raw = await rawOf(block.subarray(BLOCK_HEADER_BYTES), header);
    this.#isUnpacking = false;
    if (!this.#isOpen) return;
    const isPreface = (header.flags & BlockFlag.PREFACE) !== 0;
    const damage = noDamage();
    const { firstSeq } = header;
    const records = raw && readRecords(raw, header.records, firstSeq, damage, !isPreface);
    if (!records || damage.records > 0) {
      const what = raw ? `${damage.records} records do not hold` : 'it does not unpack';
      this.stats.damagedRecords += damage.records;
      this.fail('damaged', `the batch from record ${firstSeq} on is damaged: ${what}`);
      return;
    }
    this.#begin(records, firstSeq, isPreface ? 0 : header.records);
    this.pump();
  }

  #begin(records: RawRecord[], firstSeq: number, count: number): void {
    if (count > 0) {
      this.stats.batches += 1;
      const expected = this.#next ?? Math.min(firstSeq, this.#position + 1);
      if (firstSeq > expected) this.stats.gaps += 1;
      this.#batchEnd = firstSeq + count - 1;
    }
    this.#records = records.values();
  }

  /** @returns false where it has to wait: the record at hand is given again */
  #giveOn(records: Iterator<RawRecord>): boolean {
    for (;;) {
      const record = this.#held ?? records.next().value;
      if (record === undefined) return true;
      this.#held = undefined;
      if (!this.#give(record as RawRecord)) {
        this.#held = record as RawRecord;
        return false;
      }
    }
  }

  #give(record: RawRecord): boolean {
    const sessions = this.#sessions;
    if (record.kind === RecordKind.OPEN && (record.flags & 1) !== 0) {
      return sessions.open(record.ref, record.data);
    }
    if (this.#next !== undefined && record.seq < this.#next) {
      this.stats.duplicates += 1;
      return true;
    }
    const isKnown = record.seq <= this.#position;
    const isTaken = sessions.take(record, isKnown);
    if (isTaken) this.#next = record.seq + 1;
    return isTaken;
  }

  #again(): void {
    this.#cancelRetry ??= this.#port.after(RETRY_MS, () => {
      this.#cancelRetry = undefined;
      this.pump();
    });
  }

  /** Asks for a commit: at once where the last one was long enough ago, and none is under way. */
  #commitSoon(): void {
    if (this.#state !== 'open' || this.#asked > this.#position) return;
    if (this.#given <= this.#asked || this.#records !== undefined) return;
    const wait = this.#askedAt + COMMIT_MS - this.#port.now();
    const isReady = wait <= 0 && this.#sessions.isClear;
    if (!isReady || !this.#port.commit(this.#given, this.#sessions.over)) {
      this.#cancelCommit ??= this.#port.after(Math.max(wait, RETRY_MS), () => {
        this.#cancelCommit = undefined;
        this.#commitSoon();
      });
      return;
    }
    this.#sessions.takeOver();
    this.#asked = this.#given;
    this.#askedAt = this.#port.now();
  }
}
