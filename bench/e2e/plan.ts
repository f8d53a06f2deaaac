import type { Format } from '../load/payload.js';
import type { SinkKind } from '../subjects/subject.js';
import type { Series } from './results.js';

/** What a run measures: groups of contenders, whose samples are taken in turns. */
export interface Group {
  title: string;
  /**
   * Keeps the samples of a comparison apart from those that other groups take of the same thing:
   * only what was measured in turns is compared.
   */
  tag?: string;
  /** Longer samples, for what is compared on the wall clock or stored: ends are part of it. */
  long?: boolean;
  /** So much longer, for what happens once a second. */
  factor?: number;
  contenders: Contender[];
}

export type Contender = StreamContender | HmacContender | HandshakeContender | IdleContender;

export interface StreamContender {
  kind: 'stream';
  server: ServerSpec;
  transport: 'tls' | 'tcp';
  payloadBytes: number;
  connections: number;
  /** CPU list of the load processes. */
  loadCpus?: string;
}

export interface HmacContender {
  kind: 'hmac';
  payloadBytes: number;
}

export interface HandshakeContender {
  kind: 'handshakes';
  server: ServerSpec;
}

/** Memory that so many idle TLS connections take, of a server started for it. */
export interface IdleContender {
  kind: 'idle';
  server: ServerSpec;
  connections: number;
}

export interface ServerSpec {
  subject: 'gateway' | 'naive' | 'read' | 'socat' | 'openssl';
  sink: SinkKind;
  threads?: 'pipelined' | 'inline';
  /** Idle TLS connections beside the load. */
  idle?: number;
  /** CPU list that the server is held to. */
  cpus?: string;
  /** Ring and budgets so small that a full load uses them up: what is beside them shows. */
  small?: boolean;
  /**
   * With the control plane: history is written, so many pages of the dashboard are open, and metrics
   * are scraped each second.
   */
  viewers?: number;
}

export interface PlanOptions {
  form: 'full' | 'quick' | 'smoke';
  format: Format;
  /** Of this machine. */
  cores: number;
  /** Programs that are installed. */
  tools: { socat: boolean; openssl: boolean; taskset: boolean; lz4: boolean };
}

export const SIZES = [128, 512, 1024, 4096, 16_384, 65_536, 1_000_000];
const SINKS: readonly SinkKind[] = ['blackhole', 'files', 'lz4'];
const TRANSPORTS = ['tls', 'tcp'] as const;
const CONNECTIONS = [1, 16, 256];
const IDLE = [0, 1_000, 10_000];
/** Connections of the comparisons with yardsticks. */
const USUAL_CONNECTIONS = 16;
/** Idle connections whose memory is measured: so many that what a server allocates once is little. */
const IDLE_CONNECTIONS = 4_000;
/** Pages that look at once, where they are many. */
const VIEWERS_MANY = 1_000;
/** How much longer a sample is that sees several of what happens each second. */
const WATCHED_FACTOR = 6;
/** Sizes at which the serial bound of the bare parts is a target. */
const BOUND_SIZES = [128, 1024, 4096, 65_536];

const gateway = (sink: SinkKind, more: Partial<ServerSpec> = {}): ServerSpec => ({
  subject: 'gateway',
  sink,
  ...more,
});
const other = (subject: ServerSpec['subject'], sink: SinkKind = 'blackhole'): ServerSpec => ({
  subject,
  sink,
});

function stream(
  server: ServerSpec,
  transport: 'tls' | 'tcp',
  payloadBytes: number,
  connections = USUAL_CONNECTIONS,
): StreamContender {
  return { kind: 'stream', server, transport, payloadBytes, connections };
}

const hmac = (payloadBytes: number): HmacContender => ({ kind: 'hmac', payloadBytes });

export function makePlan(options: PlanOptions): Group[] {
  if (options.form === 'smoke') return smokePlan(options);
  if (options.form === 'quick') return quickPlan(options);
  return [
    ...comparisons(options, SIZES),
    relayGroup(),
    controlGroup(),
    ...matrix(options),
    ...idleMemory(IDLE_CONNECTIONS),
    ...idleMemory(10_000),
  ];
}

/** Every path once, for CI: frames lost, never time. */
function smokePlan({ tools }: PlanOptions): Group[] {
  return [
    {
      title: 'smoke',
      contenders: [
        stream(gateway('blackhole', { idle: 20 }), 'tls', 128, 4),
        stream(gateway('files'), 'tls', 1024, 4),
        stream(gateway('blackhole', { viewers: 20 }), 'tls', 1024, 4),
        stream(gateway('files'), 'tcp', 1_000_000, 2),
        ...(tools.lz4 ? [stream(gateway('lz4'), 'tls', 16_384, 4)] : []),
        stream(gateway('blackhole', { threads: 'inline' }), 'tcp', 4096, 1),
        stream(other('naive', 'files'), 'tls', 4096, 4),
        stream(other('read'), 'tls', 4096, 4),
        hmac(1024),
      ],
    },
  ];
}

/** What the targets need. */
function quickPlan(options: PlanOptions): Group[] {
  return [
    ...BOUND_SIZES.map((size) => boundGroup(size, size === 65_536 ? [1_000_000] : [])),
    { title: 'HMAC, 512 B', contenders: [hmac(512)] },
    ...targetGroups(options),
    ...idleMemory(IDLE_CONNECTIONS),
  ];
}

/** Gateway and bare parts, of which the serial bound follows. */
function boundGroup(size: number, alsoSizes: readonly number[] = []): Group {
  const sizes = [size, ...alsoSizes];
  return {
    tag: 'bound',
    title: `TLS to blackhole against the bare parts, ${sizes.map(sizeText).join(' and ')}`,
    contenders: [
      ...sizes.map((each) => stream(gateway('blackhole'), 'tls', each)),
      stream(other('read'), 'tls', size),
      hmac(size),
    ],
  };
}

/** The other comparisons that `targets.json` has. */
function targetGroups({ form, cores, tools }: PlanOptions): Group[] {
  const versusNaive = [128, 4096].map((size) => ({
    tag: 'naive',
    title: `TLS to files against the naive gateway, ${sizeText(size)}`,
    contenders: [
      stream(gateway('files'), 'tls', size),
      stream(other('naive', 'files'), 'tls', size),
    ],
  }));
  return [
    ...versusNaive,
    ...(tools.socat ? [socatGroup(cores > 1 && tools.taskset)] : []),
    {
      tag: 'storage',
      long: true,
      title: 'TLS to files against TLS to blackhole, 16 KiB',
      contenders: [
        stream(gateway('files'), 'tls', 16_384),
        stream(gateway('blackhole'), 'tls', 16_384),
      ],
    },
    {
      tag: 'threads',
      title: 'pipelined against inline, TCP, 4 KiB, one connection',
      contenders: (['pipelined', 'inline'] as const).map((threads) =>
        stream(gateway('blackhole', { threads }), 'tcp', 4096, 1),
      ),
    },
    {
      tag: 'idle',
      title: '10,000 idle connections beside, TLS, 4 KiB',
      contenders: [0, 10_000].map((idle) =>
        stream(gateway('blackhole', idle > 0 ? { idle } : {}), 'tls', 4096),
      ),
    },
    {
      tag: 'memory',
      title: "a worker's memory beside its ring and budgets, TLS to files, 4 KiB",
      contenders: [stream(gateway('files', { small: true }), 'tls', 4096)],
    },
    {
      title: 'TLS handshakes',
      contenders: [
        gateway('blackhole'),
        ...(form === 'full' ? [other('read')] : []),
        ...(tools.openssl ? [other('openssl')] : []),
      ].map((server) => ({ kind: 'handshakes', server }) as const),
    },
  ];
}

/** What relaying costs; the full form alone has the time for it. */
function relayGroup(): Group {
  return {
    tag: 'relay',
    title: 'TLS to another gateway, by a link and as plain D4 over TLS, against files, 4 KiB',
    contenders: (['link', 'relay', 'files'] as const).map((sink) =>
      stream(gateway(sink), 'tls', 4096),
    ),
  };
}

/** What it costs to be looked at: the control plane must not slow the data path. */
function controlGroup(): Group {
  return {
    tag: 'control',
    factor: WATCHED_FACTOR,
    title:
      'TLS to blackhole with the dashboard open, metrics scraped and history, against none, 4 KiB',
    contenders: [{}, { viewers: 1 }, { viewers: VIEWERS_MANY }].map((more) =>
      stream(gateway('blackhole', more), 'tls', 4096),
    ),
  };
}

/** On the same cores: both servers are held to the first, the load to the others. */
function socatGroup(pinned: boolean): Group {
  const cpus = pinned ? { cpus: '0' } : {};
  const load = pinned ? { loadCpus: '1' } : {};
  return {
    tag: 'socat',
    long: true,
    title: `TLS to files against socat, 4 KiB${pinned ? ', each on one core' : ''}`,
    contenders: [gateway('files', cpus), { ...other('socat', 'files'), ...cpus }].map((server) => ({
      ...stream(server, 'tls', 4096),
      ...load,
    })),
  };
}

/** Memory of idle connections: the gateway's and a bare server's. */
function idleMemory(connections: number): Group[] {
  return [
    {
      title: `${connections} idle TLS connections`,
      contenders: [gateway('blackhole'), other('read')].map(
        (server) => ({ kind: 'idle', server, connections }) as const,
      ),
    },
  ];
}

/** The yardsticks at every size. */
function comparisons(options: PlanOptions, sizes: readonly number[]): Group[] {
  return [
    ...sizes.map((size) => boundGroup(size)),
    ...sizes.map((size) => ({
      tag: 'naive',
      long: true,
      title: `the naive gateway, ${sizeText(size)}`,
      contenders: [
        stream(gateway('files'), 'tls', size),
        stream(other('naive', 'files'), 'tls', size),
        stream(gateway('blackhole'), 'tcp', size),
        stream(other('naive'), 'tcp', size),
      ],
    })),
    ...targetGroups(options).filter(({ title }) => !title.includes('naive')),
  ];
}

/** The whole matrix; servers with idle connections serve all their cells before the next. */
function matrix({ tools }: PlanOptions): Group[] {
  const groups: Group[] = [];
  const sinks = SINKS.filter((sink) => sink !== 'lz4' || tools.lz4);
  for (const idle of IDLE) {
    for (const sink of sinks) {
      for (const transport of TRANSPORTS) {
        for (const connections of CONNECTIONS) {
          const server = gateway(sink, idle > 0 ? { idle } : {});
          groups.push({
            title: `${transport} to ${sink}, ${connections} connections, ${idle} idle`,
            contenders: SIZES.map((size) => stream(server, transport, size, connections)),
          });
        }
      }
    }
  }
  return groups;
}

/** The series that a stream contender fills. */
export function seriesOf(contender: StreamContender, tag?: string): Series {
  const { server, transport, payloadBytes, connections } = contender;
  const { subject, sink, idle = 0 } = server;
  const variant = [
    server.threads,
    server.cpus === undefined ? undefined : 'pinned',
    server.small ? 'small' : undefined,
    server.viewers === undefined ? undefined : `watched${server.viewers}`,
  ]
    .filter((part) => part !== undefined)
    .join('-');
  const parts = [subject, transport, sink, payloadBytes, `${connections}c`];
  if (idle > 0) parts.push(`idle${idle}`);
  if (variant !== '') parts.push(variant);
  return {
    id: parts.join('/') + (tag === undefined ? '' : `@${tag}`),
    ...{ subject, transport, sink, payloadBytes, connections, idle },
    ...(variant === '' ? {} : { variant }),
    values: {},
    failures: [],
  };
}

/** Two contenders with one key share one server. */
export function serverKey(server: ServerSpec): string {
  const { subject, sink, threads = '', idle = 0, cpus = '', small = false } = server;
  return [subject, sink, threads, idle, cpus, small, server.viewers ?? ''].join('/');
}

/** `128 B`, `64 KiB`, `1 MB` (the protocol's limit, 1,000,000 bytes). */
export function sizeText(bytes: number): string {
  if (bytes % 1_000_000 === 0) return `${bytes / 1_000_000} MB`;
  return bytes % 1024 === 0 ? `${bytes / 1024} KiB` : `${bytes} B`;
}

/** The plan with the groups and contenders whose title or series holds one of the texts. */
export function filterPlan(plan: readonly Group[], texts: readonly string[]): Group[] {
  if (texts.length === 0) return [...plan];
  const fits = (name: string) => texts.some((text) => name.includes(text));
  return plan.flatMap((group) => {
    const contenders = fits(group.title)
      ? group.contenders
      : group.contenders.filter((contender) => fits(contenderName(contender, group.tag)));
    return contenders.length > 0 ? [{ ...group, contenders }] : [];
  });
}

export function contenderName(contender: Contender, tag?: string): string {
  switch (contender.kind) {
    case 'stream':
      return seriesOf(contender, tag).id;
    case 'hmac':
      return `hmac/${contender.payloadBytes}`;
    case 'handshakes':
      return `${contender.server.subject}/handshakes`;
    case 'idle':
      return `${contender.server.subject}/idle/${contender.connections}`;
  }
}
