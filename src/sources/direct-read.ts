import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';

/**
 * Reads of a socket into memory of our own, as `net.connect` offers it by `onread`, for sockets that
 * were made already: those that TLS has wrapped above all, for which Node has no such option.
 *
 * Without it each read (a TLS record of 16 KiB) is a Buffer of its own, pushed through a stream: a
 * third of what reading TLS costs (9.5 against 13.5 Gbps a core, Node 20), and most of the garbage.
 */

interface ReadSymbols {
  /** The buffer in use. */
  buffer: symbol;
  /** Called with the bytes read; false stops the reading. */
  callback: symbol;
  /** A function that gives the next buffer, or null. */
  generator: symbol;
}

type UserBufferSocket = Socket & Record<symbol, unknown>;
type UserBufferHandle = { useUserBuffer?: (buffer: Uint8Array) => void };

const symbols = findSymbols();

/** Whether this Node lets sockets read so; where not, they are read by their `data` events. */
export const canReadDirectly = symbols !== undefined;

/**
 * Has a socket that is open, and paused or not yet read from, put what it reads into `buffer` from
 * now on, over and over at its start. `pause`, `resume`, `end`, `error` and `close` go on as usual;
 * `data` is emitted no more. Until a pause takes effect, a few more reads may come.
 *
 * @param buffer may be shared by any number of sockets of this thread
 * @param received called on the socket after each read, which it has to take before it returns true;
 *   it may be shared too
 * @returns false where that cannot be: the socket is as before
 */
export function readDirectly(
  socket: Duplex,
  buffer: Uint8Array,
  received: (this: Duplex, bytes: number) => true,
): boolean {
  if (symbols === undefined || !(socket instanceof Socket)) return false;
  const handle = (socket as unknown as { _handle: UserBufferHandle | null })._handle;
  if (typeof handle?.useUserBuffer !== 'function') return false;
  const fields = socket as UserBufferSocket;
  fields[symbols.buffer] = buffer;
  fields[symbols.generator] = null;
  fields[symbols.callback] = received;
  handle.useUserBuffer(buffer);
  return true;
}

/** The fields that a socket with `onread` has: Node's own, found in one, for they have no names. */
function findSymbols(): ReadSymbols | undefined {
  const buffer = new Uint8Array(1);
  const onread = { buffer, callback: () => true };
  const probe = new Socket({ onread } as ConstructorParameters<typeof Socket>[0]);
  const found = new Map(
    Object.getOwnPropertySymbols(probe).map((symbol) => [symbol.description, symbol]),
  );
  const [own, callback, generator] = ['kBuffer', 'kBufferCb', 'kBufferGen'].map((name) =>
    found.get(name),
  );
  const isKnown = own && (probe as UserBufferSocket)[own] === buffer;
  return isKnown && callback && generator ? { buffer: own, callback, generator } : undefined;
}
