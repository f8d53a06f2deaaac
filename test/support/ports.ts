import { createServer } from 'node:net';

/**
 * A TCP port that was free a moment ago, for programs that can't report the port they chose.
 * Another process may take it before it is used: prefer port 0 where the answer can be read.
 */
export function freePort(host = '127.0.0.1'): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ host, port: 0, exclusive: true }, () => {
      const address = server.address();
      server.close(() => {
        if (address !== null && typeof address === 'object') resolve(address.port);
        else reject(new Error('no port was bound'));
      });
    });
  });
}
