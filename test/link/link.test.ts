import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { skipOf } from '../../src/link/held.js';
import {
  BATCH_PREFIX,
  decodeMessage,
  encodeAck,
  encodeError,
  encodeHello,
  encodeResume,
  MessageKind,
} from '../../src/link/messages.js';
import { LinkReceiver, type ReceiverPort } from '../../src/link/receiver.js';
import type { Feed, FeedStart } from '../../src/link/sessions.js';
import type { HeldSession } from '../../src/link/store.js';
import { LinkSender } from '../../src/sinks/relay/link/sender.js';
import { HEADER_BYTES } from '../../src/wire/layout.js';
import { Reject } from '../../src/wire/reject.js';
import { randomOf, runSeed } from '../ring/fixture.js';
import { ModelLog } from './wire.js';

const ROUNDS = 60;
const SINKS = ['disk', 'other'];

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

/** What a receiving gateway keeps over its crashes: a model of sinks, ledger and store. */
class ModelDisk {
  position = 0;
  readonly held = new Map<string, HeldSession>();
  /** By session: what each sink stored. */
  readonly stored = new Map<string, Record<string, Buffer[]>>();

  bytesOf(session: string, sink: string): number {
    return Buffer.concat(this.stored.get(session)?.[sink] ?? []).length;
  }
}

/** One of our sessions: stores what comes, frame by frame, but for what each sink holds. */
class ModelFeed implements Feed {
  ending: { code: number; detail: string } | undefined;
  isClear = true;
  readonly #disk: ModelDisk;
  readonly id: string;
  readonly #skips: ReturnType<typeof skipOf>[];
  readonly #start: FeedStart;
  frames = 0;
  bytes = 0;

  constructor(disk: ModelDisk, start: FeedStart) {
    this.#disk = disk;
    this.#start = start;
    this.id = start.session.id;
    const { base, counted } = start;
    const held = disk.held.get(this.id);
    const attempt = { link: '', session: this.id, base, counted, owner: '' };
    this.#skips = SINKS.map((sink) => skipOf(held?.sinks[sink], attempt));
    const none = Object.fromEntries(SINKS.map((sink) => [sink, []]));
    if (!disk.stored.has(this.id)) disk.stored.set(this.id, none);
  }

  push(frame: Buffer): void {
    if (this.ending) return;
    const payload = Buffer.from(frame.subarray(HEADER_BYTES));
    this.frames += 1;
    this.bytes += payload.length;
    for (const [index, sink] of SINKS.entries()) {
      const skip = this.#skips[index]!;
      const known = Math.min(payload.length, skip.bytes);
      skip.bytes -= known;
      this.#disk.stored.get(this.id)![sink]!.push(payload.subarray(known));
    }
  }

  end(): void {
    this.over('closed');
  }

  interrupt(): void {
    this.settle(undefined);
  }

  over(how: string): void {
    this.settle(how);
  }

  /** A crash: each sink keeps what it had, cut anywhere behind what is acknowledged. */
  crash(random: (limit: number) => number, safeBytes: number): void {
    for (const sink of SINKS) {
      const all = Buffer.concat(this.#disk.stored.get(this.id)![sink]!);
      const least = Math.min(all.length, safeBytes);
      const kept = all.subarray(0, least + random(all.length - least + 1));
      this.#disk.stored.get(this.id)![sink] = [kept];
    }
    this.settle(undefined);
  }

  settle(over: string | undefined): void {
    const { base } = this.#start;
    const amounts = SINKS.map((sink) => this.#disk.bytesOf(this.id, sink));
    const sinks = Object.fromEntries(
      SINKS.map((sink, index) => [sink, { frames: base.frames, bytes: amounts[index]! }]),
    );
    const least = Math.min(...amounts);
    // Whole frames at least, as the ledger finds them: here those before this session of ours.
    const frames = over === undefined ? base.frames : base.frames + this.frames;
    this.#disk.held.set(this.id, {
      counted: { frames, bytes: Math.max(least, base.bytes) },
      sinks,
      ...(over ? { over } : {}),
    });
  }
}

/** A receiving gateway and one connection to it. */
class Receiving {
  readonly receiver: LinkReceiver;
  readonly feeds = new Set<ModelFeed>();
  readonly toSender: Buffer[] = [];
  isClosed = false;
  readonly rejects: ReadonlySet<string>;
  /** How much of each session is acknowledged. */
  readonly #disk: ModelDisk;
  readonly safe: Map<string, number>;

  constructor(
    disk: ModelDisk,
    safe: Map<string, number>,
    random: (limit: number) => number,
    rejects: ReadonlySet<string> = new Set(),
  ) {
    this.#disk = disk;
    this.safe = safe;
    this.rejects = rejects;
    let clock = 0;
    const port: ReceiverPort = {
      send: (message) => this.toSender.push(message),
      close: () => {
        this.isClosed = true;
      },
      claim: () => this.receiver.granted({ position: disk.position, held: new Map(disk.held) }),
      open: (start) => {
        if (random(10) === 0) return undefined; // no room now
        const feed = new ModelFeed(disk, start);
        if (rejects.has(start.session.id)) {
          feed.ending = { code: Reject.UNKNOWN_SENSOR, detail: '' };
        }
        this.feeds.add(feed);
        return feed;
      },
      commit: (position, over) => {
        if (random(4) === 0) return false;
        const ended = [...over];
        queueMicrotask(() => {
          if (this.isClosed) return;
          disk.position = position;
          for (const session of ended) disk.held.delete(session);
          for (const [id, stored] of disk.stored) {
            const least = Math.min(
              ...Object.values(stored).map((all) => Buffer.concat(all).length),
            );
            safe.set(id, least);
          }
          this.receiver.committed(position);
        });
        return true;
      },
      changed: () => {},
      after: (_ms, run) => {
        const timer = setImmediate(() => {
          clock += 20;
          run();
        });
        return () => clearImmediate(timer);
      },
      now: () => clock,
    };
    this.receiver = new LinkReceiver(port, 'gateway-b');
  }

  /** The connection broke, and the gateway did not. */
  cut(): void {
    this.isClosed = true;
    this.receiver.closed();
    this.receiver.sessions.interrupt();
  }

  /** The gateway was killed. */
  kill(random: (limit: number) => number): void {
    this.isClosed = true;
    this.receiver.closed();
    for (const feed of this.feeds) {
      if (!this.#disk.held.get(feed.id)?.over) feed.crash(random, this.safe.get(feed.id) ?? 0);
    }
  }
}

/** Connects the two ends; `deliver` moves messages on, and may damage or repeat one. */
function connect(log: ModelLog, receiving: Receiving, windowBytes: number) {
  const toReceiver: Buffer[] = [];
  const failures: string[] = [];
  const rejected: string[] = [];
  let isClosed = false;
  const sender = new LinkSender(
    log,
    {
      send: (message) => toReceiver.push(Buffer.from(message)),
      sendBatch: ({ bytes }, sent) => {
        toReceiver.push(Buffer.concat([BATCH_PREFIX, bytes]));
        sent();
      },
      get writable() {
        return toReceiver.length < 20;
      },
      close: () => {
        isClosed = true;
      },
    },
    { link: 'link-1', gateway: 'gateway-a', windowBytes },
    {
      resumed: () => {},
      acknowledged: () => {},
      rejected: ({ session, reason }) => rejected.push(`${session} ${reason}`),
      failed: (code, message) => failures.push(`${code}: ${message}`),
    },
  );
  sender.start();
  return {
    sender,
    toReceiver,
    failures,
    rejected,
    get isClosed() {
      return isClosed || receiving.isClosed;
    },
    /** Moves one message each way. */
    deliver(change: (message: Buffer) => Buffer[] = (message) => [message]): void {
      const up = receiving.receiver.isFull ? undefined : toReceiver.shift();
      if (up) for (const message of change(up)) receiving.receiver.take(decodeMessage(message));
      sender.ready();
      const down = receiving.toSender.shift();
      if (down) sender.take(decodeMessage(down));
    },
  };
}

function sensorOf(number: number): string {
  return `5e2f8b7d-0a13-4b7a-9c41-${number.toString(16).padStart(12, '0')}`;
}

async function round(seed: number): Promise<void> {
  const random = randomOf(seed);
  const limit = (below: number) => Math.floor(random(below));
  const log = new ModelLog();
  const disk = new ModelDisk();
  const safe = new Map<string, number>();
  const sent = new Map<string, Buffer[]>();
  const refs: number[] = [];
  let sessions = 0;
  const produce = (records: number) => {
    for (let count = 0; count < records; count += 1) {
      const dice = limit(10);
      if (refs.length === 0 || dice === 0) {
        sessions += 1;
        const id = `session-${sessions}`;
        sent.set(id, []);
        refs.push(log.open({ id, sensor: sensorOf(sessions), type: 3, openedAt: new Date(0) }));
      } else if (dice === 1) {
        log.end(refs.splice(limit(refs.length), 1)[0]!);
      } else {
        const ref = refs[limit(refs.length)]!;
        const payload = Buffer.alloc(limit(40), `${log.nextSeq}.`);
        sent.get(log.live.get(ref)!.session.id)!.push(payload);
        log.frame(ref, payload);
      }
      if (limit(4) === 0) log.finish();
    }
    log.finish();
  };
  produce(20);
  for (let attempt = 0; attempt < 8; attempt += 1) {
    const receiving = new Receiving(disk, safe, limit);
    const link = connect(log, receiving, 2_000);
    const steps = limit(150);
    for (let step = 0; step < steps && !link.isClosed; step += 1) {
      if (limit(20) === 0) produce(limit(15));
      // A batch now and then comes twice.
      link.deliver((message) => {
        const isBatch = message[0] === MessageKind.BATCH;
        return isBatch && limit(15) === 0 ? [message, Buffer.from(message)] : [message];
      });
      await turn();
    }
    assert.deepEqual(link.failures, []);
    link.sender.closed();
    if (limit(2) === 0) receiving.cut();
    else receiving.kill(limit);
  }
  for (const ref of refs.splice(0)) log.end(ref);
  log.finish();
  const receiving = new Receiving(disk, safe, limit);
  const link = connect(log, receiving, 2_000);
  for (let step = 0; disk.position < log.nextSeq - 1; step += 1) {
    assert.ok(step < 100_000, `stuck at ${disk.position} of ${log.nextSeq - 1}`);
    link.deliver();
    await turn();
  }
  link.sender.closed();
  for (const [id, payloads] of sent) {
    for (const sink of SINKS) {
      const stored = Buffer.concat(disk.stored.get(id)?.[sink] ?? []);
      assert.equal(stored.toString(), Buffer.concat(payloads).toString(), `${id} in ${sink}`);
    }
  }
}

describe('a link, as a state machine against a model', () => {
  test('cuts, kills of the receiver and repeated batches lose and repeat nothing', async () => {
    const seed = runSeed();
    console.log(`seed ${seed}`);
    const deadline = Date.now() + 8_000;
    for (let count = 0; count < ROUNDS && Date.now() < deadline; count += 1) {
      await round(seed + count).catch((error: Error) => {
        error.message = `round ${count}, seed ${seed + count}: ${error.message}`;
        throw error;
      });
    }
  });

  describe('what one end must not say ends the connection, and says why', () => {
    const hello = { version: 1, link: 'link-1', gateway: 'gateway-a', firstSeq: 1, nextSeq: 100 };

    /** A receiver that has taken these messages. */
    async function told(...messages: Buffer[]): Promise<string[]> {
      const receiving = new Receiving(new ModelDisk(), new Map(), randomOf(1));
      for (const message of messages) receiving.receiver.take(decodeMessage(message));
      await turn();
      await turn();
      return receiving.toSender.map((bytes) => {
        const message = decodeMessage(bytes);
        return message.kind === MessageKind.ERROR ? message.code : String(message.kind);
      });
    }

    function batch(change: (block: Buffer) => void = () => {}): Buffer {
      const log = new ModelLog();
      const openedAt = new Date(0);
      const ref = log.open({ id: 's-1', sensor: sensorOf(1), type: 3, openedAt });
      log.frame(ref, Buffer.from('payload'));
      log.finish();
      const block = Buffer.from(log.blocks_[0]!.bytes);
      change(block);
      return Buffer.concat([BATCH_PREFIX, block]);
    }

    const RESUME = String(MessageKind.RESUME);
    const cases: [string, Buffer[], string[]][] = [
      ['a newer version', [encodeHello({ ...hello, version: 2 })], ['version']],
      ['the same gateway', [encodeHello({ ...hello, gateway: 'gateway-b' })], ['loop']],
      ['a link id that is none', [encodeHello({ ...hello, link: 'a/b' })], ['protocol']],
      ['a second HELLO', [encodeHello(hello), encodeHello(hello)], [RESUME, 'protocol']],
      ['a batch before HELLO', [batch()], ['protocol']],
      ['an ACK from the sender', [encodeHello(hello), encodeAck(1)], [RESUME, 'protocol']],
      [
        'a batch with a changed byte in a record',
        [
          encodeHello(hello),
          batch((block) => block.writeUInt8(block.at(-1)! ^ 1, block.length - 1)),
        ],
        [RESUME, 'damaged'],
      ],
      [
        'a batch with a changed header',
        [encodeHello(hello), batch((block) => block.writeUInt8(7, 20))],
        [RESUME, 'damaged'],
      ],
      ['a batch that is cut', [encodeHello(hello), batch().subarray(0, 60)], [RESUME, 'damaged']],
    ];
    for (const [name, messages, expected] of cases) {
      test(name, async () => assert.deepEqual(await told(...messages), expected));
    }

    test('a good batch is not an error', async () => {
      assert.deepEqual((await told(encodeHello(hello), batch())).slice(0, 1), [RESUME]);
    });

    test('an ACK of what was not sent, and one before RESUME', () => {
      for (const [messages, reason] of [
        [[encodeAck(1)], /an ACK before RESUME/],
        [
          [encodeResume({ version: 1, gateway: 'gateway-b', position: 0 }), encodeAck(5)],
          /record 5/,
        ],
        [
          [encodeResume({ version: 1, gateway: 'gateway-b', position: 9 })],
          /^position: .*record 9/,
        ],
        [[encodeResume({ version: 2, gateway: 'gateway-b', position: 0 })], /^version: /],
        [[encodeError('busy', 'held up')], /^busy: held up/],
      ] as const) {
        const receiving = new Receiving(new ModelDisk(), new Map(), randomOf(1));
        const link = connect(new ModelLog(), receiving, 1_000);
        for (const message of messages) link.sender.take(decodeMessage(message));
        assert.match(link.failures[0] ?? 'none', reason);
        assert.ok(link.isClosed);
      }
    });
  });
});
