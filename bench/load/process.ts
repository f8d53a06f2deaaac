import { createSecretKey } from 'node:crypto';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { messageOf } from '../../src/errors.js';
import { serveCalls } from '../proc/rpc.js';
import { forEachNumber, openConnection } from './connect.js';
import { makeStream, payloadOf, type Stream, sensorUuid } from './frames.js';
import {
  type ConnectParams,
  type HandshakesParams,
  type HandshakesResult,
  type IdleParams,
  type IdleResult,
  monotonicMs,
  type RunParams,
  type RunResult,
  type SentStream,
  type StreamsSpec,
} from './messages.js';
import { StreamSender } from './sender.js';

/** One load process: makes streams, opens connections, sends when told, and says what it sent. */

/** Sets of streams that are kept: those of a comparison are needed again with its next sample. */
const SETS_MAX = 3;
const CONNECT_CONCURRENCY = 16;
const IDLE_PAYLOAD_BYTES = 128;
/** For the server to close a connection that only shook hands. */
const HANDSHAKE_CLOSE_MS = 2_000;

const sets = new Map<string, Stream[]>();
let streams: Stream[] = [];
let senders: StreamSender[] = [];
const idle: { socket: Socket; sent: SentStream }[] = [];

function prepare(spec: StreamsSpec): void {
  const id = JSON.stringify(spec);
  const known = sets.get(id);
  sets.delete(id);
  streams = known ?? makeStreams(spec);
  sets.set(id, streams);
  for (const oldest of sets.keys()) {
    if (sets.size <= SETS_MAX) break;
    sets.delete(oldest);
  }
}

function makeStreams(spec: StreamsSpec): Stream[] {
  const key = createSecretKey(spec.key, 'base64');
  const payload = payloadOf(spec.format, spec.payloadBytes, spec.streams);
  return Array.from({ length: spec.count }, (_, index) =>
    makeStream(payload, spec.payloadBytes, spec.uuid ?? sensorUuid(spec.first + index), key),
  );
}

async function connect({ to }: ConnectParams): Promise<void> {
  const opened: StreamSender[] = [];
  await forEachNumber(streams.length, CONNECT_CONCURRENCY, async (index) => {
    opened.push(new StreamSender(await openConnection(to), streams[index]!, streams.length));
  });
  senders = opened;
}

async function run(params: RunParams): Promise<RunResult> {
  const before = process.cpuUsage();
  const firstByteAt = monotonicMs();
  const running = senders.map((sender) => sender.run(params));
  await Promise.all(senders.map(({ flushed }) => flushed));
  const lastByteAt = monotonicMs();
  const { user, system } = process.cpuUsage(before);
  const sent = await Promise.all(running);
  senders = [];
  return { streams: sent, firstByteAt, lastByteAt, cpuSeconds: (user + system) / 1e6 };
}

/** Opens connections that then stay as they are, one frame sent or none. */
async function openIdle(params: IdleParams): Promise<IdleResult> {
  const key = createSecretKey(params.key, 'base64');
  const payload = payloadOf('jsonl', IDLE_PAYLOAD_BYTES, Number.MAX_SAFE_INTEGER);
  const one = { ...payload, cycle: payload.cycle.subarray(0, IDLE_PAYLOAD_BYTES) };
  const errors: string[] = [];
  const sent: SentStream[] = [];
  const deadline = monotonicMs() + params.deadlineMs;
  await forEachNumber(params.count, params.concurrency, async (index) => {
    if (monotonicMs() > deadline) return;
    const uuid = sensorUuid(params.first + index);
    try {
      const socket = await openConnection(params.to);
      const entry: SentStream = { uuid, frames: 0, bytes: 0, streamBytes: 0 };
      socket.on('error', (error) => {
        entry.error ??= error.message;
      });
      socket.resume();
      idle.push({ socket, sent: entry });
      if (params.frame) {
        const { cycle } = makeStream(one, IDLE_PAYLOAD_BYTES, uuid, key);
        socket.write(cycle);
        entry.frames = 1;
        entry.bytes = IDLE_PAYLOAD_BYTES;
        entry.streamBytes = cycle.length;
      }
      sent.push(entry);
    } catch (error) {
      if (errors.length < 10) errors.push(messageOf(error));
    }
  });
  return { opened: sent.length, errors, sent };
}

/** Ends the idle connections; returns how many of them the server had ended before. */
async function closeIdle({ deadlineMs }: { deadlineMs: number }): Promise<{ gone: number }> {
  const gone = idle.filter(({ socket, sent }) => socket.destroyed || sent.error).length;
  const timer = setTimeout(() => {
    for (const { socket } of idle) socket.destroy();
  }, deadlineMs);
  await Promise.all(
    idle.map(({ socket }) => {
      if (socket.closed) return undefined;
      const closed = new Promise((resolve) => socket.once('close', resolve));
      socket.end();
      return closed;
    }),
  );
  clearTimeout(timer);
  idle.length = 0;
  return { gone };
}

/** Handshakes one after the other in each lane; each connection is ended at once. */
async function handshakes(params: HandshakesParams): Promise<HandshakesResult> {
  const { to, count, concurrency, deadlineMs } = params;
  const startedAt = monotonicMs();
  let done = 0;
  let failed = 0;
  let protocol = '';
  await forEachNumber(count, concurrency, async () => {
    if (monotonicMs() - startedAt > deadlineMs) return;
    try {
      const socket = (await openConnection(to)) as TLSSocket;
      socket.on('error', () => {});
      protocol = socket.getProtocol() ?? '';
      const closed = new Promise((resolve) => socket.once('close', resolve));
      const timer = setTimeout(() => socket.destroy(), HANDSHAKE_CLOSE_MS);
      // Ended in order: a reset could overtake the last message of the handshake.
      socket.resume();
      socket.end();
      await closed;
      clearTimeout(timer);
      done += 1;
    } catch {
      failed += 1;
    }
  });
  return { done, failed, seconds: (monotonicMs() - startedAt) / 1000, protocol };
}

serveCalls({ prepare, connect, run, openIdle, closeIdle, handshakes });
