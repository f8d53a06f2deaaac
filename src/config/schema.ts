import { z } from 'zod';
import { GROUP_EXPECTED, GROUP_FORM } from '../registry/limits.js';
import { KNOWN_TYPES, REGISTERED_META_TYPES } from '../wire/types.js';
import { metaType, sensor, typeList } from './d4-fields.js';
import {
  bytes,
  flagOrInteger,
  integer,
  listOf,
  listOrStar,
  oneOf,
  path,
  section,
  text,
  wrong,
} from './fields.js';
import { relaySink } from './relay-schema.js';
import { didYouMean } from './suggest.js';

/**
 * The configuration: every key with its default, limits and meaning. Each `describe` appears in
 * `config.schema.json` and so in editors. `load.ts` adds what concerns several keys at once.
 */

const MIB = 1024 ** 2;
const GIB = 1024 ** 3;
const DAY_MS = 86_400_000;
const WORKERS_MAX = 256;
/** A frame of the largest payload fits one 16 MiB block of the assembly arena. */
export const PAYLOAD_BYTES_MAX = 16 * MIB - 62;
export const SINKS_MAX = 16;
const WEBHOOKS_MAX = 16;

const limits = section({
  maxPayloadBytes: bytes(1, PAYLOAD_BYTES_MAX)
    .default(1_000_000)
    .describe("Largest payload of a frame. The reference server's limit is 1,000,000."),
  maxConnections: integer(1, 1_000_000)
    .default(20_000)
    .describe('Connections open at once, over all sources.'),
  maxConnectionsPerIp: integer(0, 1_000_000)
    .default(0)
    .describe('Connections open at once from one address; 0: no limit.'),
  handshakeTimeoutMs: integer(1, DAY_MS, 'ms')
    .default(10_000)
    .describe('Time for the TLS handshake.'),
  firstFrameTimeoutMs: integer(1, DAY_MS, 'ms')
    .default(30_000)
    .describe('Time from the connection to its first whole frame.'),
  idleTimeoutMs: integer(0, DAY_MS, 'ms')
    .default(0)
    .describe('Time without a whole frame after which a connection is ended; 0: never.'),
  ringBytes: bytes(MIB, GIB)
    .refine((value) => Number.isInteger(Math.log2(value)), {
      error: ({ input }) => wrong(input, 'a power of two from 1 MiB to 1 GiB'),
    })
    .default(32 * MIB)
    .describe("Bytes of each worker's ring, a power of two."),
  assemblyBytes: bytes(MIB, GIB)
    .default(256 * MIB)
    .describe('Bytes for frames that reads have cut, over all workers.'),
  poolBytes: bytes(MIB, GIB)
    .default(256 * MIB)
    .describe('Bytes of the blocks that sinks fill and write, over all workers.'),
  drainTimeoutMs: integer(0, 10 * 60_000, 'ms')
    .default(10_000)
    .describe('Time to finish what was received when the gateway is told to stop.'),
});

const admission = section({
  mode: oneOf(['registration', 'shared-secret'])
    .default('registration')
    .describe('registration: known sensors alone. shared-secret: any sensor that has the secret.'),
  sharedSecretFile: path('the file with the shared secret')
    .optional()
    .describe('With shared-secret: the key of every sensor without its own.'),
  types: typeList
    .min(1, { error: () => 'empty; expected at least one D4 type' })
    .default([...KNOWN_TYPES])
    .describe('D4 types that are accepted.'),
  metaTypes: listOrStar(metaType, 'meta types')
    .default([...REGISTERED_META_TYPES])
    .describe("Meta types that are accepted with type 254; '*' takes all."),
  duplicateSession: oneOf(['replace', 'reject'])
    .default('replace')
    .describe('What a second connection of one sensor and type does.'),
  timestampSkewSeconds: integer(0, 10 * 366 * 86_400, 'seconds')
    .default(0)
    .describe("Largest difference of a frame's time from this machine's; 0: off."),
});

const HOST_EXPECTED = 'an address or host name';
const host = text(/^[A-Za-z0-9.:_%-]{1,253}$/, HOST_EXPECTED);
const port = integer(0, 65_535);

const PUBLIC_URL_EXPECTED = 'a URL such as https://d4.example.org, without a path';
function isPublicUrl(value: string): boolean {
  if (!URL.canParse(value)) return false;
  const { protocol, origin } = new URL(value);
  return /^https?:$/.test(protocol) && (value === origin || value === `${origin}/`);
}

const tlsKeys = {
  host: host.default('::').describe('Address to listen on.'),
  port: port.describe('Port to listen on; 0: any free one.'),
  certFile: path('the certificate chain, PEM')
    .optional()
    .describe('Certificate chain, PEM; without it one is generated under dataDir.'),
  keyFile: path('the private key, PEM').optional().describe('Private key of certFile, PEM.'),
  caFile: path('the client CA certificates, PEM')
    .optional()
    .describe('Certificates that client certificates are verified against, PEM.'),
  clientCert: oneOf(['none', 'request', 'require'])
    .default('none')
    .describe('Whether a client certificate is asked for, or required.'),
};
const tls = section(tlsKeys);
/** Where other gateways link to: not a path for sensors. */
export const LINK_PATH = '/link';
const wss = section({
  ...tlsKeys,
  port: port.default(4445).describe('Port to listen on; 0: any free one.'),
  path: text(/^\/[A-Za-z0-9._~/-]{0,127}$/, "a path: '/', then letters, digits, '.', '_', '~', '-'")
    .refine((value) => value !== LINK_PATH, {
      error: ({ input }) => wrong(input, `another path: ${LINK_PATH} is for gateways`),
    })
    .default('/d4')
    .describe('Path at which sensors open their WebSocket.'),
});
const tcp = section({
  host: host.default('127.0.0.1').describe('Address to listen on.'),
  port: port.describe('Port to listen on; 0: any free one.'),
});
const unix = section({ path: path('the socket').describe('Path of the socket.') });

export type TlsListen = z.output<typeof tls>;
export type TcpListen = z.output<typeof tcp>;
export type UnixListen = z.output<typeof unix>;
export type WssListen = z.output<typeof wss>;
/** Exactly one of four. */
export type ListenConfig =
  | { tls: TlsListen }
  | { tcp: TcpListen }
  | { unix: UnixListen }
  | { wss: WssListen };

const listen = section({
  tls: tls.optional(),
  tcp: tcp.optional(),
  unix: unix.optional(),
  wss: wss.optional(),
})
  .superRefine((value, context) => {
    const given = Object.keys(value);
    if (given.length === 1 || context.issues.length > 0) return;
    const found = given.length === 0 ? 'none' : given.join(' and ');
    context.addIssue(`${found} given, expected exactly one of tls, tcp, unix, wss`);
  })
  .transform((value) => value as ListenConfig)
  .meta({ minProperties: 1, maxProperties: 1 });

const filesSink = section({
  kind: z.literal('files'),
  dir: path("the files sink's directory").describe('Directory of the stored files.'),
  rotateSeconds: integer(1, 7 * 86_400, 'seconds')
    .default(300)
    .describe('Age at which a file is finished and the next begun.'),
  rotateBytes: bytes(1, 1024 * GIB)
    .default(GIB)
    .describe('Size at which a file is finished and the next begun.'),
  compress: oneOf(['none', 'gzip', 'lz4']).default('none').describe('Compression of the files.'),
  fsync: oneOf(['never', 'interval', 'always'])
    .default('interval')
    .describe('When written data is forced to the disk.'),
  fsyncIntervalMs: integer(10, DAY_MS, 'ms')
    .default(1000)
    .describe('With fsync interval: how often.'),
  flushMs: integer(10, DAY_MS, 'ms')
    .default(1000)
    .describe('Longest time that received data waits for a full block before it is written.'),
});
const archiveSink = section({
  kind: z.literal('archive'),
  dir: path("the archive sink's directory").describe('Directory of the archive.'),
  compress: oneOf(['lz4', 'none']).default('lz4').describe('Compression of the segments.'),
  segmentBytes: bytes(64 * 1024, 4 * GIB)
    .default(256 * MIB)
    .describe('Size at which a segment is finished and the next begun.'),
  keepBytes: bytes(MIB, 1024 ** 2 * GIB)
    .default(100 * GIB)
    .describe('Bytes kept, over all workers: then the oldest segment makes way.'),
});
const blackholeSink = section({ kind: z.literal('blackhole') });

const SINK_KINDS = ['files', 'archive', 'relay', 'blackhole'];

function sinkProblem(input: unknown): string {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) {
    return wrong(input, `a mapping with kind: ${SINK_KINDS.join(' or ')}`);
  }
  const kind = (input as { kind?: unknown }).kind;
  const hint = typeof kind === 'string' ? didYouMean(kind, SINK_KINDS) : '';
  return wrong(kind, `one of ${SINK_KINDS.join(', ')}`) + hint;
}

const sink = z.discriminatedUnion('kind', [filesSink, archiveSink, relaySink, blackholeSink], {
  error: ({ input }) => sinkProblem(input),
});

export { DEFAULT_TLP, type RelaySinkConfig } from './relay-schema.js';
export type FilesSinkConfig = z.output<typeof filesSink>;
export type ArchiveSinkConfig = z.output<typeof archiveSink>;
export type SinkConfig = z.output<typeof sink>;

const SINK_NAME_EXPECTED =
  "a sink name: a letter or digit, then letters, digits, '_', '-'; lower case, at most 32";
const sinks = z
  .record(
    // A name is a key of plain objects in the ledger: none that every object has.
    z
      .string()
      .regex(/^[a-z0-9][a-z0-9_-]{0,31}$/)
      .refine((name) => !(name in Object.prototype)),
    sink,
    {
      error: ({ code, input }) =>
        wrong(input, code === 'invalid_key' ? SINK_NAME_EXPECTED : 'a mapping of names to sinks'),
    },
  )
  .superRefine((value, context) => {
    const count = Object.keys(value).length;
    if (count === 0) context.addIssue('empty; expected at least one sink');
    if (count > SINKS_MAX) context.addIssue(`${count} sinks given, expected at most ${SINKS_MAX}`);
  });

const groupNames = z
  .array(text(GROUP_FORM, `a group's name: ${GROUP_EXPECTED}`), {
    error: ({ input }) => wrong(input, "a list of groups' names"),
  })
  .min(1, { error: () => 'empty; expected at least one group' });

const route = section({
  match: section({
    types: typeList
      .min(1, { error: () => 'empty matches nothing; leave it out to match every type' })
      .optional()
      .describe('D4 types; without it, all.'),
    sensors: listOrStar(sensor, "sensors' UUIDs")
      .optional()
      .describe("Sensors' UUIDs; without it, or with '*', all."),
    metaTypes: listOrStar(metaType, 'meta types')
      .optional()
      .describe("Meta types of type 254; '*' takes all. Without it, every type."),
    groups: groupNames
      .optional()
      .describe('Groups of which the sensor is in one; without it, every sensor.'),
  })
    .prefault({})
    .describe('Which streams; a stream goes to the sinks of every route that it matches.'),
  to: listOf(
    z.string({ error: ({ input }) => wrong(input, 'the name of a sink') }),
    'sink names',
  ).describe('Names of sinks.'),
});

const control = section({
  host: host.default('127.0.0.1').describe('Address of the admin server.'),
  port: integer(0, 65_535).default(7000).describe('Port of the admin server; 0: any free one.'),
  tls: section({
    certFile: path('the certificate chain, PEM')
      .optional()
      .describe("Certificate chain, PEM; without it the gateway's own is used."),
    keyFile: path('the private key, PEM').optional().describe('Private key of certFile, PEM.'),
  })
    .optional()
    .describe('Speak TLS. {}: with the certificate that the gateway makes itself.'),
  publicUrl: z
    .string({ error: ({ input }) => wrong(input, PUBLIC_URL_EXPECTED) })
    .refine(isPublicUrl, { error: ({ input }) => wrong(input, PUBLIC_URL_EXPECTED) })
    .optional()
    .describe('Where people reach it, where a proxy stands before it.'),
  insecure: z
    .boolean({ error: ({ input }) => wrong(input, 'true or false') })
    .default(false)
    .describe('Listen beyond loopback without TLS all the same: tokens travel in the clear.'),
});

const metrics = section({
  perSensor: z
    .boolean({ error: ({ input }) => wrong(input, 'true or false') })
    .default(false)
    .describe('Series for each sensor and type too: as many as there are sensors.'),
});

const WEBHOOK_EXPECTED = 'an http or https URL';
const webhook = section({
  url: z
    .string({ error: ({ input }) => wrong(input, WEBHOOK_EXPECTED) })
    .refine((value) => /^https?:$/.test(URL.canParse(value) ? new URL(value).protocol : ''), {
      // Not the URL itself: its path may be a secret.
      error: () => `expected ${WEBHOOK_EXPECTED}`,
    })
    .describe('Each alert is posted there, as JSON.'),
  secretFile: path('the file with the secret')
    .optional()
    .describe('Signs each post; one final newline is dropped.'),
});

const alerts = section({
  silence: z
    .array(
      section({
        groups: groupNames.describe('Sensors that are in one of these groups.'),
        seconds: integer(1, 366 * 86_400, 'seconds').describe('Each is expected this often.'),
      }),
      { error: ({ input }) => wrong(input, 'a list of groups and seconds') },
    )
    .default([])
    .describe('Which sensors are expected how often; one that has its own interval goes by that.'),
  webhooks: z
    .array(webhook, { error: ({ input }) => wrong(input, 'a list of webhooks') })
    .max(WEBHOOKS_MAX, { error: () => `expected at most ${WEBHOOKS_MAX}` })
    .default([])
    .describe('Where alerts are posted, when they open and when they close.'),
});

const log = section({
  level: oneOf(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'])
    .default('info')
    .describe('Least level that is written.'),
  format: oneOf(['auto', 'json', 'pretty'])
    .default('auto')
    .describe('auto: readable on a terminal, JSON lines elsewhere.'),
});

export const configSchema = section({
  dataDir: path('the data directory')
    .default('./data')
    .describe("Registry, ledger, generated certificate. Relative to the configuration's file."),
  workers: flagOrInteger('auto', 1, WORKERS_MAX)
    .default('auto')
    .describe('Worker processes; auto: one a core.'),
  threads: oneOf(['auto', 'pipelined', 'inline'])
    .default('auto')
    .describe('Whether a worker verifies and stores on a thread of its own.'),
  limits: limits.prefault({}),
  admission: admission.prefault({}),
  listen: listOf(listen, 'tls, tcp, unix, wss').describe('Where sensors connect.'),
  sinks: sinks.describe('Destinations, by name.'),
  routes: listOf(route, 'routes').describe('Which stream goes to which sinks.'),
  control: control
    .optional()
    .describe('The admin server: page, REST API, metrics. Without it there is none.'),
  metrics: metrics.prefault({}),
  alerts: alerts.prefault({}),
  log: log.prefault({}),
});

/** A valid configuration: every default filled in, every path absolute. */
export type Config = z.output<typeof configSchema>;
export type Limits = Config['limits'];
export type ControlConfig = NonNullable<Config['control']>;

/** The JSON Schema of a configuration file; `config.schema.json` beside this holds it. */
export function configJsonSchema(): object {
  return {
    title: 'd4-gateway configuration',
    ...z.toJSONSchema(configSchema, { io: 'input' }),
  };
}
