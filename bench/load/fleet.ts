import { RpcProcess } from '../proc/rpc.js';
import type {
  Destination,
  HandshakesResult,
  IdleResult,
  RunParams,
  RunResult,
  SentStream,
  StreamsSpec,
} from './messages.js';
import type { Format } from './payload.js';

const MODULE = new URL('./process.js', import.meta.url);
const PREPARE_DEADLINE_MS = 120_000;
const CONNECT_DEADLINE_MS = 120_000;
const HANDSHAKE_CONCURRENCY = 16;

export interface Load {
  format: Format;
  payloadBytes: number;
  streams: number;
  /** Number of the first sensor. */
  first?: number;
  uuid?: string;
}

/** What was sent, and what it cost to send it. */
export interface LoadResult {
  streams: SentStream[];
  frames: number;
  payloadBytes: number;
  streamBytes: number;
  firstByteAt: number;
  lastByteAt: number;
  cpuSeconds: number;
  /** Share of one core that the busiest load process used; near 1 the load itself is the limit. */
  busiest: number;
}

/** The load processes of a run. They live as long as it, so that frames are signed once. */
export class Fleet {
  readonly #key: string;
  readonly #processes: RpcProcess[];
  #busy: RpcProcess[] = [];

  /** @param cpus CPU list that the processes are held to */
  constructor(processes: number, key: Buffer, cpus?: string) {
    this.#key = key.toString('base64');
    this.#processes = Array.from({ length: processes }, () => RpcProcess.start(MODULE, { cpus }));
  }

  get pids(): number[] {
    return this.#processes.map(({ pid }) => pid);
  }

  /** Builds and signs what will be sent, spread over the processes, unless it is there already. */
  async prepare(load: Load): Promise<void> {
    const { format, payloadBytes, streams, first = 0, uuid } = load;
    const shares = split(streams, this.#processes.length);
    this.#busy = this.#processes.slice(0, shares.length);
    await Promise.all(
      shares.map(({ from, count }, index) => {
        const spec: StreamsSpec = {
          ...{ format, payloadBytes, streams, count, first: first + from, key: this.#key },
          ...(uuid === undefined ? {} : { uuid }),
        };
        return this.#processes[index]!.call('prepare', spec, PREPARE_DEADLINE_MS);
      }),
    );
  }

  /** Opens a connection for each stream, and sends nothing yet. */
  async connect(to: Destination): Promise<void> {
    await Promise.all(this.#busy.map((each) => each.call('connect', { to }, CONNECT_DEADLINE_MS)));
  }

  /** Sends until the time is up or the count is reached, and ends the connections. */
  async run(params: RunParams): Promise<LoadResult> {
    const deadlineMs = params.milliseconds + params.closeDeadlineMs + 10_000;
    const results = await Promise.all(
      this.#busy.map((each) => each.call<RunResult>('run', params, deadlineMs)),
    );
    const streams = results.flatMap((result) => result.streams);
    const sum = (field: 'frames' | 'bytes' | 'streamBytes') =>
      streams.reduce((total, stream) => total + stream[field], 0);
    const share = ({ cpuSeconds, firstByteAt, lastByteAt }: RunResult) =>
      cpuSeconds / Math.max((lastByteAt - firstByteAt) / 1000, 1e-3);
    return {
      streams,
      frames: sum('frames'),
      payloadBytes: sum('bytes'),
      streamBytes: sum('streamBytes'),
      firstByteAt: Math.min(...results.map(({ firstByteAt }) => firstByteAt)),
      lastByteAt: Math.max(...results.map(({ lastByteAt }) => lastByteAt)),
      cpuSeconds: results.reduce((total, { cpuSeconds }) => total + cpuSeconds, 0),
      busiest: Math.max(...results.map(share)),
    };
  }

  /** Opens connections that stay idle until `closeIdle`, of sensors from number `first` on. */
  async openIdle(
    to: Destination,
    options: { first: number; count: number; frame: boolean; deadlineMs: number },
  ): Promise<IdleResult> {
    const { first, count, frame, deadlineMs } = options;
    const shares = split(count, this.#processes.length);
    const results = await Promise.all(
      shares.map((share, index) => {
        const params = {
          ...{ to, frame, deadlineMs, key: this.#key, concurrency: HANDSHAKE_CONCURRENCY },
          ...{ first: first + share.from, count: share.count },
        };
        return this.#processes[index]!.call<IdleResult>('openIdle', params, deadlineMs + 60_000);
      }),
    );
    return {
      opened: results.reduce((total, { opened }) => total + opened, 0),
      errors: results.flatMap(({ errors }) => errors),
      sent: results.flatMap(({ sent }) => sent),
    };
  }

  /** @returns how many of the idle connections the server had ended by itself */
  async closeIdle(deadlineMs: number): Promise<number> {
    const results = await Promise.all(
      this.#processes.map((each) =>
        each.call<{ gone: number }>('closeIdle', { deadlineMs }, deadlineMs + 10_000),
      ),
    );
    return results.reduce((total, { gone }) => total + gone, 0);
  }

  handshakes(to: Destination, count: number, deadlineMs: number): Promise<HandshakesResult> {
    const params = { to, count, concurrency: HANDSHAKE_CONCURRENCY, deadlineMs };
    return this.#processes[0]!.call('handshakes', params, deadlineMs + 60_000);
  }

  async stop(): Promise<void> {
    await Promise.all(this.#processes.map((each) => each.stop()));
  }
}

/** `count` things over at most `parts` shares, none of them empty. */
function split(count: number, parts: number): { from: number; count: number }[] {
  const shares = Math.max(1, Math.min(count, parts));
  return Array.from({ length: shares }, (_, index) => {
    const from = Math.floor((count * index) / shares);
    return { from, count: Math.floor((count * (index + 1)) / shares) - from };
  });
}
