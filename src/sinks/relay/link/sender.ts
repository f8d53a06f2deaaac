import {
  encodeEnded,
  encodeGoodbye,
  encodeHello,
  LINK_VERSION,
  type Message,
  MessageKind,
  type Rejected,
} from '../../../link/messages.js';

/** What a link sends of its spool: `SpoolBlock` offers it. */
export interface SendBlock {
  readonly firstSeq: number;
  readonly lastSeq: number;
  readonly bytes: Buffer;
  readonly sessions: readonly {
    readonly ref: number;
    readonly opens: boolean;
    readonly ends: boolean;
  }[];
  /** The OPENs of those that go on in it. */
  preface(): Buffer | undefined;
  /** Its memory is needed until it is let go of. */
  hold(): void;
  letGo(): void;
}

export interface SendReader<Block extends SendBlock> {
  next(): Promise<Block | undefined>;
  close(): void;
}

/** The spool as a link reads it. */
export interface SendLog<Block extends SendBlock> {
  /** The first record that is not acknowledged, and the next that will be given out. */
  readonly firstSeq: number;
  readonly nextSeq: number;
  /** @param isSuspect something in it is damaged */
  blocks(fromSeq: number, isSuspect: boolean): SendReader<Block>;
  /** A block as it is to be sent: compressed where that pays, without what is damaged. */
  prepare(block: Block, isSuspect: boolean): Promise<Batch[]>;
}

/** A block in memory of which `headroom` bytes before it are the socket's to use. */
export interface Batch {
  readonly bytes: Buffer;
  readonly headroom: number;
}

export interface SenderPort {
  send(message: Buffer): void;
  /** Sends a BATCH. @param sent its memory is needed no more; not called where the connection ends */
  sendBatch(batch: Batch, sent: () => void): void;
  /** More can be sent without gathering in memory. */
  readonly writable: boolean;
  /** Ends the connection. */
  close(): void;
}

export interface SenderEvents<Block extends SendBlock> {
  /** The receiver has told from where to go on. */
  resumed(position: number, gateway: string): void;
  /** These are on the receiver's disk as a whole; each is told of once, in order. */
  acknowledged(blocks: readonly Block[]): void;
  rejected(rejected: Rejected): void;
  /** The connection is to be given up. @param code one of LINK.md's errors */
  failed(code: string, message: string): void;
}

export interface SenderOptions {
  link: string;
  gateway: string;
  /** Bytes of blocks that may be sent and not acknowledged. */
  windowBytes: number;
  /** The receiver found something damaged up to here at the last attempt: it is checked before it goes. */
  suspectSeq?: number | undefined;
}

/**
 * The sending end of one connection of a link, without its socket:
 *
 *     hello ── RESUME ─▶ open: BATCH … ◀─ ACK ── closed
 */
export class LinkSender<Block extends SendBlock> {
  readonly #log: SendLog<Block>;
  readonly #port: SenderPort;
  readonly #options: SenderOptions;
  readonly #events: SenderEvents<Block>;
  #state: 'hello' | 'open' | 'closed' = 'hello';
  #reader: SendReader<Block> | undefined;
  readonly #known = new Set<number>();
  /** Sent, and not acknowledged as a whole. */
  readonly #unacknowledged: Block[] = [];
  #unacknowledgedBytes = 0;
  #sentSeq = 0;
  #acknowledgedSeq = 0;
  #wake: (() => void) | undefined;

  constructor(
    log: SendLog<Block>,
    port: SenderPort,
    options: SenderOptions,
    events: SenderEvents<Block>,
  ) {
    this.#log = log;
    this.#port = port;
    this.#options = options;
    this.#events = events;
  }

  get sentSeq(): number {
    return this.#sentSeq;
  }

  get unacknowledgedBytes(): number {
    return this.#unacknowledgedBytes;
  }

  /** The connection is open: begins. */
  start(): void {
    const { link, gateway } = this.#options;
    const { firstSeq, nextSeq } = this.#log;
    this.#port.send(encodeHello({ version: LINK_VERSION, link, gateway, firstSeq, nextSeq }));
  }

  take(message: Message): void {
    if (this.#state === 'closed') return;
    switch (message.kind) {
      case MessageKind.RESUME:
        this.#resume(message.resume);
        break;
      case MessageKind.ACK:
        this.#acknowledge(message.position);
        break;
      case MessageKind.REJECTED:
        this.#events.rejected(message.rejected);
        break;
      case MessageKind.ERROR:
        this.#fail(message.code, message.message);
        break;
      default:
        this.#fail('protocol', `message ${message.kind} does not belong here`);
    }
  }

  /** The port is writable again. */
  ready(): void {
    this.#wake?.();
  }

  /** Sessions whose END was given up: their receiver is told, for no record tells it. */
  gaveUp(session: string, reason: string): void {
    if (this.#state === 'open') this.#port.send(encodeEnded({ session, reason }));
  }

  /** Ends the connection in order: the receiver settles what it has. */
  end(): void {
    if (this.#state === 'open') this.#port.send(encodeGoodbye());
    this.closed();
    this.#port.close();
  }

  /** The connection is gone: nothing more is read. */
  closed(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#reader?.close();
    this.#wake?.();
  }

  #resume({ version, gateway, position }: { version: number; gateway: string; position: number }) {
    if (this.#state !== 'hello') {
      this.#fail('protocol', 'a second RESUME');
    } else if (version !== LINK_VERSION) {
      this.#fail('version', `the receiver speaks version ${version} of the link`);
    } else if (position >= this.#log.nextSeq) {
      const { nextSeq } = this.#log;
      this.#fail('position', `it has record ${position}; the spool ends before ${nextSeq}`);
    } else {
      this.#state = 'open';
      this.#acknowledgedSeq = position;
      this.#sentSeq = position;
      this.#events.resumed(position, gateway);
      const isSuspect = (this.#options.suspectSeq ?? 0) >= this.#log.firstSeq;
      this.#reader = this.#log.blocks(this.#log.firstSeq, isSuspect);
      void this.#run(this.#reader);
    }
  }

  #acknowledge(position: number): void {
    if (this.#state !== 'open') {
      this.#fail('protocol', 'an ACK before RESUME');
      return;
    }
    if (position > this.#sentSeq) {
      const sent = this.#sentSeq;
      this.#fail('protocol', `record ${position} is acknowledged, but ${sent} was sent last`);
      return;
    }
    if (position <= this.#acknowledgedSeq) return;
    this.#acknowledgedSeq = position;
    const blocks: Block[] = [];
    while (this.#unacknowledged[0] && this.#unacknowledged[0].lastSeq <= position) {
      const block = this.#unacknowledged.shift()!;
      this.#unacknowledgedBytes -= block.bytes.length;
      blocks.push(block);
    }
    if (blocks.length > 0) this.#events.acknowledged(blocks);
    this.#wake?.();
  }

  async #run(reader: SendReader<Block>): Promise<void> {
    try {
      while (this.#isOpen) {
        const block = await reader.next();
        if (!block) return;
        // Acknowledged in an earlier life of ours, and not noted then.
        if (block.lastSeq <= this.#acknowledgedSeq && this.#unacknowledged.length === 0) {
          this.#events.acknowledged([block]);
          continue;
        }
        await this.#room();
        if (this.#isOpen) await this.#send(block);
      }
    } catch (error) {
      this.#fail('spool', (error as Error).message);
    } finally {
      reader.close();
    }
  }

  get #isOpen(): boolean {
    return this.#state === 'open';
  }

  async #send(block: Block): Promise<void> {
    const isSuspect = block.firstSeq <= (this.#options.suspectSeq ?? 0);
    const batches = await this.#log.prepare(block, isSuspect);
    if (!this.#isOpen) return;
    const isNew = ({ ref, opens }: Block['sessions'][number]) => !opens && !this.#known.has(ref);
    const preface = block.sessions.some(isNew) ? block.preface() : undefined;
    if (preface) this.#port.sendBatch({ bytes: preface, headroom: 0 }, () => {});
    for (const { ref, ends } of block.sessions) {
      if (ends) this.#known.delete(ref);
      else this.#known.add(ref);
    }
    for (const batch of batches) {
      block.hold();
      this.#port.sendBatch(batch, () => block.letGo());
    }
    this.#sentSeq = block.lastSeq;
    this.#unacknowledged.push(block);
    this.#unacknowledgedBytes += block.bytes.length;
  }

  /** Resolves when another block may be sent: one always may, however long. */
  async #room(): Promise<void> {
    while (this.#isOpen) {
      const isWithin = this.#unacknowledgedBytes < this.#options.windowBytes;
      if (isWithin && this.#port.writable) return;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
  }

  #fail(code: string, message: string): void {
    if (this.#state === 'closed') return;
    this.closed();
    this.#events.failed(code, message);
    this.#port.close();
  }
}
