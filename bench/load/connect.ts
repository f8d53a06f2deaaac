import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { Destination } from './messages.js';

const CONNECT_DEADLINE_MS = 30_000;

/**
 * An open connection, its handshake done. The certificate is not checked: the load is measured, and
 * aims at the loopback address unless a person says otherwise.
 */
export function openConnection({ kind, host, port }: Destination): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket =
      kind === 'tls'
        ? connectTls({ host, port, rejectUnauthorized: false })
        : connectTcp({ host, port, noDelay: true });
    const timer = setTimeout(() => {
      socket.destroy(new Error(`no connection after ${CONNECT_DEADLINE_MS} ms`));
    }, CONNECT_DEADLINE_MS);
    socket.once('error', reject);
    socket.once('close', () => {
      clearTimeout(timer);
      reject(new Error('closed before the connection was made'));
    });
    socket.once(kind === 'tls' ? 'secureConnect' : 'connect', () => {
      clearTimeout(timer);
      socket.off('error', reject);
      resolve(socket);
    });
  });
}

/** Runs `task` for each number from 0 to `count - 1`, `concurrency` of them at a time. */
export async function forEachNumber(
  count: number,
  concurrency: number,
  task: (index: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  const lane = async () => {
    while (next < count) await task(next++);
  };
  await Promise.all(Array.from({ length: Math.min(count, concurrency) }, lane));
}
