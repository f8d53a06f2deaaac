import {
  type AddressInfo,
  createServer as createTcpServer,
  type Server,
  type Socket,
} from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { serveCalls } from '../proc/rpc.js';
import type { ServerAccount, ServerPorts, ServerStart } from '../subjects/messages.js';

/**
 * The bare part "read": a server that decrypts, counts bytes and does nothing else. With idle
 * connections it is the yardstick of what one costs.
 */
let streamBytes = 0;

function accept(socket: Socket): void {
  socket.on('error', () => {});
  socket.on('data', (chunk) => {
    streamBytes += chunk.length;
  });
}

async function start({ cert, key }: ServerStart): Promise<ServerPorts> {
  const tls = await listen(createTlsServer({ cert, key }).on('secureConnection', accept));
  return { tls, tcp: await listen(createTcpServer(accept)) };
}

function listen(server: Server): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port));
  });
}

serveCalls({ start, account: (): ServerAccount => ({ streamBytes, problems: [] }) });
