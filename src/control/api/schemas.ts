import { z } from 'zod';
import { ALERT_KINDS } from '../../alerts/book.js';
import { BAN_SECONDS_DEFAULT, BAN_SECONDS_MAX } from '../../registry/bans.js';
import {
  CONTACT_CHARS_MAX,
  DESCRIPTION_CHARS_MAX,
  EXPECT_SECONDS_MAX,
  GROUP_FORM,
  GROUPS_MAX,
  KEY_BYTES_MAX,
  NAME_CHARS_MAX,
} from '../../registry/limits.js';
import { ROLES } from '../../registry/tokens.js';
import { formatUuid, isSensorUuid, parseUuid } from '../../wire/uuid.js';

/** The parts that the API's requests and answers are made of. */

const UUID_FORM =
  /^[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?4[0-9a-fA-F]{3}-?[89abAB][0-9a-fA-F]{3}-?[0-9a-fA-F]{12}$/;
const UUID_EXPECTED = 'a version 4 UUID';

/** The canonical form of a sensor's UUID; undefined where the text is none. */
export function sensorUuid(text: string): string | undefined {
  const bytes = parseUuid(text);
  const uuid = bytes && formatUuid(bytes);
  return uuid !== undefined && isSensorUuid(uuid) ? uuid : undefined;
}

/** In a request: with or without hyphens, in either case. */
export const uuidIn = z
  .string()
  .regex(UUID_FORM, `expected ${UUID_EXPECTED}`)
  .transform((text) => sensorUuid(text)!);
export const uuid = z.uuid().describe("A sensor's UUID, lower case with hyphens.");
export const time = z.iso.datetime().describe('UTC.');
export const count = z.int().min(0);
export const type = z.int().min(0).max(255).describe('D4 type.');

export const amount = z
  .object({ frames: count, bytes: count })
  .describe('Whole frames, and their payload bytes.');
export const amounts = z.record(z.string(), amount);

export const error = z.object({
  status: z.literal('error'),
  reason: z.string(),
  field: z.string().optional().describe('The field of the request that is wrong.'),
});

export const role = z.enum(ROLES);

export const token = z.object({
  id: z.string(),
  name: z.string(),
  role,
  createdAt: time,
  expiresAt: time.nullable(),
});

export const groupIn = z
  .string()
  .regex(GROUP_FORM, 'expected a letter or digit, then letters, digits, ., _, -; at most 32');

/** What may be said of a sensor. `registry/limits.ts` says it with reasons, so the lengths alone. */
export const sensorChange = {
  name: z.string().max(NAME_CHARS_MAX).optional(),
  description: z.string().max(DESCRIPTION_CHARS_MAX).optional(),
  contact: z.string().max(CONTACT_CHARS_MAX).optional(),
  groups: z.array(groupIn).max(GROUPS_MAX).optional(),
  expectSeconds: z
    .int()
    .min(0)
    .max(EXPECT_SECONDS_MAX)
    .optional()
    .describe('An alert opens when it is silent for longer; 0: never.'),
};

export const keyIn = z
  .string()
  .min(1, 'the key is empty')
  .refine((key) => Buffer.byteLength(key) <= KEY_BYTES_MAX, `over ${KEY_BYTES_MAX} bytes`)
  .describe(`HMAC key, its UTF-8 bytes; at most ${KEY_BYTES_MAX}.`);

export const banSeconds = z
  .int()
  .min(0)
  .max(BAN_SECONDS_MAX)
  .default(BAN_SECONDS_DEFAULT)
  .describe('For so long its sensor is refused a session of this type; 0: not at all.');

export const sensorState = z.enum(['pending', 'approved', 'blocked']);

const reject = z.object({
  reason: z.string(),
  detail: z.string(),
  at: time,
  address: z.string(),
});
const note = z.object({ text: z.string(), at: time, count });

export const sensor = z.object({
  uuid,
  name: z.string(),
  description: z.string(),
  contact: z.string(),
  groups: z.array(z.string()),
  expectSeconds: count.describe('An alert opens when it is silent for longer; 0: never.'),
  state: sensorState,
  stateBeforeBlock: z.enum(['pending', 'approved']).nullable(),
  createdAt: time,
  previousKeyValidUntil: time.nullable(),
  firstSeen: time.nullable(),
  lastSeen: time.nullable(),
  lastAddress: z.string().nullable(),
  lastReject: reject.nullable(),
  notes: z.array(note),
  types: z.array(type).describe('D4 types that it sends or has sent since the gateway began.'),
  sessions: count.describe('Open now.'),
  bytesPerSecond: z.number().describe('Over the last few seconds.'),
  framesPerSecond: z.number(),
  recentBytesPerSecond: z
    .array(z.number())
    .describe('The last two minutes in steps of 5 s, oldest first; empty where nothing came.'),
});

export const page = {
  offset: z.coerce.number().int().min(0).max(10_000_000).default(0),
  limit: z.coerce.number().int().min(1).max(1000).default(100),
};

export const session = z.object({
  id: z.string(),
  sensor: uuid,
  name: z.string().describe("The sensor's name; empty where it has none."),
  type,
  worker: count,
  source: z.string(),
  address: z.string(),
  openedAt: time,
  received: amount.describe('As told at most 5 s ago.'),
  rejectedFrames: count,
});

export const sink = z.object({
  name: z.string(),
  kind: z.string(),
  state: z
    .enum(['ok', 'full', 'failing', 'stopped', 'leaving'])
    .describe(
      'full: it holds its sessions back. failing: it can deliver nothing. stopped: held. leaving: ' +
        'removed by a reload, it serves the sessions that began with it.',
    ),
  takes: z
    .boolean()
    .describe(
      'It takes what comes, and keeps it where it fails: as a relay with room in its spool.',
    ),
  delivered: amount.describe('Since the gateway began.'),
  lastError: z.object({ text: z.string(), at: time }).nullable(),
  spool: z.object({ bytes: count, maxBytes: count }).nullable(),
  lagSeconds: z
    .number()
    .nullable()
    .describe('Of a relay: age of the oldest frame that is not sent; of a link, not acknowledged.'),
  dropped: amounts.describe('By reason, since the gateway began.'),
  figures: z.record(z.string(), z.number()),
});

export const alert = z.object({
  key: z.string(),
  kind: z.enum(ALERT_KINDS),
  severity: z.enum(['warning', 'critical']),
  subject: z.string().describe("A sensor's UUID, a sink's name, a worker's number, a listener."),
  text: z.string(),
  openedAt: time,
  closedAt: time.nullable(),
});

const rate = z.object({ frames: z.number(), bytes: z.number() }).describe('Per second.');
const thread = z.object({
  loopDelayMs: z.object({ mean: z.number(), p99: z.number(), max: z.number() }),
  utilization: z.number().describe('0 to 1, over the last second.'),
});

export const overview = z.object({
  at: time,
  gateway: z.object({
    version: z.string(),
    phase: z.enum(['starting', 'running', 'stopping']),
    startedAt: time,
  }),
  connections: count,
  sessions: count.describe('Open sessions of which a frame was verified.'),
  sensors: z.object({ pending: count, approved: count, blocked: count }),
  received: amounts.describe('By D4 type, since the gateway began.'),
  receivedPerSecond: z.record(z.string(), rate).describe('By D4 type.'),
  rejected: amounts.describe('Frames by reason, since the gateway began.'),
  rejectedPerSecond: z.record(z.string(), rate),
  refused: z.record(z.string(), count).describe('Connections without a session, by reason.'),
  sinks: z.array(sink),
  workers: z.array(
    z.object({
      index: count,
      deaths: count,
      state: z.enum(['starting', 'running']),
      toldAt: time.nullable().describe('When it last told of itself.'),
      pid: count.nullable(),
      connections: count,
      sessions: count,
      ringUsedRatio: z.number(),
      cpuSeconds: z.number(),
      rssBytes: count,
      io: thread.describe('Its I/O thread.'),
      sink: thread.describe('Its sink thread; inline, the same.'),
    }),
  ),
  primary: z
    .object({ pid: count, cpuSeconds: z.number(), rssBytes: count, loop: thread })
    .describe('The process that supervises the workers and answers this.'),
  ledger: z
    .object({ balanced: z.boolean(), imbalances: count, at: time })
    .nullable()
    .describe('As it was last looked at; null before the first time.'),
  alerts: z.object({ open: count, first: z.array(alert) }),
});
export type Overview = z.output<typeof overview>;
